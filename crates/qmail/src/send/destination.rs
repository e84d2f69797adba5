//! Destinations: the domain a letter goes to, or the user here. How many deliveries at a time it
//! gets follows what it answers; what does not answer gets one attempt at a time, and pauses.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use base::event::Channel;
use base::outcome::Outcome;
use base::time::Moment;

use super::lanes::{Lane, Lanes, Parked, Turn};
use super::letters::Recipient;
use super::policy::FOR_EVER;

/// Deliveries at a time to a destination we know nothing of.
const FIRST: u32 = 2;
/// What a delivery may take and still be a reason for more at a time, microseconds.
const SLOW: u64 = 60_000_000;
/// The first pause of a destination that is down, seconds; it doubles up to [`LONGEST`].
const PAUSE: u64 = 5;
/// The longest pause.
const LONGEST: u64 = 600;
/// A letter waits for the end of a pause that lasts no longer than this, seconds; for a longer one
/// it is put off as if it had been tried.
const PATIENCE: u64 = 60;
/// For how long after its pause a destination is remembered to have been down, seconds.
const MEMORY: u64 = 3_600;
/// How many destinations are remembered for nothing but that.
const REMEMBERED: usize = 65_536;

/// What a delivery says of its destination.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sign {
    /// It answers: more at a time.
    Fine,
    /// It answers, slowly: one less.
    Slow,
    /// It answers, and puts off: one less.
    Soft,
    /// It does not answer, or wants no connection: half as many, then none for a while.
    Hard,
    /// Nothing.
    None,
}

/// Reads the sign in a report. The words are qmail-remote's; a host that puts them into its own
/// replies slows down its own mail.
pub(super) fn sign(channel: Channel, outcome: Option<Outcome>, text: &[u8], micros: u64) -> Sign {
    let says = |words: &[u8]| text.windows(words.len()).any(|piece| piece == words);
    let any = |words: &[&[u8]]| words.iter().any(|word| says(word));
    let answered = if micros > SLOW { Sign::Slow } else { Sign::Fine };
    match (channel, outcome) {
        (_, None) => Sign::None,
        (_, Some(Outcome::Done)) | (Channel::Local, Some(Outcome::Never)) => answered,
        (Channel::Local, Some(Outcome::Later)) => Sign::None,
        (Channel::Remote, Some(Outcome::Never)) => {
            // A host has said so, not only the DNS.
            if says(b"Remote host said: ") { answered } else { Sign::None }
        }
        (Channel::Remote, Some(Outcome::Later)) => {
            if any(&[b"(#4.4.1)", b"(#4.4.2)", b"(#4.1.2)", b"said: 421", b"greeting failed"]) {
                Sign::Hard
            } else if says(b"Remote host said: ") {
                Sign::Soft
            } else {
                Sign::None
            }
        }
    }
}

/// What becomes of a recipient whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// It is tried.
    Open,
    /// It waits for its destination.
    Wait,
    /// It is put off, with what the last attempt there said.
    PutOff,
}

/// Why a destination gets nothing for a while.
#[derive(Debug)]
struct Down {
    until: Moment,
    pause: u64,
    text: Box<[u8]>,
}

/// One destination.
#[derive(Debug)]
struct Destination {
    name: Box<[u8]>,
    /// Deliveries that run or to whom a place is promised; of those, such as are not people's.
    running: u32,
    behind: u32,
    /// How many may.
    window: u32,
    /// What an administrator allows.
    most: u32,
    /// Successes since the window last grew; once there was trouble it grows slowly.
    credit: u32,
    trouble: bool,
    /// It has answered since the last time it did not.
    alive: bool,
    /// When the last bad sign was taken in: those of deliveries that began before are the same.
    judged: Moment,
    /// An administrator's pause ends then.
    paused: Moment,
    down: Option<Box<Down>>,
    parked: Parked,
    /// Those who wait are being put off.
    shedding: bool,
    /// When it is looked at again.
    alarm: Moment,
}

