//! A child's talk with qmail-rspawn: one job after the other, as long as the session lasts.
//!
//! The first job comes with the process: its payload, the letter, a SEQPACKET channel. Before
//! anything is done for a job the child says `a` on the channel; when it is judged, `R` and the
//! report. While the session is open it then waits a little for another message like the first
//! payload, with a letter. At the end of its patience, or of the session, it says good-bye and
//! exits; a job it has not said `a` for goes to another child.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use base::limits;
use store::home::Home;
use sys::{brood, fd, pass};

use super::Order;
use super::courier::{Courier, Items, NoCourier};
use super::letter::Letter;
use super::talk::{self, Woken};

/// How long qmail-rspawn may take to hear a report.
const PATIENCE: Duration = Duration::from_secs(60);

/// A child's whole life; its exit code.
pub(super) fn serve(home: Option<&Home>, payload: &[u8], fds: Vec<OwnedFd>) -> i32 {
    let mut fds = fds.into_iter();
    let (Some(letter), Some(channel)) = (fds.next(), fds.next()) else { return 111 };
    let channel = channel.as_fd();
    let letter = Letter::from_start(File::from(letter));
    if taken(channel).is_err() {
        return 111;
    }
    let courier = match one(payload) {
        None => {
            let items = vec![super::IMPROPER.to_vec()];
            Err(NoCourier { items, is_out_of_reach: false })
        }
        Some(order) => Courier::to(order.host.clone(), home).map(|courier| (courier, order)),
    };
    let served = match courier {
        Err(NoCourier { items, is_out_of_reach }) => {
            let served = report(channel, &items);
            if is_out_of_reach {
                brood::make_way();
            }
            served
        }
        Ok((mut courier, order)) => {
            let served = each(&mut courier, channel, order, letter);
            courier.leave();
            served
        }
    };
    if served.is_ok() { 0 } else { 111 }
}

/// Delivers the first letter, which is taken, and all that follow.
fn each(
    courier: &mut Courier,
    channel: BorrowedFd<'_>,
    mut order: Order,
    mut letter: Letter,
) -> io::Result<()> {
    let mut room = vec![0; limits::HANDOVER];
    loop {
        let items = courier.deliver(&order, &mut letter);
        report(channel, &items)?;
        drop(letter);
        match next(courier, channel, &mut room) {
            Some(job) => (order, letter) = job,
            None => return Ok(()),
        }
        taken(channel)?;
    }
}

/// The next job for the open session; none: there is no session any more, or nobody to use it.
fn next(
    courier: &mut Courier,
    channel: BorrowedFd<'_>,
    room: &mut [u8],
) -> Option<(Order, Letter)> {
    let Woken::Channel { quiet } = talk::wait(channel, courier.talk()?, limits::REMOTE_IDLE) else {
        return None;
    };
    if !quiet {
        courier.hang_up();
    }
    let (length, fds) = pass::recv(channel, room, 1).ok()?;
    let order = one(room.get(..length)?)?;
    let letter = Letter::from_start(File::from(fds.into_iter().next()?));
    courier.goes_to(&order.host).then_some((order, letter))
}

/// A job's order: it has one recipient.
fn one(payload: &[u8]) -> Option<Order> {
    Order::from_text0(payload).filter(|order| order.recipients.len() == 1)
}

/// From here on the job is ours.
fn taken(channel: BorrowedFd<'_>) -> io::Result<()> {
    pass::send(channel, b"a", &[]).map(drop)
}

/// Says what happened to the job: an item for the recipient and one for the letter at most, which
/// together fit a message.
fn report(channel: BorrowedFd<'_>, items: &Items) -> io::Result<()> {
    let mut message = b"R".to_vec();
    for item in items {
        super::put_item(&mut message, item.get(..limits::REPORT).unwrap_or(item));
    }
    fd::write_all_within(channel, &message, PATIENCE)
}
