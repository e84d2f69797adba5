//! Told to stop: see [`Leaving`]. Who has asked is answered, and a client who has been let in is
//! handed on.

use sys::clock;

use super::Server;
use crate::leaving::Leaving;

impl Server {
    /// Begins to leave. The socket's name goes first: who does not find it waits for our successor.
    pub(super) fn begin_to_leave(&mut self) {
        // If it stays, those who come later are turned away when we are gone.
        let _ = std::fs::remove_file(self.home.path("pspawn/socket"));
        self.leaving = Some(Leaving::new(clock::monotonic()));
    }

    /// After a turn: whether to go now.
    pub(super) fn may_leave(&mut self, heard: bool) -> bool {
        let asked = !self.waiting.is_empty() || !self.checks.is_empty();
        let busy = asked || self.peers.values().any(|peer| peer.waits);
        let now = clock::monotonic();
        self.leaving.as_mut().is_some_and(|leaving| leaving.is_over(now, heard, busy))
    }
}
