//! Letters from queued: every order's is asked for at once, the answers come in order and late.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use base::wire::queue::{Answer, Request};
use store::client::QueueClient;
use store::home::Home;
use sys::poll::{Interest, Poller};

use super::{Letter, Order, QUEUED, Verdict, later};

/// How long a queued that went away may take to come back before deliveries are put off: its
/// supervise starts it again at once, a deferral would cost the letter minutes.
const QUEUED_BACK: Duration = Duration::from_secs(3);
/// How long a queued that is there may hand nothing out while letters are asked for.
const HAND_OUT: Duration = Duration::from_secs(10);
/// How many connections may be lost one after another without an answer before deliveries are put
/// off: a queued that comes back and ends again would be waited for without end.
const LIVES: u32 = 4;
/// The pause between two tries to reach it.
const AGAIN: Duration = Duration::from_millis(50);

/// Whether an error says that nobody answers at queued's socket now, rather than that it said no.
fn is_away(err: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    let refused = [Kind::ConnectionRefused, Kind::NotFound, Kind::WouldBlock];
    let lost = [Kind::BrokenPipe, Kind::UnexpectedEof, Kind::ConnectionReset];
    refused.contains(&err.kind()) || lost.contains(&err.kind())
}

fn unopened() -> Verdict {
    later("qmail-spawn unable to open message. (#4.3.0)\n")
}

/// The queue's letters, over one connection that is made anew when it breaks.
pub(super) struct Letters {
    home: Home,
    /// Small letters are wanted as they are, not as descriptors.
    here: bool,
    queued: Option<QueueClient>,
    /// Not asked for on this connection.
    wanted: VecDeque<Order>,
    /// Asked for, in the order of the answers.
    asked: VecDeque<Order>,
    /// When the connection last gave something, or was first asked.
    heard: Duration,
    /// Since when nobody is there: the wait for that is one for all orders, not one for each.
    away_since: Option<Duration>,
    /// Connections made since the last answer.
    unanswered: u32,
    /// When to try again to reach it.
    again: Option<Duration>,
    /// Orders whose letters will not come.
    failed: VecDeque<Order>,
}

impl Letters {
    pub(super) fn new(home: Home, here: bool) -> Self {
        let (wanted, asked, failed) = (VecDeque::new(), VecDeque::new(), VecDeque::new());
        let (heard, away_since, unanswered, again) = (Duration::ZERO, None, 0, None);
        let queued = None;
        Self { home, here, queued, wanted, asked, heard, away_since, unanswered, again, failed }
    }

    /// The order's letter is to be fetched.
    pub(super) fn want(&mut self, order: Order) {
        self.wanted.push_back(order);
    }

    /// Asks for everything that is wanted, connecting if need be.
    pub(super) fn ask(&mut self, now: Duration, poller: &Poller) {
        if self.wanted.is_empty() || self.again.is_some_and(|again| now < again) {
            return;
        }
        self.again = None;
        if let Err(err) = self.try_ask(now, poller) {
            self.lost(&err, now, poller);
        }
    }

    fn try_ask(&mut self, now: Duration, poller: &Poller) -> io::Result<()> {
        if self.queued.is_none() {
            let queued = QueueClient::connect_now(&self.home)?.patient(HAND_OUT);
            poller.add(&queued, QUEUED, Interest::READ)?;
            self.queued = Some(queued);
            (self.away_since, self.unanswered) = (None, self.unanswered.saturating_add(1));
        }
        let Some(queued) = &mut self.queued else { return Ok(()) };
        if self.asked.is_empty() {
            self.heard = now;
        }
        let request = if self.here { Request::Fetch } else { Request::Open };
        let asked = queued.ask_all(self.wanted.iter().map(|order| request(order.letter)));
        self.asked.append(&mut self.wanted);
        asked
    }

    /// The next order whose letter has come, or will not come. Does not wait.
    pub(super) fn next(
        &mut self,
        now: Duration,
        poller: &Poller,
    ) -> Option<(Order, Result<Letter, Verdict>)> {
        if let Some(order) = self.failed.pop_front() {
            return Some((order, Err(unopened())));
        }
        match self.answer() {
            Ok(Some(answer)) => {
                (self.heard, self.unanswered) = (now, 0);
                return Some(answer);
            }
            Ok(None) if !self.asked.is_empty() && now >= self.heard.saturating_add(HAND_OUT) => {
                self.failed.append(&mut self.asked);
                self.hang_up(poller);
            }
            Ok(None) => {}
            Err(err) => self.lost(&err, now, poller),
        }
        self.failed.pop_front().map(|order| (order, Err(unopened())))
    }

