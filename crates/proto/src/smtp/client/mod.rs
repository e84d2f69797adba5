//! Sending one letter to one server: the machine of `qmail-remote` (spec `qmail-smtp.md` §7.6).
//!
//! Up to `MAIL` nothing is decided: whatever goes wrong before is [`Action::Next`], so that another
//! host of the domain may be tried (RFC 5321 §5.1).

pub mod reply;

use alloc::vec;
use alloc::vec::Vec;

use base::address;

pub use reply::{Broken, Replies, Reply};

/// What is to be sent, and how we call ourselves and them.
#[derive(Clone, Debug)]
pub struct Job {
    /// The server's address as reports show it.
    pub peer: Vec<u8>,
    /// Our own name.
    pub helo: Vec<u8>,
    /// Envelope sender, unquoted.
    pub sender: Vec<u8>,
    /// Envelope recipients, unquoted.
    pub recipients: Vec<Vec<u8>>,
    /// The letter's bytes, if known: told to a server that offers SIZE (RFC 1870).
    pub size: Option<u64>,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Input {
    /// The server said this.
    Reply(Reply),
    /// The whole letter is on its way, the dot not.
    BodySent,
    /// The letter cannot be read to its end.
    Unreadable,
    /// The connection broke, or a reply was none, or it took too long.
    Lost,
}

/// What to do, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Write these bytes; they may wait for more until a reply is read.
    Send(Vec<u8>),
    /// Write the letter's wire form without its dot, then say [`Input::BodySent`].
    Body,
    /// Report this item (spec `qmail-overview.md` §6.5); it has no NUL.
    Item(Vec<u8>),
    /// This server will not do; if there is no other, this is the item to report.
    Next(Vec<u8>),
    /// The conversation is over.
    Close,
}

type Actions = Vec<Action>;

/// What the server offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offers {
    /// It wants to know sizes (RFC 1870).
    pub size: bool,
    /// It takes eight-bit letters (RFC 6152). We send them as they are in any case, as stock does.
    pub eight_bit: bool,
}

/// Where the conversation is: what the next reply answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Greeting,
    Ehlo,
    Helo,
    Mail,
    /// The recipient of this index.
    Rcpt(usize),
    Data,
    /// The letter is being written.
    Body,
    Dot,
    Over,
}

/// One conversation.
#[derive(Debug)]
pub struct Session {
    job: Job,
    state: State,
    offers: Offers,
    /// A recipient was accepted.
    accepted: bool,
}

impl Session {
    /// A conversation that begins when the server greets.
    pub fn new(job: Job) -> Self {
        Self { job, state: State::Greeting, offers: Offers::default(), accepted: false }
    }

    /// What the server offered in its answer to `EHLO`.
    pub const fn offers(&self) -> Offers {
        self.offers
    }

    /// Takes what happened and says what to do. After [`Action::Close`] there is nothing to do.
    pub fn step(mut self, input: Input) -> (Self, Actions) {
        let actions = match (self.state, input) {
            (State::Over, _) => Vec::new(),
            (_, Input::Lost) => self.lost(),
            (_, Input::Unreadable) => {
                self.state = State::Over;
                vec![Action::Item(b"ZUnable to read message. (#4.3.0)\n".to_vec()), Action::Close]
            }
            (State::Body, Input::BodySent) => {
                self.state = State::Dot;
                vec![Action::Send(b".\r\n".to_vec())]
            }
            (_, Input::BodySent) => Vec::new(),
            (state, Input::Reply(reply)) => self.reply(state, &reply),
        };
        (self, actions)
    }

    fn reply(&mut self, state: State, reply: &Reply) -> Actions {
        match state {
            State::Greeting => self.greeted(reply),
            State::Ehlo => self.ehlo(reply),
            State::Helo if reply.code == 250 => self.mail(),
            State::Helo => self.next(b" but my name was rejected", reply),
            State::Mail => match severity(reply.code) {
                None => self.rcpt(0),
                Some(letter) => {
                    self.end(&[letter], b"Connected to ", b" but sender was rejected.", reply)
                }
            },
            State::Rcpt(index) => {
                let item = self.recipient(reply);
                let mut actions = vec![Action::Item(item)];
                actions.extend(self.rcpt(index.saturating_add(1)));
                actions
            }
            State::Data => match severity(reply.code) {
                None => {
                    self.state = State::Body;
                    vec![Action::Body]
                }
                Some(letter) => self.end(&[letter], b"", b" failed on DATA command.", reply),
            },
            // A reply in the middle of the letter is one the server did not wait to give.
            State::Body | State::Dot => match severity(reply.code) {
                None if state == State::Dot => self.end(b"K", b"", b" accepted message.", reply),
                None => self.lost(),
                Some(letter) => {
                    self.end(&[letter], b"", b" failed after I sent the message.", reply)
                }
            },
            State::Over => Vec::new(),
        }
    }

