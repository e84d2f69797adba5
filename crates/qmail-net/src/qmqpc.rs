//! hand a letter to a QMQP server, in place of qmail-queue
//!
//! *Runs as* whoever calls it; called by root, it speaks as qmailr · *hears* its caller (the letter
//! on descriptor 0, then the envelope on 1) and the server · *opens* `control/qmqpservers` ·
//! *speaks to* the first server there that takes a connection; to its caller by its exit code

use std::ffi::OsString;
use std::fmt::Display;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

use base::outcome::Outcome;
use base::queue_exit::Exit;
use base::spoken::Ear;
use base::wire::queue::Envelope;
use base::{limits, netstring};
use store::control::Control;
use store::home::Home;
use sys::signal::{self, Signal};
use sys::user::{self, Ids};
use sys::{errno, fd, log};

/// The QMQP port.
const PORT: u16 = 628;
/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(10);
/// How long the server may leave us waiting.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long our caller may.
const CALLER: Duration = Duration::from_secs(86_400);
/// Bytes moved at a time.
const PIECE: usize = 64 << 10;
/// An answer of the server.
const ANSWER: usize = 64 << 10;
/// Who speaks for root where the mail system has no accounts: nobody.
const NOBODY: u32 = 65_534;

/// Exit 0 when a server has queued the letter, else as qmail-qmqpc(8) says.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    signal::ignore(Signal::Pipe);
    match queue() {
        Ok(()) => 0,
        Err(exit) => exit.code().into(),
    }
}

fn queue() -> Result<(), Exit> {
    if !fd::stdin_was_open() {
        return Err(Exit::Read);
    }
    let home = Home::find().map_err(|_| Exit::Home)?;
    let servers = servers(&Control::new(&home)).inspect_err(complain).map_err(|_| Exit::Control)?;
    let packet = packet()?;
    leave_root(&home).inspect_err(complain).map_err(|_| Exit::Network)?;
    let server = connect(&servers)?;
    say(&server, &packet).map_err(|_| Exit::Communication)?;
    match hear(&server) {
        Some(Outcome::Done) => Ok(()),
        Some(Outcome::Later) => Err(Exit::RefusedNow),
        Some(Outcome::Never) => Err(Exit::Refused),
        None => Err(Exit::Communication),
    }
}

fn complain(why: &impl Display) {
    log::put(fd::stderr(), format!("qmail-qmqpc: fatal: {why}\n").as_bytes());
}

/// The servers, in order, at least one.
fn servers(control: &Control) -> Result<Vec<SocketAddr>, String> {
    let lines = control.list("qmqpservers").map_err(|err| err.to_string())?;
    let path = control.path("qmqpservers");
    let lines = lines.filter(|lines| !lines.is_empty());
    let lines = lines.ok_or_else(|| format!("{} must list QMQP servers", path.display()))?;
    let read = |line: Vec<u8>| {
        let text = String::from_utf8_lossy(&line).into_owned();
        let why = "is no address: write IP, IP:PORT or [IP]:PORT";
        server(&text).ok_or_else(|| format!("{}: {text} {why}", path.display()))
    };
    lines.into_iter().map(read).collect()
}

/// `ip`, `ip:port` or `[ip]:port`.
fn server(line: &str) -> Option<SocketAddr> {
    let bare = line.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(line);
    let alone = bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT));
    alone.or_else(|| line.parse().ok()).filter(|addr| addr.port() != 0)
}

/// Reads letter and envelope, and frames both.
fn packet() -> Result<Vec<Vec<u8>>, Exit> {
    let mut letter = Vec::new();
    each_piece(&fd::take(0), CALLER, |piece| {
        letter.try_reserve(piece.len()).map_err(|_| Exit::Memory)?;
        letter.extend_from_slice(piece);
        // No server takes such a letter, now or later.
        if letter.len() as u64 > limits::PACKET { Err(Exit::Refused) } else { Ok(false) }
    })?;
    let mut ear = Ear::default();
    let ended = each_piece(&fd::take(1), CALLER, |piece| ear.take(piece).map_err(Exit::from))?;
    if !ended {
        return Err(Exit::Format);
    }
    let envelope = Envelope::new(ear.block()).map_err(|_| Exit::AddressTooLong)?;
    let head = format!("{}:", letter.len()).into_bytes();
    let mut tail = b",".to_vec();
    netstring::put(&mut tail, envelope.sender());
    envelope.recipients().for_each(|recipient| netstring::put(&mut tail, recipient));
    let whole =
        [&head, &letter, &tail].iter().fold(0_usize, |sum, part| sum.saturating_add(part.len()));
    if whole as u64 > limits::PACKET {
        return Err(Exit::Refused);
    }
    let head = [format!("{whole}:").into_bytes(), head].concat();
    tail.push(b',');
    Ok(vec![head, letter, tail])
}