impl Destination {
    fn new(name: &[u8], most: u32, paused: Moment) -> Self {
        Self {
            name: name.into(),
            running: 0,
            behind: 0,
            window: FIRST,
            most,
            credit: 0,
            trouble: false,
            alive: false,
            judged: Moment::default(),
            paused,
            down: None,
            parked: Parked::default(),
            shedding: false,
            alarm: Moment::default(),
        }
    }

    /// How many may run now.
    fn allowed(&self, now: Moment) -> u32 {
        match &self.down {
            _ if self.paused > now => 0,
            Some(down) if down.until > now => 0,
            Some(_) => 1,
            None => self.window.min(self.most).max(1),
        }
    }

    /// One more may run; it may be any, or only one of the people's.
    fn room(&self, now: Moment) -> Option<bool> {
        let allowed = self.allowed(now);
        (self.running < allowed).then_some(self.behind < share(allowed))
    }

    /// A letter should rather not wait for the end of the pause.
    fn is_long_down(&self, now: Moment) -> bool {
        let until = self.down.as_ref().map(|down| down.until).unwrap_or_default();
        self.paused <= now && until > now.plus_secs(PATIENCE)
    }

    fn gate(&self, lane: Lane, now: Moment) -> Gate {
        match self.room(now) {
            Some(any) if any || !lane.is_behind() => Gate::Open,
            _ if self.is_long_down(now) => Gate::PutOff,
            _ => Gate::Wait,
        }
    }

    fn count(&mut self, lane: Lane) {
        self.running = self.running.saturating_add(1);
        self.behind = self.behind.saturating_add(lane.is_behind().into());
    }

    fn uncount(&mut self, behind: bool) {
        self.running = self.running.saturating_sub(1);
        self.behind = self.behind.saturating_sub(behind.into());
    }

    /// Takes in a sign of a delivery that began at `began`.
    fn judge(&mut self, sign: Sign, text: &[u8], began: Moment, now: Moment) {
        let known = began < self.judged;
        match sign {
            Sign::None => return,
            Sign::Fine => self.widen(),
            Sign::Slow | Sign::Soft if known => (),
            Sign::Slow | Sign::Soft => self.narrow(self.window.saturating_sub(1).max(FIRST), now),
            Sign::Hard if known => return,
            Sign::Hard => return self.fail(text, now),
        }
        self.alive = true;
        self.down = None;
    }

    fn widen(&mut self) {
        if self.down.is_some() {
            (self.window, self.credit) = (FIRST, 0);
        }
        self.credit = self.credit.saturating_add(1);
        if (!self.trouble || self.credit >= self.window) && self.window < self.most {
            (self.window, self.credit) = (self.window.saturating_add(1), 0);
        }
    }

    fn narrow(&mut self, window: u32, now: Moment) {
        self.window = window.min(self.window).max(1);
        (self.credit, self.trouble, self.judged) = (0, true, now);
    }

    fn fail(&mut self, text: &[u8], now: Moment) {
        self.narrow(self.window / 2, now);
        if std::mem::take(&mut self.alive) {
            return; // it may have been this one connection
        }
        let before = self.down.as_ref().map_or(0, |down| down.pause);
        let pause = before.saturating_mul(2).clamp(PAUSE, LONGEST);
        let until = now.plus_secs(pause);
        self.down = Some(Box::new(Down { until, pause, text: text.into() }));
    }

    /// When its pause ends; once it has ended, when to forget that there was one.
    fn due(&self, now: Moment) -> Option<Moment> {
        let down = self.down.as_ref().map(|down| down.until);
        let down = down.map(|until| if until > now { until } else { until.plus_secs(MEMORY + 1) });
        let paused = Some(self.paused).filter(|&until| until > now && until < FOR_EVER);
        [down, paused].into_iter().flatten().filter(|&due| due > now).min()
    }
}