    fn greeted(&mut self, reply: &Reply) -> Actions {
        if reply.code != 220 {
            return self.next(b" but greeting failed", reply);
        }
        self.state = State::Ehlo;
        vec![command(b"EHLO ", &self.job.helo, b"")]
    }

    fn ehlo(&mut self, reply: &Reply) -> Actions {
        match reply.code {
            250 => {
                self.offers = offers(reply);
                self.mail()
            }
            500..=599 => {
                self.state = State::Helo;
                vec![command(b"HELO ", &self.job.helo, b"")]
            }
            _ => self.next(b" but my name was rejected", reply),
        }
    }

    fn mail(&mut self) -> Actions {
        let Some(sender) = speakable(&self.job.sender) else {
            let item = b"DSorry, SMTP cannot carry the bytes of that envelope sender. (#5.1.7)\n";
            return self.quit(Action::Item(item.to_vec()));
        };
        self.state = State::Mail;
        let size = self.job.size.filter(|_| self.offers.size);
        let size = size.map(|size| alloc::format!(" SIZE={size}")).unwrap_or_default();
        vec![command(b"MAIL FROM:<", &sender, &[b">", size.as_bytes()].concat())]
    }

    /// Says the next recipient from `index` on that can be said, or what follows the last.
    fn rcpt(&mut self, mut index: usize) -> Actions {
        let mut actions = Vec::new();
        while let Some(recipient) = self.job.recipients.get(index) {
            if let Some(recipient) = speakable(recipient) {
                self.state = State::Rcpt(index);
                actions.push(command(b"RCPT TO:<", &recipient, b">"));
                return actions;
            }
            let item = b"hSorry, SMTP cannot carry the bytes of that address. (#5.1.3)\n";
            actions.push(Action::Item(item.to_vec()));
            index = index.saturating_add(1);
        }
        if self.accepted {
            self.state = State::Data;
            actions.push(Action::Send(b"DATA\r\n".to_vec()));
        } else {
            let item = [b"DGiving up on ", self.job.peer.as_slice(), b".\n"].concat();
            actions.extend(self.quit(Action::Item(item)));
        }
        actions
    }

    /// The report of one recipient.
    fn recipient(&mut self, reply: &Reply) -> Vec<u8> {
        let letter: &[u8] = match severity(reply.code) {
            None => {
                self.accepted = true;
                return b"r".to_vec();
            }
            Some(b'D') => b"h",
            Some(_) => b"s",
        };
        self.said(letter, b"", b" does not like recipient.", reply)
    }

    /// `letter before PEER after`, and what the server said.
    fn said(&self, letter: &[u8], before: &[u8], after: &[u8], reply: &Reply) -> Vec<u8> {
        let peer = self.job.peer.as_slice();
        [letter, before, peer, after, b"\nRemote host said: ", &reply.text].concat()
    }

    fn end(&mut self, letter: &[u8], before: &[u8], after: &[u8], reply: &Reply) -> Actions {
        let item = self.said(letter, before, after, reply);
        self.quit(Action::Item(item))
    }

    fn next(&mut self, why: &[u8], reply: &Reply) -> Actions {
        let item = self.said(b"Z", b"Connected to ", &[why, b"."].concat(), reply);
        self.quit(Action::Next(item))
    }

    /// Reports, takes leave and does not wait for an answer.
    fn quit(&mut self, report: Action) -> Actions {
        self.state = State::Over;
        vec![report, Action::Send(b"QUIT\r\n".to_vec()), Action::Close]
    }

