//! Every bound in one place: how much of anything a stranger, a peer or a file may make us hold.

/// One SMTP or POP3 command line, CRLF included (RFC 5321 §4.5.3.1.4 asks for at least 512).
pub const COMMAND_LINE: usize = 1_000;
/// Unknown or out-of-place commands in one session before `421`.
pub const BAD_COMMANDS: u32 = 10;
/// SMTP commands that bring no letter nearer (NOOP, RSET of nothing, HELO again, VRFY, HELP, each new
/// MAIL) from one letter to the next, before `421`.
pub const IDLE_COMMANDS: u32 = 100;
/// Recipients refused in one SMTP session before `421`; each letter taken gives one back.
pub const REFUSED_RECIPIENTS: u32 = 100;
/// Bytes of a command line whose end does not come, before the connection is closed.
pub const ENDLESS_LINE: usize = 64 << 10;
/// When places are short: how long a client may take for one command, at most.
pub const HURRIED_COMMAND: core::time::Duration = core::time::Duration::from_secs(10);
/// When places are short: how long a session may last that brings no letter, a login, and the silence
/// inside a letter.
pub const HURRIED_SESSION: core::time::Duration = core::time::Duration::from_secs(60);
/// When places are short: how long a session lasts, whatever it brings.
pub const HURRIED_LIFE: core::time::Duration = core::time::Duration::from_secs(600);
/// Recipients of one SMTP transaction before `452`.
pub const SMTP_RECIPIENTS: usize = 1_000;
/// One envelope address in bytes (stock: 1,002 before the NUL; SMTP refuses at 900 with its NUL).
pub const ADDRESS: usize = 1_002;
/// One address said in SMTP, including a terminating NUL (stock `qmail-smtpd`).
pub const SMTP_ADDRESS: usize = 900;
/// `Received` and `Delivered-To` lines before a letter counts as looping.
pub const HOPS: u32 = 100;
/// A whole envelope (sender and recipients, text0) handed to queued.
pub const ENVELOPE: usize = 16 << 20;
/// One chunk of a letter on its way to queued.
pub const CHUNK: usize = 64 << 10;
/// Letters up to this many bytes lie in the log itself; larger ones have a file of their own.
pub const INLINE_LETTER: usize = 256 << 10;
/// Letters up to so many bytes are handed to a delivery as they are; larger ones as a descriptor.
pub const FETCHED_LETTER: usize = 16 << 10;
/// A delivery report's text as `qmail-send` keeps it (qmail-log(5)).
pub const REPORT: usize = 10_000;
/// What `qmail-lspawn` keeps of a delivery's output (qmail-lspawn(8)).
pub const LOCAL_OUTPUT: usize = 3_000;
/// What is kept of one reply of a remote server (qmail-remote(8)).
pub const REMOTE_REPLY: usize = 5_000;
/// One reply of a remote server, kept or not; beyond, it is no SMTP server. (Who refuses in a
/// megabyte of words has refused: its sender hears of it today.)
pub const REMOTE_REPLY_TOTAL: usize = 2 << 20;
/// Text with which queued refuses a letter.
pub const QUEUE_TEXT: usize = 255;
/// A control file that is read whole.
pub const CONTROL_FILE: usize = 16 << 20;
/// What the checkpassword interface carries: name, secret and timestamp with their NULs.
pub const LOGIN: usize = 512;
/// One message between a listener and a clean parent: the connection's environment.
pub const HANDOVER: usize = 32 << 10;
/// Notes of `qmail-send` that queued has not acknowledged; beyond, no delivery is started.
pub const NOTES_AWAITED: usize = 1_024;
/// Letters `qmail-clean` is asked to have forgotten before it has answered.
pub const CLEANS: u32 = 1_024;
/// Bounces that are being queued at a time.
pub const BOUNCES: u32 = 10;
/// Lines a POP3 client may say before it is known.
pub const LOGIN_LINES: u32 = 100;
/// Name and secret together, so that the checkpassword interface has room for the timestamp too.
pub const LOGIN_NAME_AND_SECRET: usize = LOGIN - 192;
/// Letters of one Maildir that a POP3 session shows; the rest waits until some are deleted.
pub const MAILDROP: usize = 1_000_000;
/// One file of queued's log.
pub const LOG_SEGMENT: u64 = 16 << 20;
/// The longest envelope that queued takes: it must fit a record with the letter.
pub const LOGGED_ENVELOPE: usize = 4 << 20;
/// The most recipients that queued takes in one envelope: with nine bytes of progress for each, the
/// letter must still fit a record when it is carried forward.
pub const LOGGED_RECIPIENTS: usize = 1_000_000;
/// The header of a letter that `qmail-inject` reads whole.
pub const HEADER: usize = 16 << 20;
/// Connections that queued holds at once; more wait in the kernel's queue.
pub const QUEUED_CLIENTS: usize = 4_096;
/// Connections of one user who is none of ours.
pub const QUEUED_CLIENTS_OF_A_USER: usize = 100;
/// Letters and envelopes that queued holds in memory for all its clients; beyond it letters go to
/// files, beyond twice as much they are refused.
pub const QUEUED_MEMORY: usize = 128 << 20;
/// Seconds that a letter may take to come (stock: 24 hours).
pub const QUEUED_SECONDS: u64 = 86_400;
/// Local deliveries that have been made and wait for the disk; beyond, none is started.
pub const SETTLING: u32 = 4_096;
/// Local deliveries at a time; those that have been made and wait for the disk do not count.
pub const LOCAL_DELIVERIES: u32 = 120;
/// Remote deliveries at a time.
pub const REMOTE_DELIVERIES: u32 = 500;
/// Children of qmail-remote at a time: those with a letter, and those that keep a session open for
/// the next. Where sessions are closed for want of places each letter needs a new one.
pub const REMOTE_SESSIONS: usize = 1_000;
/// Letters that go out over one SMTP session.
pub const REMOTE_LETTERS: u32 = 100;
/// How long one SMTP session takes on letters.
pub const REMOTE_SESSION: core::time::Duration = core::time::Duration::from_secs(300);
/// How long an open SMTP session waits for another letter.
pub const REMOTE_IDLE: core::time::Duration = core::time::Duration::from_secs(2);
/// Connections that a listener has greeted and that have said nothing, at once, unless it is told
/// another number.
pub const SILENT_CONNECTIONS: u64 = 20_000;
/// Mailboxes that qmail-pspawn has open at once.
pub const MAILBOXES_OPEN: usize = 2_000;
/// Sessions of one mailbox at once; more hear `[IN-USE]`.
pub const MAILBOX_SESSIONS: usize = 100;
/// Clean parents of qmail-pop3d that wait for their account's next session.
pub const POP3_PARENTS_IDLE: usize = 256;
/// Letters whose lengths one thread of a POP3 session reads by itself; threads are for more.
pub const LETTERS_SIZED_ALONE: usize = 1_000;
/// Threads that read the lengths of a POP3 session's letters: so many wait for the disk at once,
/// each with one file open.
pub const SIZING_THREADS: usize = 16;
/// How long a site's own `qmail-getpw` may take for its answer.
pub const GETPW: core::time::Duration = core::time::Duration::from_secs(60);
/// Bytes of its answer: a name, two numbers, a path and an address.
pub const GETPW_ANSWER: usize = 8_192;
/// Seconds that one local delivery may take, unless `control/timeoutlocal` says otherwise (as long
/// as stock's deliveries to Maildirs).
pub const LOCAL_SECONDS: u64 = 86_400;
/// Bytes of failure paragraphs that a letter may bring along from another queue.
pub const IMPORTED_PARAGRAPHS: usize = 64 << 20;
/// The longest line of a report in a bounce (RFC 5321 §4.5.3.1.6 allows 998 bytes).
pub const BOUNCE_LINE: usize = 900;
/// How much of a letter's header stands in the text of its bounce.
pub const BOUNCE_HEADER: usize = 8 << 10;
/// One recipient's report as a bounce tells it to programs.
pub const BOUNCE_DIAGNOSTIC: usize = 1_000;
/// Reports that a bounce has in full; of those after them it has the beginning.
pub const BOUNCE_REPORTS: usize = 4 << 20;
/// Bytes that one netstring of a QMTP or QMQP client may announce: a letter, or all recipients (stock
/// `qmail-qmtpd`).
pub const PACKET: u64 = 200_000_000;
/// One address said in QMTP or QMQP, including a terminating NUL (stock `qmail-qmtpd`).
pub const PACKET_ADDRESS: usize = 1_000;
/// Recipients of one letter that comes by QMTP or QMQP.
pub const PACKET_RECIPIENTS: usize = 100_000;
/// How long a QMTP or QMQP client may take in all (stock `qmail-qmtpd`).
pub const PACKET_SESSION: core::time::Duration = core::time::Duration::from_secs(3_600);
/// An alias table, an include file or a `.forward` file that is read whole.
pub const ALIASES: usize = 64 << 20;
/// A forwarding table that is read whole.
pub const FORWARDING_TABLE: usize = 256 << 20;
/// All that a forwarding table and its lists make of one address: an envelope holds no more.
pub const EXPANSION: usize = ENVELOPE;
/// Bytes of a PROXY header: addresses, and what a proxy appends to them.
pub const PROXY_HEADER: usize = 4_096;
/// Connections of trusted proxies that wait for their header or for a place.
pub const PROXIED_CONNECTIONS: usize = 1_024;
/// The memory that each of our programs can do with, bytes: softlimit gives them as much.
pub const PROGRAM_MEMORY: u64 = 64 << 20;
/// Different warnings that a listener repeats only in numbers, a minute long.
pub const WARNINGS: usize = 256;
