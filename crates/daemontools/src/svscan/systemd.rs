//! What systemd hears of svscan if it has started it (sd_notify(3)): that services are being started,
//! that the loop goes round, that the end has begun.

use std::ffi::OsString;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::Duration;

/// Where systemd listens.
const SOCKET: &str = "NOTIFY_SOCKET";
/// How often it wants to hear of us, in microseconds.
const WATCHDOG: &str = "WATCHDOG_USEC";
/// Whose that is.
const WATCHED: &str = "WATCHDOG_PID";

/// The way to systemd; leads nowhere if it is not there.
#[derive(Debug)]
pub(super) struct Systemd {
    to: Option<(UnixDatagram, SocketAddr)>,
    /// Half of the time after which we are taken for dead.
    every: Option<Duration>,
    /// When it heard of us last.
    told: Duration,
}

impl Systemd {
    /// As our environment says.
    pub(super) fn here() -> Self {
        let var = |name| std::env::var_os(name);
        let to = var(SOCKET).and_then(|at| open(&at).ok());
        let own = std::process::id().to_string();
        let ours = var(WATCHED).is_none_or(|pid| *pid == *own);
        let every = var(WATCHDOG).filter(|_| ours && to.is_some());
        let every = every.and_then(|micros| half(&micros));
        Self { to, every, told: Duration::ZERO }
    }

    /// Services are being started.
    pub(super) fn ready(&self) {
        self.say(b"READY=1");
    }

    /// The end has begun; it may take so long.
    pub(super) fn stopping(&self, limit: Duration) {
        let longer = format!("STOPPING=1\nEXTEND_TIMEOUT_USEC={}", limit.as_micros());
        self.say(longer.as_bytes());
    }

    /// The loop has gone round; `now` is any clock's that only goes on.
    pub(super) fn round(&mut self, now: Duration) {
        let due = self.every.is_some_and(|every| now.saturating_sub(self.told) >= every);
        if due || (self.every.is_some() && self.told.is_zero()) {
            self.told = now;
            self.say(b"WATCHDOG=1");
        }
    }

    /// How long the loop may wait at most.
    pub(super) fn patience(&self) -> Duration {
        self.every.unwrap_or(Duration::MAX)
    }

    /// Says something. Who does not listen is not waited for.
    fn say(&self, words: &[u8]) {
        if let Some((socket, to)) = &self.to {
            let _ = socket.send_to_addr(words, to);
        }
    }
}

/// A socket that does not wait, and the address in the variable: a path, or a name behind an `@`.
fn open(at: &OsString) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match at.as_bytes() {
        [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
        path @ [b'/', ..] => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(path))?,
        _ => return Err(io::ErrorKind::InvalidInput.into()),
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// Half of a number of microseconds.
fn half(micros: &OsString) -> Option<Duration> {
    let micros: u64 = micros.to_str()?.parse().ok()?;
    Some(Duration::from_micros(micros / 2)).filter(|half| !half.is_zero())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(by: &UnixDatagram) -> String {
        let mut room = [0; 200];
        let got = by.recv(&mut room).unwrap_or(0);
        String::from_utf8_lossy(&room[..got]).into_owned()
    }

    #[test]
    fn systemd_hears_of_every_half_of_its_time() {
        let name = format!("qmail-svscan-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(name.as_bytes()).unwrap();
        let by = UnixDatagram::bind_addr(&address).unwrap();
        by.set_nonblocking(true).unwrap();
        let to = open(&format!("@{name}").into()).unwrap();
        let second = Duration::from_secs(1);
        let mut systemd = Systemd { to: Some(to), every: Some(second), told: Duration::ZERO };
        systemd.ready();
        assert_eq!(heard(&by), "READY=1");
        for (at, said) in [(9, "WATCHDOG=1"), (9, ""), (10, "WATCHDOG=1")] {
            systemd.round(second * at);
            assert_eq!(heard(&by), said, "{at}");
        }
        systemd.stopping(second);
        assert_eq!(heard(&by), "STOPPING=1\nEXTEND_TIMEOUT_USEC=1000000");
    }

    #[test]
    fn without_systemd_nothing_is_said_or_waited_for() {
        let mut nobody = Systemd { to: None, every: None, told: Duration::ZERO };
        nobody.ready();
        nobody.round(Duration::from_secs(5));
        assert_eq!(nobody.patience(), Duration::MAX);
        assert_eq!(half(&"60000000".into()), Some(Duration::from_secs(30)));
        assert_eq!(half(&"no".into()), None);
    }
}
