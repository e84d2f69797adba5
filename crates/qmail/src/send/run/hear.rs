//! What happened: on which descriptor, and what the schedule is to know of it.

use std::io;
use std::time::Duration;

use base::event::{Alert, Channel, Event as Log, Warning};
use base::wire::Malformed;
use base::wire::spawn::{MAX_REPORT, Report};
use store::users::Domains;
use sys::clock;
use sys::poll::Event as Ready;
use sys::signal::Signal;
use sys::spawn::{self, Status};

use super::{
    BOUNCES, CLEAN, CLEAN_REQUESTS, LOCAL, LOCAL_COMMANDS, QUEUED, REMOTE, REMOTE_COMMANDS, Run,
    SIGNALS, spawner,
};
use crate::send::policy::Policy;
use crate::send::schedule::{self, Event};

/// How long the kernel may take to tell how a helper ended whose pipe broke.
const TOLL: Duration = Duration::from_millis(500);

impl Run {
    pub(super) fn hear(&mut self, event: Ready) {
        match event.token {
            SIGNALS => self.hear_signals(),
            QUEUED => self.hear_queued(),
            CLEAN => self.hear_clean(),
            LOCAL => self.hear_spawner(Channel::Local),
            REMOTE => self.hear_spawner(Channel::Remote),
            LOCAL_COMMANDS if event.hangup => self.lose_spawner(Channel::Local),
            REMOTE_COMMANDS if event.hangup => self.lose_spawner(Channel::Remote),
            CLEAN_REQUESTS if event.hangup => self.lose_clean(),
            // Room to write: `carry_out` uses it.
            token if token < BOUNCES => (),
            token => self.hear_courier(token.saturating_sub(BOUNCES)),
        }
    }

    fn hear_signals(&mut self) {
        while let Ok(Some(signal)) = self.signals.next() {
            match signal {
                Signal::Alrm => self.step(Event::Hurry),
                Signal::Hup => self.reread(),
                _ => {
                    self.step(Event::Exit);
                    self.end(0);
                }
            }
        }
    }

    /// What cannot be used changes nothing.
    fn reread(&mut self) {
        if !self.home.root().is_dir() {
            return self.log(Log::Alert(Alert::RereadHome));
        }
        match Domains::load(&self.control) {
            Ok(domains) => self.step(Event::Domains(domains)),
            Err(err) => self.log(Log::Alert(Alert::Reread(&format!("{}: {err}", err.file())))),
        }
        match Policy::load(&self.control) {
            Ok(policy) => self.step(Event::Policy(policy)),
            Err(bad) => {
                self.log(Log::Alert(Alert::Reread(&format!("{}: {}", bad.file, bad.why))));
            }
        }
    }

    fn hear_queued(&mut self) {
        let (schedule, out, now) = (&mut self.schedule, &mut self.out, clock::now());
        let heard = self.link.hear(|event| schedule.step(event, now, out));
        if let Err(err) = heard {
            self.lose_queued(&err);
        }
    }

    pub(super) fn lose_queued(&mut self, err: &io::Error) {
        if err.kind() == io::ErrorKind::InvalidData {
            self.log(Log::Warning(Warning::Unknown("queue/queued")));
        }
        if let Some(alert) = self.link.cut(&self.poller, clock::monotonic()) {
            self.log(Log::Alert(alert));
        }
        self.step(Event::Unlinked);
    }

    fn hear_spawner(&mut self, channel: Channel) {
        let helper = spawner(&mut self.spawners, channel);
        let (schedule, out, now) = (&mut self.schedule, &mut self.out, clock::now());
        let heard = helper.hear(|inlet| {
            inlet.frames(MAX_REPORT, |frame| {
                let event = match Report::decode(frame)? {
                    Report::Ceiling(_) => return Err(Malformed),
                    Report::Made(slot) => Event::Made(channel, slot),
                    Report::Ended { slot, outcome, text } => {
                        Event::Report(channel, schedule::Report { slot, outcome, text })
                    }
                };
                schedule.step(event, now, out);
                Ok(())
            })
        });
        if heard.is_err() {
            self.lose_spawner(channel);
        }
    }

    pub(super) fn lose_spawner(&mut self, channel: Channel) {
        if !spawner(&mut self.spawners, channel).close(&self.poller) {
            return;
        }
        self.log(Log::Alert(Alert::LostSpawn));
        self.bury(match channel {
            Channel::Local => "qmail-lspawn",
            Channel::Remote => "qmail-rspawn",
        });
        self.step(Event::Lost(channel));
        self.end(111);
    }

    fn hear_clean(&mut self) {
        let mut answers = Vec::new();
        let heard = self.clean.hear(|inlet| {
            answers = inlet.bytes();
            Ok(())
        });
        for answer in answers {
            if let Some(letter) = self.asked.pop_front() {
                self.step(Event::Cleaned(letter, answer == b'+'));
            }
        }
        if heard.is_err() {
            self.lose_clean();
        }
    }

    pub(super) fn lose_clean(&mut self) {
        if !self.clean.close(&self.poller) {
            return;
        }
        self.log(Log::Alert(Alert::LostClean));
        self.bury("qmail-clean");
        self.step(Event::Exit);
        self.end(111);
    }

    /// Says how a helper ended whose pipe broke; the kernel may tell a moment later.
    fn bury(&mut self, program: &str) {
        let until = clock::monotonic().saturating_add(TOLL);
        while clock::monotonic() < until {
            match spawn::reap() {
                Ok(Some((child, _))) if self.couriers.iter().any(|(_, c)| c.pid() == child) => {}
                Ok(Some((child, status))) => {
                    let how = status.to_string();
                    return self.log(Log::Alert(Alert::Ended { program, child, how: &how }));
                }
                Ok(None) => clock::sleep(TOLL / 50),
                Err(_) => return,
            }
        }
    }

    fn hear_courier(&mut self, letter: u64) {
        let Some(at) = self.couriers.iter().position(|(known, _)| known.id == letter) else {
            return;
        };
        let back = self.couriers.get_mut(at).and_then(|(_, courier)| courier.back());
        let Some((how, status)) = back else { return };
        let (known, courier) = self.couriers.swap_remove(at);
        let _ = self.poller.remove(&courier);
        if let Some(status @ Status::Killed(_)) = status {
            let why = format!("child {} {status}", courier.pid());
            self.log(Log::Warning(Warning::Bounce { letter: known.id, why: &why }));
        }
        self.step(Event::Bounced(known, how));
    }
}