/// What those who are not people may take of so many places.
pub(super) fn share(places: u32) -> u32 {
    places.saturating_sub(places / 4)
}

/// The destinations of one channel that something runs for, waits for, or is remembered of.
#[derive(Debug, Default)]
pub(super) struct Destinations {
    by_name: HashMap<Box<[u8]>, u32>,
    places: Vec<Option<Destination>>,
    free: Vec<u32>,
    wakes: BinaryHeap<Reverse<(Moment, u32)>>,
    /// Those whose waiting recipients are put off, one by one.
    shedding: Vec<u32>,
}

impl Destinations {
    /// The destination of this name (in lower case), new if need be; `rules` says how many at a
    /// time it may have and until when it is paused.
    pub(super) fn find(
        &mut self,
        name: &[u8],
        now: Moment,
        rules: impl Fn(&[u8]) -> (u32, Moment),
    ) -> u32 {
        if let Some(&at) = self.by_name.get(name) {
            return at;
        }
        let (most, paused) = rules(name);
        let destination = Destination::new(name, most, paused);
        let at = self.free.pop().unwrap_or_else(|| {
            self.places.push(None);
            u32::try_from(self.places.len() - 1).unwrap_or(u32::MAX)
        });
        self.by_name.insert(name.into(), at);
        if let Some(place) = self.places.get_mut(at as usize) {
            *place = Some(destination);
        }
        self.arm(at, now);
        at
    }

    fn get(&mut self, at: u32) -> Option<&mut Destination> {
        self.places.get_mut(at as usize)?.as_mut()
    }

    /// Decides on a recipient whose turn it is; one that is tried is counted, one that waits is
    /// parked.
    pub(super) fn admit(&mut self, at: u32, turn: &Turn, lanes: &mut Lanes, now: Moment) -> Gate {
        let Some(destination) = self.get(at) else { return Gate::Wait };
        if turn.promised {
            destination.uncount(turn.lane.is_behind());
        }
        let gate = destination.gate(turn.lane, now);
        match gate {
            Gate::Open => destination.count(turn.lane),
            Gate::Wait => lanes.park(&mut destination.parked, turn),
            Gate::PutOff => (),
        }
        gate
    }

    /// A recipient to whom a place was promised will not come.
    pub(super) fn renounce(&mut self, at: u32, turn: &Turn, lanes: &mut Lanes, now: Moment) {
        if let Some(destination) = self.get(at).filter(|_| turn.promised) {
            destination.uncount(turn.lane.is_behind());
        }
        self.reopen(at, lanes, now);
    }

    /// A delivery has left its place.
    pub(super) fn leave(&mut self, at: u32, behind: bool) {
        if let Some(destination) = self.get(at) {
            destination.uncount(behind);
        }
    }

    /// Takes in what a delivery that began at `began` says of its destination, and lets in whoever
    /// may come.
    pub(super) fn judge(
        &mut self,
        at: u32,
        (sign, text): (Sign, &[u8]),
        began: Moment,
        lanes: &mut Lanes,
        now: Moment,
    ) {
        let Some(destination) = self.get(at) else { return };
        destination.judge(sign, text, began, now);
        let shed = destination.is_long_down(now) && !destination.parked.is_empty();
        if shed && !std::mem::replace(&mut destination.shedding, true) {
            self.shedding.push(at);
        }
        self.arm(at, now);
        self.reopen(at, lanes, now);
    }

    /// What the last attempt at a destination that is down said.
    pub(super) fn last_words(&self, at: u32) -> &[u8] {
        let destination = self.places.get(at as usize).and_then(Option::as_ref);
        let down = destination.and_then(|destination| destination.down.as_ref());
        down.map(|down| &down.text[..]).unwrap_or_default()
    }

