//! Connections whose letters go to a program (`$QMAILQUEUE`): the program would be in our fence,
//! and may be anything. They are served by a child of a process that is in none.

use std::io;
use std::os::fd::{AsFd, OwnedFd};

use sys::brood::{self, Annex};

use super::CHILDREN;
use super::circumstances::Circumstances;
use super::talk::{self, Ends};

/// The variable that names the program.
pub(crate) const PROGRAM: &str = "QMAILQUEUE";

/// Opens the annex, where `serve` has each connection; none if it is wanted for every connection:
/// then this process needs no fence.
pub(crate) fn open(
    socket: &OwnedFd,
    serve: impl Fn(Ends<'_>, &Circumstances) -> i32,
) -> io::Result<Option<Annex>> {
    if std::env::var_os(PROGRAM).is_some() {
        return Ok(None);
    }
    let child = |block: &[u8], fds: Vec<OwnedFd>| {
        let Some(connection) = fds.first() else { return 111 };
        let ends = Ends { hear: connection.as_fd(), speak: connection.as_fd() };
        serve(ends, &Circumstances::of_handover(block))
    };
    Annex::open(socket.as_fd(), CHILDREN, child).map(Some)
}

/// Has one connection served there; the exit code of ours, which only waits.
pub(crate) fn serve(annex: &Annex, block: &[u8], ends: Ends<'_>) -> i32 {
    if annex.run(block, &[ends.hear]).is_err() {
        talk::send_away(ends);
        brood::make_way();
    }
    0
}
