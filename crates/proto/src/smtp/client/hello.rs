//! Before the first letter: names, offers, a login.

use alloc::format;
use alloc::vec;

use super::{Action, Actions, Offers, Reply, Session, State, login};

impl Session {
    pub(super) fn greeted(&mut self, reply: &Reply) -> Actions {
        if reply.code != 220 {
            return self.next(b" but greeting failed", reply);
        }
        self.state = State::Ehlo;
        vec![Action::Send([b"EHLO ", self.helo.as_slice(), b"\r\n"].concat())]
    }

    pub(super) fn ehlo(&mut self, reply: &Reply) -> Actions {
        match reply.code {
            250 => {
                self.offers = Offers::of(reply);
                self.known()
            }
            500..=599 => {
                self.state = State::Helo;
                vec![Action::Send([b"HELO ", self.helo.as_slice(), b"\r\n"].concat())]
            }
            _ => self.next(b" but my name was rejected", reply),
        }
    }

    /// The server knows our name: logs in, or begins with the letter.
    pub(super) fn known(&mut self) -> Actions {
        let Some(login) = &self.login else { return self.transact() };
        let Some((line, step)) = login.begin(self.offers.login) else {
            let peer = self.peer.as_slice();
            let why = b" but it offers no way to log in that I know. (#4.7.4)\n";
            let item = [b"ZConnected to ", peer, why].concat();
            return self.quit(Some(Action::Next(item)));
        };
        self.state = State::Login(step);
        vec![Action::Send(line)]
    }

    pub(super) fn log_in(&mut self, step: login::Step, reply: &Reply) -> Actions {
        match self.login.as_ref().map(|login| login.go_on(step, reply)) {
            Some(login::Next::Say(line, step)) => {
                self.state = State::Login(step);
                vec![Action::Send(line)]
            }
            Some(login::Next::In) | None => self.transact(),
            // The administrator's slip, or the relay's: no letter is to be lost by it.
            Some(login::Next::Refused) => self.not_in(reply),
        }
    }

    fn not_in(&mut self, reply: &Reply) -> Actions {
        let code = reply.code;
        let unsaid = || format!("{code} (not shown: the words hold the password)\n").into_bytes();
        let betrayed = self.login.as_ref().is_some_and(|login| login.is_betrayed_by(&reply.text));
        let text = if betrayed { unsaid() } else { reply.text.clone() };
        self.next(b" but authentication was rejected", &Reply { code, text })
    }
}