    /// Lets in as many as may come, and forgets the destination if nothing is left to remember.
    pub(super) fn reopen(&mut self, at: u32, lanes: &mut Lanes, now: Moment) {
        let crowded = self.by_name.len() > REMEMBERED;
        let Some(destination) = self.get(at) else { return };
        while let Some(any) = destination.room(now).filter(|_| !destination.parked.is_empty()) {
            let Some(lane) = lanes.unpark(&mut destination.parked, any) else { break };
            destination.count(lane);
        }
        let forgotten = match &destination.down {
            Some(down) => crowded || now > down.until.plus_secs(MEMORY),
            None => true,
        };
        let idle = destination.running == 0 && destination.parked.is_empty();
        if idle && forgotten && !destination.shedding {
            let name = std::mem::take(&mut destination.name);
            self.by_name.remove(&name);
            if let Some(place) = self.places.get_mut(at as usize) {
                *place = None;
                self.free.push(at);
            }
        }
    }

    /// Lets in whom a pause that is over kept waiting.
    pub(super) fn wake(&mut self, lanes: &mut Lanes, now: Moment) {
        while let Some(&Reverse((due, at))) = self.wakes.peek()
            && due <= now
        {
            self.wakes.pop();
            if self.get(at).is_some_and(|destination| destination.alarm == due) {
                self.reopen(at, lanes, now);
                self.arm(at, now);
            }
        }
    }

    /// Has the destination looked at again when its pause ends; what was asked for before is void.
    fn arm(&mut self, at: u32, now: Moment) {
        let Some(destination) = self.get(at) else { return };
        let due = destination.due(now);
        if let Some(due) = due.filter(|&due| due != destination.alarm) {
            destination.alarm = due;
            self.wakes.push(Reverse((due, at)));
        }
    }

    /// When [`Destinations::wake`] is wanted.
    pub(super) fn due(&self) -> Option<Moment> {
        self.wakes.peek().map(|Reverse((due, _))| *due)
    }

    /// The next recipient that waits for a destination which is down for long, and which that is.
    pub(super) fn shed(&mut self, lanes: &mut Lanes, now: Moment) -> Option<(u32, Recipient)> {
        while let Some(&at) = self.shedding.last() {
            let destination = self.get(at).filter(|destination| destination.is_long_down(now));
            if let Some(recipient) = destination.and_then(|d| lanes.shed(&mut d.parked)) {
                return Some((at, recipient));
            }
            self.shedding.pop();
            if let Some(destination) = self.get(at) {
                destination.shedding = false;
            }
            self.reopen(at, lanes, now);
        }
        None
    }

    /// There is somebody to put off.
    pub(super) fn is_shedding(&self) -> bool {
        !self.shedding.is_empty()
    }

    /// ALRM, or new rules: whatever is down may be tried at once, and every pause is looked up
    /// again.
    pub(super) fn renew(
        &mut self,
        rules: impl Fn(&[u8]) -> (u32, Moment),
        forgive: bool,
        lanes: &mut Lanes,
        now: Moment,
    ) {
        for at in (0..).take(self.places.len()) {
            let Some(destination) = self.get(at) else { continue };
            (destination.most, destination.paused) = rules(&destination.name);
            if forgive && let Some(down) = &mut destination.down {
                down.until = down.until.min(now);
            }
            self.arm(at, now);
            self.reopen(at, lanes, now);
        }
    }

    /// The clock was set: pauses of ours last as long as before.
    pub(super) fn shift(&mut self, now: Moment, by: impl Fn(Moment) -> Moment) {
        for at in (0..).take(self.places.len()) {
            let Some(destination) = self.get(at) else { continue };
            destination.judged = by(destination.judged);
            if let Some(down) = &mut destination.down {
                down.until = by(down.until);
            }
            self.arm(at, now);
        }
    }

    /// How many there are.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.by_name.len()
    }

    /// How many may run at a time at the one of this name.
    #[cfg(test)]
    pub(super) fn window(&self, name: &[u8]) -> u32 {
        let at = self.by_name.get(name).copied().unwrap_or(u32::MAX);
        self.places.get(at as usize).and_then(Option::as_ref).map_or(0, |d| d.window)
    }
}
