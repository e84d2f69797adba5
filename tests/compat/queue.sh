# A stand-in for qmail-queue, to be named by QMAILQUEUE: the letter goes to $T/queued.letter, the
# envelope with its NULs as line ends to $T/queued.envelope; the second letter to queued.letter.2,
# queued.envelope.2 and so on. It exits $QUEUE_EXIT (default 0), or 54 and leaves nothing if the
# envelope does not end as it should. `cargo xtask compat` puts before it `#!/bin/sh` and a line
# that sets T.
exec 3<&1
PATH=/usr/bin:/bin
export PATH
umask 0
new=$T/.queued.$$
trap 'rm -f "$new.letter" "$new.envelope"' EXIT
cat > "$new.letter"
tr '\0' '\n' <&3 > "$new.envelope"
case "$(tail -c 2 "$new.envelope" | od -An -tx1 | tr -d ' \n')" in
  0a0a) ;;
  *) exit 54 ;;
esac
number=
while [ -e "$T/queued.letter$number" ]; do
  next=$((${next:-1} + 1))
  number=.$next
done
mv "$new.letter" "$T/queued.letter$number"
mv "$new.envelope" "$T/queued.envelope$number"
exit "${QUEUE_EXIT:-0}"
