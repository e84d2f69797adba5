//! Told to stop: see [`Leaving`]. A letter that is being handed in is taken and answered.

use super::client::Client;
use super::server::Server;
use crate::leaving::Leaving;

impl Client {
    /// In the middle of a letter, or waiting for an answer.
    fn is_busy(&self) -> bool {
        let talks = self.letter.is_some() || !self.inbox.is_empty();
        talks || self.waits() || self.securing || !self.out.is_empty() || self.listing.is_some()
    }
}

impl Server {
    /// Begins to leave. The door's name goes first: who does not find it waits for our successor.
    /// Those who came through it before are still let in.
    pub(super) fn begin_to_leave(&mut self) {
        if let Some(door) = &self.door {
            // If it stays, those who come later are turned away when we are gone.
            let _ = std::fs::remove_file(door);
        }
        self.leaving = Some(Leaving::new(sys::clock::monotonic()));
    }

    /// After a turn: whether to go now.
    pub(super) fn may_leave(&mut self, heard: bool) -> bool {
        let busy = self.clients.iter().any(|(_, client)| client.is_busy());
        let now = sys::clock::monotonic();
        self.leaving.as_mut().is_some_and(|leaving| leaving.is_over(now, heard, busy))
    }
}
