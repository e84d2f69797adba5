# What every step may call; `cargo xtask compat` puts this before each command, after two lines
# that set `stage` (its own directory) and `queue` (the program that stands in for qmail-queue).

# control NAME [LINE...]: writes a control file; without lines an empty one.
control() {
  _name=$1
  shift
  : > "$QMAIL/control/$_name"
  for _line; do printf '%s\n' "$_line" >> "$QMAIL/control/$_name"; done
}

# nocontrol NAME...: removes control files.
nocontrol() {
  for _name; do rm -f "$QMAIL/control/$_name"; done
}

# queue: prints the path of the stand-in, as $queue has it.
queue() { printf '%s\n' "$queue"; }

# user NAME: makes an account with a home $T/home/NAME (no mailbox in it).
user() {
  mkdir -p "$T/home/$1"
  _uid=$(id -u)
  if [ "$_uid" = 0 ]; then _uid=$((47900 + $(cat "$QMAIL/users/assign" 2>/dev/null | grep -c '^='))); fi
  if [ "$_uid" -ge 47900 ]; then chown "$_uid:$_uid" "$T/home/$1"; fi
  chmod 700 "$T/home/$1"
  {
    if [ -f "$QMAIL/users/assign" ]; then grep -v '^\.$' "$QMAIL/users/assign"; fi
    echo "=$1:$1:$_uid:$_uid:$T/home/$1:::"
    echo "+$1-:$1:$_uid:$_uid:$T/home/$1:-::"
    echo .
  } > "$QMAIL/users/assign.new"
  mv "$QMAIL/users/assign.new" "$QMAIL/users/assign"
  "$QMAIL/bin/qmail-newu"
}

# as NAME COMMAND...: runs it as qmaild, or as an account that `user` made; just runs it if we are
# not root. What is heard by strangers refuses to run as root.
as() {
  _name=$1
  shift
  if [ "$(id -u)" != 0 ]; then "$@"; return; fi
  if [ -d "$T/home/$_name" ]; then
    _ids=$(stat -c '%u %g' "$T/home/$_name")
  else
    _ids=$(sed -n "s/^$_name:\([0-9]*\):\([0-9]*\)\$/\1 \2/p" "$QMAIL/users/roles" 2>/dev/null)
    [ -n "$_ids" ] || _ids="$(id -u "$_name") $(id -g "$_name")"
  fi
  setpriv --reuid "${_ids% *}" --regid "${_ids#* }" --clear-groups -- "$@"
}

# _talk COMMAND...: runs it and shows what it says without its CRs; its exit code stays.
_talk() {
  { "$@"; echo $? > "$stage/code"; } | tr -d '\r'
  return "$(cat "$stage/code")"
}

# smtp LINE...: says these lines to qmail-smtpd and shows its replies, both without CR.
smtp() { printf '%s\r\n' "$@" | _talk as qmaild qmail-smtpd; }

# pop3 NAME LINE...: the same with qmail-pop3d, run by this account in its Maildir; what it says to
# the log is in pop3d.log.
pop3() {
  _user=$1
  shift
  printf '%s\r\n' "$@" | (cd "$T/home/$_user" && _talk as "$_user" qmail-pop3d Maildir) 2>> "$T/pop3d.log"
}

# popup PROGRAM LINE...: the same with qmail-popup, before a program with the checkpassword
# interface; a line at a time, as two programs read them. What they say to the log is in popup.log.
popup() {
  _program=$1
  shift
  for _line; do
    printf '%s\r\n' "$_line" 2>/dev/null
    rest 0.2
  done | _talk as qmaild qmail-popup mx.example.org $_program 2>> "$T/popup.log"
}

# alive PID: whether a process runs (one that ended and was not waited for does not).
alive() {
  [ -n "$1" ] && [ -d "/proc/$1" ] && ! grep -q '^State:.Z' "/proc/$1/status" 2>/dev/null
}

# patiently SECONDS COMMAND...: waits until the command succeeds. So many seconds are what it takes at
# most where nothing else goes on; elsewhere it may take longer, and is waited for a minute at least.
patiently() {
  _left=$(($1 > 60 ? $1 : 60))
  _left=$((_left * 20))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$_left" -gt 0 ] || return 1
    _left=$((_left - 1))
    sleep 0.05
  done
}

