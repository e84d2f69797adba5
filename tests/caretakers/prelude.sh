# What the steps of tests/caretakers may call besides tests/compat/prelude.sh, which comes before.

# service DIR [LINE...]: a service directory with a run script of these lines; without lines it
# sleeps.
service() {
  _dir=$1
  shift
  mkdir -p "$_dir"
  [ $# -gt 0 ] || set -- 'exec sleep 1000'
  { echo '#!/bin/sh'; printf '%s\n' "$@"; } > "$_dir/run"
  chmod 755 "$_dir/run"
}

# watched DIR: supervise for it in the background, its pid in $supervise, what it says in DIR.said.
watched() {
  supervise "$1" > "$1.out" 2> "$1.said" &
  supervise=$!
  patiently 5 svok "$1"
}

# is DIR PATTERN: whether svstat's line of it, without its name, is like this.
is() {
  case $(svstat "$1") in
    "$1: "$2) ;;
    *) return 1 ;;
  esac
}

# becomes DIR PATTERN: waits until it is; then shows the line without its seconds.
becomes() {
  patiently 9 is "$@"
  svstat "$1" | sed 's/ [0-9]* seconds/ N seconds/'
}

# pid DIR: the pid of its service.
pid() { svstat "$1" | sed -n 's/.*(pid \([0-9]*\)).*/\1/p'; }

# status DIR: what the 18 bytes say.
status() {
  /usr/bin/python3 -c '
import os, struct, sys, time
raw = open(sys.argv[1] + "/supervise/status", "rb").read()
seconds, nano, pid, paused, want = struct.unpack(">QI", raw[:12]) + struct.unpack("<I", raw[12:16]) + (raw[16], raw[17])
age = time.time() - (seconds - (1 << 62) - 10) - nano / 1e9
label = "now" if -0.1 <= age < 120 else "%d s ago" % age
lives = "0" if pid == 0 else "alive" if os.path.exists("/proc/%d" % pid) else "gone"
print(len(raw), "bytes:", label, lives, "paused" if paused == 1 else paused, chr(want) if want else "-")
' "$1"
}

# keeper DIR: the pid of its supervise.
keeper() {
  _real=$(realpath "$1")
  for _each in /proc/[0-9]*; do
    if [ "$(readlink "$_each/cwd" 2>/dev/null)" = "$_real" ] && grep -qx supervise "$_each/comm"; then
      echo "${_each#/proc/}"
    fi
  done
}

# killed PID...: kills them, and waits until they are gone.
killed() {
  kill -KILL "$@"
  for _each; do patiently 5 _ended "$_each"; done
}

# label DIR: the label of its last start or death.
label() { od -An -tx1 -N12 "$1/supervise/status" | tr -d ' '; }

# made DIR AGO PID PAUSED WANT: a service directory as a supervise would have left it AGO seconds
# ago: its status made up, its FIFOs without anybody at the other end.
made() {
  mkdir -p "$1/supervise"
  mkfifo "$1/supervise/ok" "$1/supervise/control" 2>/dev/null
  /usr/bin/python3 -c '
import struct, sys, time
ago, pid, paused, want = sys.argv[2:]
label = struct.pack(">QI", (1 << 62) + 10 + int(time.time()) - int(ago), 500)
rest = struct.pack("<IB", int(pid), int(paused)) + want.encode().replace(b"-", b"\0")
open(sys.argv[1] + "/supervise/status", "wb").write(label + rest)
' "$@"
}

# stranger COMMAND...: runs it as somebody who may not read what is not for everybody.
stranger() {
  if [ "$(id -u)" = 0 ]; then setpriv --reuid 65534 --regid 65534 --clear-groups -- "$@"; else "$@"; fi
}

# scanned DIR: svscan there in the background, its pid in $svscan, what it says in DIR.said.
scanned() {
  svscan "$1" > "$1.out" 2> "$1.said" &
  svscan=$!
}

_quiet() { for _each; do ! svok "$_each" || return 1; done; }

# retired DIR: no svscan and no supervise there any more.
retired() {
  kill -KILL $svscan 2>/dev/null
  for _each in "$1"/* "$1"/*/log; do
    [ -p "$_each/supervise/control" ] || continue
    svc -dxk "$_each" 2>/dev/null
    patiently 9 _quiet "$_each"
  done
}

# listening OPTION... -- PROGRAM...: tcpserver before it, its pid in $server, its port in $port, what
# it says in $T/said. Names are not looked up unless an option says so.
listening() {
  rm -f port
  _options=
  while [ "$1" != -- ]; do _options="$_options $1"; shift; done
  shift
  tcpserver -1 -R -H -l local $_options 127.0.0.1 0 "$@" > port 2> said &
  server=$!
  patiently 5 test -s port
  port=$(cat port)
}

# called [FROM [TEXT]]: what the server says to a client that comes from this address and says this.
called() {
  /usr/bin/python3 -c '
import socket, sys
with socket.socket() as s:
    s.settimeout(120)
    s.bind((sys.argv[2] if sys.argv[2:] else "127.0.0.1", 0))
    s.connect(("127.0.0.1", int(sys.argv[1])))
    s.sendall((sys.argv[3] if sys.argv[3:] else "").encode())
    s.shutdown(socket.SHUT_WR)
    try:
        while data := s.recv(4096):
            sys.stdout.buffer.write(data)
    except ConnectionError:
        print("reset")
' "$port" "$@"
}

# said LINES: what the server said, once it is that many lines.
said() {
  patiently 5 _lines "$1"
  cat said
}
_lines() { [ "$(wc -l < said)" -ge "$1" ]; }

# served TEXT [close|later]: a server in other words, for one client: says TEXT (with escapes), says
# no more with "close", after half a second with "later"; writes what it hears to $T/heard. Its port
# is $port.
served() {
  rm -f port heard
  /usr/bin/python3 -c '
import os, socket, sys, time
with socket.socket() as s:
    s.bind(("127.0.0.1", 0))
    s.listen()
    print(s.getsockname()[1], flush=True)
    s.settimeout(120)
    c, _ = s.accept()
    c.settimeout(120)
    c.sendall(sys.argv[1].encode().decode("unicode_escape").encode())
    if sys.argv[2:]:
        time.sleep(0.5 if sys.argv[2] == "later" else 0)
        c.shutdown(socket.SHUT_WR)
    with open("heard.new", "wb") as f:
        while data := c.recv(4096):
            f.write(data)
    os.rename("heard.new", "heard")
' "$@" > port &
  patiently 5 test -s port
  port=$(cat port)
}

# shown: bytes that nobody sees, seen: CR as \r, and NUL, tab and others as od's.
shown() { sed -n 'l 0' | sed 's/\$$//'; }

# lengths DIR...: how many bytes the files of a log have, oldest first, current last, with what they
# end in.
lengths() {
  for _file in "$1"/@* "$1"/current; do
    [ -f "$_file" ] && echo "$(stat -c '%s %a' "$_file") ${_file##*[0-9a-z].}" | sed "s|$1/||"
  done
}