/// Reads to the end, or until `take` says that this is all; true in that case. Nobody is waited for
/// longer than that.
fn each_piece(
    from: &OwnedFd,
    patience: Duration,
    mut take: impl FnMut(&[u8]) -> Result<bool, Exit>,
) -> Result<bool, Exit> {
    let mut piece = vec![0; PIECE];
    loop {
        let n = fd::read_within(from, &mut piece, patience).map_err(|err| match err.kind() {
            ErrorKind::TimedOut => Exit::Timeout,
            _ => Exit::Read,
        })?;
        if n == 0 || take(piece.get(..n).unwrap_or_default())? {
            return Ok(n > 0);
        }
    }
}

/// Root hears no stranger: from here on we are qmailr, or nobody.
fn leave_root(home: &Home) -> io::Result<()> {
    if user::euid() != 0 {
        return Ok(());
    }
    let nobody = Ids { uid: NOBODY, gid: NOBODY, groups: vec![NOBODY] };
    user::drop_to(&home.roles().map_or(nobody, |roles| roles.qmailr))
}

/// Connects to the first server that lets us; what the last one did if none does.
fn connect(servers: &[SocketAddr]) -> Result<TcpStream, Exit> {
    let mut last = Exit::ConnectRefused;
    for &server in servers {
        match sys::net::connect(server, None, CONNECT) {
            Ok(stream) => return Ok(stream),
            Err(err) if is_ours(&err) => return Err(Exit::Network),
            Err(err) if err.kind() == ErrorKind::TimedOut => last = Exit::ConnectTimeout,
            Err(_) => last = Exit::ConnectRefused,
        }
    }
    Err(last)
}

/// Whether there is no socket to be had.
fn is_ours(err: &io::Error) -> bool {
    errno::is_shortage(err) || errno::is(err, errno::EAFNOSUPPORT)
}

fn say(server: &TcpStream, packet: &[Vec<u8>]) -> io::Result<()> {
    let pieces = packet.iter().flat_map(|part| part.chunks(PIECE));
    pieces.into_iter().try_for_each(|piece| fd::write_all_within(server, piece, PATIENCE))
}

/// What the server answers, if it is an answer.
fn hear(server: &TcpStream) -> Option<Outcome> {
    let (mut heard, mut room) = (Vec::new(), vec![0; ANSWER]);
    loop {
        let n = fd::read_within(server, &mut room, PATIENCE).ok().filter(|&n| n > 0)?;
        heard.extend_from_slice(room.get(..n)?);
        if let Some((answer, _)) = netstring::take(&heard, ANSWER).ok()? {
            return Outcome::from_letter(*answer.first()?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_falls_silent_is_given_up_and_who_cannot_be_read_too() {
        let (from, _silent) = fd::pipe().unwrap();
        let heard = |from: &OwnedFd| each_piece(from, Duration::from_millis(20), |_| Ok(false));
        assert_eq!(heard(&from), Err(Exit::Timeout));
        let dir = std::fs::File::open("/").unwrap();
        assert_eq!(heard(&dir.into()), Err(Exit::Read));
    }

    #[test]
    fn a_want_of_sockets_is_no_servers_doing() {
        for (number, ours) in [(12, true), (23, true), (24, true), (97, true), (105, true)]
            .into_iter()
            .chain([(110, false), (111, false), (113, false)])
        {
            assert_eq!(is_ours(&io::Error::from_raw_os_error(number)), ours, "{number}");
        }
    }

    #[test]
    fn servers_are_addresses_with_a_port_or_without() {
        for (line, want) in [
            ("192.0.2.1", "192.0.2.1:628"),
            ("192.0.2.1:10628", "192.0.2.1:10628"),
            ("2001:db8::1", "[2001:db8::1]:628"),
            ("[2001:db8::1]", "[2001:db8::1]:628"),
            ("[2001:db8::1]:10628", "[2001:db8::1]:10628"),
        ] {
            assert_eq!(server(line), Some(want.parse().unwrap()), "{line}");
        }
        for bad in ["mail.test", "192.0.2.1:", "192.0.2.1:0", "192.0.2", "[192.0.2.1", ""] {
            assert_eq!(server(bad), None, "{bad}");
        }
    }
}