# _busy: whether the kernel lets any of the step's own, of the mail system and of all they started wait
# for a processor or a disk. Who is sent anything, or a signal, does from that moment on.
_busy() {
  _leaders=" $(cat "$stage"/*.pid 2>/dev/null | tr '\n' ' ') "
  awk -v group=$$ -v leaders="$_leaders" 'BEGIN {
    # awk itself runs by then, and so has nobody to be confused with.
    all = "grep -hs . /proc/[0-9]*/stat"
    while ((all | getline) > 0) {
      if (/\((grep|awk|mawk|gawk)\)/) continue
      pid = $1
      sub(/^.*\) /, "")
      state[pid] = $1; parent[pid] = $2
      if ($3 == group || index(leaders, " " $4 " ")) ours[pid] = 1
    }
    do {
      more = 0
      for (pid in parent) if (!(pid in ours) && (parent[pid] in ours)) { ours[pid] = 1; more = 1 }
    } while (more)
    for (pid in ours) if (state[pid] ~ /[RD]/) exit 0
    exit 1
  }'
}

# rest SECONDS: lets so much time pass, and as much more as it takes until none of ours has anything to
# do: what a signal or a command was meant to start has been done then, however slow the machine is.
# One look is no proof, as not all are looked at in the same moment.
rest() {
  sleep "$1"
  _calm=0 _looks=300
  while [ "$_calm" -lt 3 ] && [ "$_looks" -gt 0 ]; do
    if _busy; then _calm=0; else _calm=$((_calm + 1)); fi
    _looks=$((_looks - 1))
  done
}

# _daemon NAME COMMAND...: runs it by itself, its pid in $stage/NAME.pid.
_daemon() {
  _name=$1
  shift
  setsid "$@" </dev/null >> "$_log" 2>&1 &
  echo $! > "$stage/$_name.pid"
}

_starts() { cat "$T/log" 2>/dev/null | grep -c '^status: local 0/'; }
_started() { [ "$(_starts)" -gt "$_before" ] || ! alive "$(cat "$stage/send.pid")"; }

# mailstart [VAR=VALUE...]: starts the mail system, with that in its environment; default delivery
# is $DELIVERY, else ./Mailbox; the log goes to $T/log.
mailstart() {
  for _part in queued pspawn; do
    if [ -x "$QMAIL/bin/qmail-queued" ] && ! alive "$(cat "$stage/$_part.pid" 2>/dev/null)"; then
      _log=$stage/$_part.log _daemon "$_part" env "$@" "$QMAIL/service/$_part/run"
    fi
  done
  patiently 10 "$QMAIL/bin/qmail-qstat" || echo "mailstart: the queue does not answer" >&2
  _before=$(_starts)
  _log=$T/log _daemon send env -i PATH="$PATH" TZ=UTC "$@" "$QMAIL/bin/qmail-start" "${DELIVERY:-./Mailbox}"
  patiently 10 _started
  alive "$(cat "$stage/send.pid")" || echo "mailstart: qmail-send does not run; see log" >&2
}

_ended() { ! alive "$1"; }

# _end NAME: ends what _daemon started.
_end() {
  _pid=$(cat "$stage/$1.pid" 2>/dev/null) || return 0
  rm -f "$stage/$1.pid"
  alive "$_pid" || return 0
  kill -TERM "$_pid"
  patiently 15 _ended "$_pid" || kill -KILL "$_pid"
}

# mailstop: stops it as an administrator does, waiting for what runs.
mailstop() {
  _end send
  _end pspawn
  _end queued
}

# mailsignal SIGNAL: tells qmail-send something.
mailsignal() { kill -s "$1" "$(cat "$stage/send.pid")"; }

# logged: prints the log, which has no time stamps here.
logged() { cat "$T/log"; }

_count() { grep -c "$1" "$T/log"; }
_idle() { grep '^status: local' "$T/log" | tail -n 1 | grep -q '^status: local 0/[0-9]* remote 0/'; }

# settle: waits until every letter has ended, or nothing more happens for a second while nothing is
# under way, and none of ours has anything to do; at most 120 s.
settle() {
  _patience=2400 _quiet=0 _size=-1
  while [ "$_patience" -gt 0 ]; do
    if [ "$(_count '^new msg ')" = "$(_count '^end msg ')" ] && _idle &&
      [ "$("$QMAIL/bin/qmail-qstat" 2>/dev/null | head -n 1)" = "messages in queue: 0" ]; then
      return 0
    fi
    _now=$(wc -c < "$T/log")
    if [ "$_now" = "$_size" ] && _idle; then _quiet=$((_quiet + 1)); else _quiet=0; fi
    if [ "$_quiet" -ge 20 ]; then
      rest 0
      [ "$(wc -c < "$T/log")" != "$_size" ] || return 0
      _quiet=0
    fi
    _size=$_now
    _patience=$((_patience - 1))
    sleep 0.05
  done
  echo "settle: still busy after 120 s" >&2
  return 1
}