    fn answer(&mut self) -> io::Result<Option<(Order, Result<Letter, Verdict>)>> {
        let Some(queued) = &mut self.queued else { return Ok(None) };
        let (size, bytes) = match queued.next(Duration::ZERO)? {
            None => return Ok(None),
            Some(Answer::Opened(size)) => (Some(size), None),
            Some(Answer::Fetched(bytes)) => (None, Some(bytes.to_vec())),
            Some(Answer::Refused(..)) => (None, None),
            Some(_) => return Err(io::ErrorKind::InvalidData.into()),
        };
        let Some(order) = self.asked.pop_front() else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        let open = size.and_then(|size| Some(Letter::Open { fd: queued.take_fd()?, size }));
        let letter = open.or(bytes.map(Letter::Here));
        Ok(Some((order, letter.ok_or_else(unopened))))
    }

    /// The connection is gone: what was asked for is asked for again, unless nobody answers for
    /// too long.
    fn lost(&mut self, err: &io::Error, now: Duration, poller: &Poller) {
        self.hang_up(poller);
        std::mem::swap(&mut self.asked, &mut self.wanted);
        self.wanted.append(&mut self.asked);
        let since = *self.away_since.get_or_insert(now);
        let back = now.saturating_sub(since) < QUEUED_BACK && self.unanswered < LIVES;
        if is_away(err) && back {
            self.again = Some(now.saturating_add(AGAIN));
        } else {
            self.failed.append(&mut self.wanted);
        }
    }

    fn hang_up(&mut self, poller: &Poller) {
        if let Some(queued) = self.queued.take() {
            let _gone = poller.remove(&queued);
        }
    }

    /// After how long there will be something to do without anything to read.
    pub(super) fn wake(&self, now: Duration) -> Option<Duration> {
        let again = self.again.filter(|_| !self.wanted.is_empty());
        let answer = self.heard.saturating_add(HAND_OUT);
        let answer = Some(answer).filter(|_| !self.asked.is_empty());
        again.into_iter().chain(answer).min().map(|at| at.saturating_sub(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::outcome::Outcome;
    use base::time::Moment;
    use sys::pass::{self, Kind};
    use yard::Yard;

    fn order(slot: u32) -> Order {
        let (sender, recipient) = (Vec::new(), b"a@b".to_vec());
        let birth = Moment::default();
        Order { slot, letter: 1, birth, index: 0, perhaps: false, sender, recipient }
    }

    #[test]
    fn a_queued_that_stays_away_is_waited_for_once_and_not_for_every_letter() {
        let nobody = Yard::new("spawn-away");
        let mut letters = Letters::new(Home::at(&nobody).unwrap(), true);
        let poller = Poller::new().unwrap();
        let mut now = Duration::from_secs(100);
        let mut waited = |slot| {
            let since = now;
            letters.want(order(slot));
            loop {
                letters.ask(now, &poller);
                if let Some((order, letter)) = letters.next(now, &poller) {
                    assert_eq!(order.slot, slot);
                    assert_eq!(letter.unwrap_err().0, Outcome::Later);
                    return now - since;
                }
                now += letters.wake(now).unwrap();
            }
        };
        assert!(waited(1) >= QUEUED_BACK);
        assert!(waited(2) < QUEUED_BACK / 2);
    }

    #[test]
    fn a_queued_that_goes_away_again_is_waited_for_again_but_not_without_end() {
        let dir = Yard::new("spawn-again");
        std::fs::create_dir_all(dir.join("queue")).unwrap();
        let mut letters = Letters::new(Home::at(&dir).unwrap(), false);
        let poller = Poller::new().unwrap();
        let mut now = Duration::from_secs(100);
        letters.want(order(1));
        // Each time it is there after two seconds, is asked, and ends without an answer.
        for life in 1..=LIVES {
            letters.ask(now, &poller);
            assert!(letters.next(now, &poller).is_none() && letters.queued.is_none());
            now += Duration::from_secs(2);
            let path = dir.join("queue/queued");
            let listener = pass::listen(&path, Kind::Stream, 0o600, 5).unwrap();
            letters.ask(now, &poller);
            drop(listener);
            std::fs::remove_file(path).unwrap();
            let next = letters.next(now, &poller);
            assert_eq!(next.is_some(), life == LIVES, "life {life}");
        }
    }
}