    fn lost(&mut self) -> Actions {
        let state = core::mem::replace(&mut self.state, State::Over);
        let perhaps: &[u8] = if state == State::Dot { b"Possible duplicate! " } else { b"" };
        let peer = self.job.peer.as_slice();
        let died = b" but connection died. ";
        let item = [b"ZConnected to ", peer, died, perhaps, b"(#4.4.2)\n"].concat();
        let early = matches!(state, State::Greeting | State::Ehlo | State::Helo);
        vec![if early { Action::Next(item) } else { Action::Item(item) }, Action::Close]
    }
}

/// One command line.
fn command(verb: &[u8], argument: &[u8], end: &[u8]) -> Action {
    Action::Send([verb, argument, end, b"\r\n"].concat())
}

/// `D` for a refusal, `Z` for a later, nothing for a yes.
const fn severity(code: u16) -> Option<u8> {
    match code {
        500.. => Some(b'D'),
        400..=499 => Some(b'Z'),
        _ => None,
    }
}

/// What the answer to `EHLO` offers.
fn offers(reply: &Reply) -> Offers {
    let mut offers = Offers::default();
    for line in reply.lines().skip(1) {
        let word = line.split(|&c| c == b' ').next().unwrap_or_default();
        offers.size |= word.eq_ignore_ascii_case(b"SIZE");
        offers.eight_bit |= word.eq_ignore_ascii_case(b"8BITMIME");
    }
    offers
}

