//! The socket of the system's logger, and what it did not take.

use std::io;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::time::Duration;

/// How long the logger may leave a message waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where messages go.
#[derive(Debug)]
pub(super) struct Socket {
    path: PathBuf,
    connection: Option<UnixDatagram>,
    lost: u64,
    why: &'static str,
}

impl Socket {
    /// The logger at `path`; it need not be there yet.
    pub(super) fn new(path: PathBuf) -> Self {
        Self { path, connection: None, lost: 0, why: "" }
    }

    /// Sends a message, at a second try if the logger has been started anew; whether it was taken.
    pub(super) fn send(&mut self, message: &[u8]) -> bool {
        let sent = self.try_send(message).or_else(|_| {
            self.connection = None;
            self.try_send(message)
        });
        if let Err(err) = &sent {
            self.connection = None;
            self.why = sys::errno::text(err);
        }
        sent.is_ok()
    }

    /// [`Socket::send`]; what is not taken is counted.
    pub(super) fn send_counted(&mut self, message: &[u8]) {
        let lost = !self.send(message);
        self.lost = self.lost.saturating_add(lost.into());
    }

    /// `N messages: WHY`, if any have been lost that nobody was told of.
    pub(super) fn lost(&self) -> Option<String> {
        let path = self.path.display();
        (self.lost > 0).then(|| format!("{} messages: {path}: {}", self.lost, self.why))
    }

    /// Somebody has been told.
    pub(super) fn told(&mut self) {
        self.lost = 0;
    }

    fn try_send(&mut self, message: &[u8]) -> io::Result<()> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => {
                let new = UnixDatagram::unbound()?;
                new.set_write_timeout(Some(PATIENCE))?;
                new.connect(&self.path)?;
                new
            }
        };
        let sent = connection.send(message).map(drop);
        self.connection = Some(connection);
        sent
    }
}