/// An address as a command carries it; nothing if a byte of it would end the command, or the
/// brackets around it, early.
fn speakable(address: &[u8]) -> Option<Vec<u8>> {
    let (local, domain) = address::split(address);
    let bare = |part: &[u8]| part.iter().all(|&c| c > b' ' && !matches!(c, 0x7f | b'<' | b'>'));
    match domain {
        // Without a domain it goes out raw, as in stock.
        None => bare(local).then(|| address.to_vec()),
        Some(domain) if bare(domain) && !local.iter().any(u8::is_ascii_control) => {
            Some(address::quote2(address))
        }
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::{String, ToString};

    fn job(recipients: &[&str]) -> Job {
        Job {
            peer: b"192.0.2.1".to_vec(),
            helo: b"me.test".to_vec(),
            sender: b"joe@a.test".to_vec(),
            recipients: recipients.iter().map(|r| r.as_bytes().to_vec()).collect(),
            size: Some(77),
        }
    }

    fn feed(session: Session, said: &str) -> (Session, Actions) {
        match said {
            "LOST" => session.step(Input::Lost),
            "SENT" => session.step(Input::BodySent),
            "UNREADABLE" => session.step(Input::Unreadable),
            said => {
                let wire = alloc::format!("{said}\r\n");
                let reply = Replies::default().take(&mut wire.as_bytes()).unwrap().unwrap();
                session.step(Input::Reply(reply))
            }
        }
    }

    fn talk(job: Job, said: &[&str]) -> Vec<String> {
        let (mut session, mut heard) = (Session::new(job), Vec::new());
        for said in said {
            let (next, actions) = feed(session, said);
            session = next;
            heard.extend(actions.iter().map(show));
        }
        heard
    }

    fn show(action: &Action) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match action {
            Action::Send(bytes) => text(bytes).strip_suffix("\r\n").unwrap().to_string(),
            Action::Body => "(body)".to_string(),
            Action::Item(item) => alloc::format!("= {}", text(item)),
            Action::Next(item) => alloc::format!("next {}", text(item)),
            Action::Close => "(close)".to_string(),
        }
    }

    const OK: [&str; 4] = ["220 hi", "250-x\r\n250-size 5\r\n250 8BITMIME", "250 ok", "250 ok"];

    #[test]
    fn a_letter_goes_out() {
        let said = [&OK[..], &["354 go", "SENT", "250 ok 1 qp 2"]].concat();
        let want = [
            "EHLO me.test",
            "MAIL FROM:<joe@a.test> SIZE=77",
            "RCPT TO:<\"a b\"@b.test>",
            "= r",
            "DATA",
            "(body)",
            ".",
            "= K192.0.2.1 accepted message.\nRemote host said: 250 ok 1 qp 2\n",
            "QUIT",
            "(close)",
        ];
        assert_eq!(talk(job(&["a b@b.test"]), &said), want);
    }

    #[test]
    fn an_old_server_is_spoken_to_in_its_way() {
        let mut bounce = job(&["x"]);
        bounce.sender = Vec::new();
        let heard = talk(bounce, &["220 hi", "502 what?", "250 hello", "250 ok"]);
        assert_eq!(heard, ["EHLO me.test", "HELO me.test", "MAIL FROM:<>", "RCPT TO:<x>"]);
    }

    #[test]
    fn before_mail_another_host_may_be_tried() {
        let said = "\nRemote host said: ";
        for (replies, want) in [
            (&["554 no"][..], " but greeting failed."),
            (&["421 busy"], " but greeting failed."),
            (&["220 a", "421 busy"], " but my name was rejected."),
            (&["220 a", "500 a", "550 go"], " but my name was rejected."),
        ] {
            let heard = talk(job(&["x@y"]), replies);
            let last = replies[replies.len() - 1];
            let want = alloc::format!("next ZConnected to 192.0.2.1{want}{said}{last}\n");
            assert!(heard.contains(&want), "{heard:?}");
        }
        let died = "next ZConnected to 192.0.2.1 but connection died. (#4.4.2)\n";
        assert_eq!(talk(job(&["x@y"]), &["LOST"]), [died, "(close)"]);
    }

    #[test]
    fn every_refusal_has_its_stock_text() {
        let step = |n: usize, last| talk(job(&["x@y"]), &[&OK[..n], &[last]].concat());
        let said =
            |text: &str, reply: &str| alloc::format!("= {text}\nRemote host said: {reply}\n");
        for (code, letter, recipient) in [("550 no", 'D', 'h'), ("451 no", 'Z', 's')] {
            let sender = alloc::format!("{letter}Connected to 192.0.2.1 but sender was rejected.");
            assert!(step(2, code).contains(&said(&sender, code)));
            let heard = step(3, code);
            let item = alloc::format!("{recipient}192.0.2.1 does not like recipient.");
            let want = [said(&item, code), "= DGiving up on 192.0.2.1.\n".into()];
            assert_eq!(heard[3..5], want);
            let data = alloc::format!("{letter}192.0.2.1 failed on DATA command.");
            assert!(step(4, code).contains(&said(&data, code)));
            let heard = talk(job(&["x@y"]), &[&OK[..], &["354 go", "SENT", code]].concat());
            let sent = alloc::format!("{letter}192.0.2.1 failed after I sent the message.");
            assert!(heard.contains(&said(&sent, code)));
        }
    }

    #[test]
    fn some_recipients_are_enough() {
        let said = [&OK[..3], &["550 no", "250 ok", "451 later"]].concat();
        let heard = talk(job(&["a@b", "c@d", "e@f"]), &said);
        assert_eq!(heard[8], "DATA");
        assert_eq!(heard.iter().filter(|line| line.starts_with("= ")).count(), 3);
    }

    #[test]
    fn only_behind_the_dot_may_a_loss_be_a_duplicate() {
        let died = "= ZConnected to 192.0.2.1 but connection died. (#4.4.2)\n";
        let twice = "= ZConnected to 192.0.2.1 but connection died. Possible duplicate! (#4.4.2)\n";
        let body = [&OK[..], &["354 go"]].concat();
        assert_eq!(talk(job(&["x@y"]), &[&body[..], &["LOST"]].concat())[6], died);
        assert_eq!(talk(job(&["x@y"]), &[&body[..], &["SENT", "LOST"]].concat())[7], twice);
        let heard = talk(job(&["x@y"]), &[&body[..], &["UNREADABLE"]].concat());
        assert_eq!(heard[6..], ["= ZUnable to read message. (#4.3.0)\n", "(close)"]);
    }

    #[test]
    fn no_address_becomes_a_command() {
        for bad in ["x\r\nDATA@y", "x@y>\r\nDATA", "x@y z", "x@y> SIZE=1", "a b", "x\n@y"] {
            let heard = talk(job(&[bad]), &OK[..3]);
            assert!(heard[2].starts_with("= hSorry, SMTP cannot carry"), "{heard:?}");
            assert_eq!(heard[3], "= DGiving up on 192.0.2.1.\n");
        }
        let mut from = job(&["x@y"]);
        from.sender = b"joe\n@a".to_vec();
        assert!(talk(from, &OK[..2])[1].starts_with("= DSorry, SMTP cannot carry"));
    }
}
