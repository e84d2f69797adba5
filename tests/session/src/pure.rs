//! The machine itself as a server: no socket, no process, no file.

use std::collections::VecDeque;

use base::outcome::Outcome;
use base::text0;
use proto::smtp::command::OwnAddresses;
use proto::smtp::hosts;
use proto::smtp::server::{
    Action, BadSenders, Framing, Input, Question, Session, Settings, Verdict, Welcome,
};

use crate::script::{Script, Setting};
use crate::{Queued, Server};

/// What the queue and the control files say in a script.
#[derive(Clone, Debug)]
pub(crate) struct World {
    rcpthosts: Option<Vec<String>>,
    locals: Vec<String>,
    me: String,
    mailboxes: Vec<String>,
    refusal: Option<String>,
}

/// The SMTP machine, set up as a script wants.
pub struct Pure<'s> {
    settings: &'s Settings,
    world: World,
    session: Option<Session<'s>>,
    framing: Framing,
    /// The most bytes the machine is fed at once.
    chunk: usize,
    said: VecDeque<u8>,
    letter: Option<Vec<u8>>,
    letters: Vec<Queued>,
    closed: bool,
    /// Places are short.
    hurried: bool,
}

/// The machine's settings in a script.
pub fn settings(script: &Script) -> Settings {
    let line = |name| script.control(name).next().map(str::to_owned);
    let me = line("me").unwrap_or_default();
    let databytes = env(script, "DATABYTES").or_else(|| line("databytes"));
    Settings {
        greeting: line("smtpgreeting").unwrap_or_else(|| me.clone()).into(),
        bad_senders: BadSenders::new(script.control("badmailfrom").map(str::as_bytes)),
        databytes: databytes.and_then(|n| n.parse().ok()).unwrap_or(0),
        relay: env(script, "RELAYCLIENT").map(Into::into),
        own: OwnAddresses {
            name: Some(line("localiphost").unwrap_or(me).into()),
            addresses: vec![std::net::Ipv4Addr::LOCALHOST],
        },
    }
}

pub(crate) fn env(script: &Script, name: &str) -> Option<String> {
    script.settings.iter().find_map(|setting| match setting {
        Setting::Env(key, value) if key == name => Some(value.clone()),
        _ => None,
    })
}

impl World {
    /// What a script says of them.
    pub(crate) fn of(script: &Script) -> Self {
        let list = |name| script.control(name).map(str::to_ascii_lowercase).collect::<Vec<_>>();
        let me = list("me").into_iter().next().unwrap_or_default();
        let (rcpthosts, locals) = (list("rcpthosts"), list("locals"));
        Self {
            rcpthosts: (!rcpthosts.is_empty()).then(|| [rcpthosts, list("morercpthosts")].concat()),
            locals: if locals.is_empty() { vec![me.clone()] } else { locals },
            me,
            mailboxes: script.settings.iter().filter_map(mailbox).collect(),
            refusal: script.settings.iter().find_map(|setting| match setting {
                Setting::Queue(words) => Some(words.clone()),
                _ => None,
            }),
        }
    }

    /// In the same order as `qmail-smtpd`: first the domain, then the mailbox.
    pub(crate) fn welcome(&self, address: &[u8], relay: bool) -> Welcome {
        let text = String::from_utf8_lossy(address).to_ascii_lowercase();
        let (local, domain) = text.rsplit_once('@').unwrap_or((&text, &self.me));
        let ours = self.locals.iter().any(|name| name == domain);
        let covered = match (&self.rcpthosts, hosts::keys(address)) {
            (None, _) => ours,
            (Some(_), None) => true,
            (Some(names), Some(keys)) => {
                keys.iter().any(|key| names.iter().any(|name| name.as_bytes() == key))
            }
        };
        match () {
            () if !covered && !relay => Welcome::NotOurs,
            () if ours && !self.has(local, domain) => Welcome::NoMailbox,
            () => Welcome::Yes,
        }
    }

    /// The queue's refusal of every letter, if it refuses.
    pub(crate) fn refused(&self) -> Option<Verdict> {
        let (letter, text) = self.refusal.as_ref()?.split_at_checked(1)?;
        let outcome = if letter == "D" { Outcome::Never } else { Outcome::Later };
        Some(Verdict::Refused(outcome, text.into()))
    }

    fn has(&self, local: &str, domain: &str) -> bool {
        self.mailboxes.contains(&format!("{local}@{domain}"))
    }
}

fn mailbox(setting: &Setting) -> Option<String> {
    match setting {
        Setting::Mailbox(address) | Setting::Account(address, _) => {
            Some(address.to_ascii_lowercase())
        }
        Setting::Control(..) | Setting::Env(..) | Setting::Letter(_) | Setting::Queue(_) => None,
    }
}

impl<'s> Pure<'s> {
    /// A session as `script` wants it; the machine is fed at most `chunk` bytes at once.
    /// `settings` are those of [`settings`].
    pub fn new(script: &Script, settings: &'s Settings, chunk: usize) -> Self {
        let (session, actions) = Session::open(settings);
        let mut pure = Self {
            settings,
            world: World::of(script),
            session: Some(session),
            framing: Framing::default(),
            chunk: chunk.max(1),
            said: VecDeque::new(),
            letter: None,
            letters: Vec::new(),
            closed: false,
            hurried: env(script, "HURRY").is_some_and(|hurry| !hurry.is_empty()),
        };
        pure.act(actions, &[]);
        pure
    }

    fn feed(&mut self, mut bytes: &[u8]) {
        let mut framing = std::mem::take(&mut self.framing);
        while let Some(session) = &self.session
            && let Some(input) = framing.next(session.expects(), &mut bytes)
        {
            self.step(input);
        }
        self.framing = framing;
    }

    fn step(&mut self, input: Input<'_>) {
        let piece = if let Input::Data(piece) = input { piece.to_vec() } else { Vec::new() };
        let mut next = Some(input);
        while let Some(input) = next.take()
            && let Some(session) = self.session.take()
        {
            let (session, actions) = session.step(input);
            self.session = Some(session);
            next = self.act(actions, &piece).map(Input::Answer);
        }
    }

    fn act(&mut self, actions: Vec<Action>, piece: &[u8]) -> Option<Verdict> {
        let mut answer = None;
        for action in actions {
            match action {
                Action::Reply(reply) => {
                    let mut text = Vec::new();
                    reply.encode(&self.settings.greeting, &mut text);
                    self.said.extend(text);
                }
                Action::Ask(Question::Recipient { address, relay }) => {
                    answer = Some(Verdict::Recipient(self.world.welcome(&address, relay)));
                }
                Action::Begin { helo: _ } => {
                    self.letter = Some(Vec::new());
                    answer = Some(Verdict::Begun);
                }
                Action::Body => {
                    if let Some(letter) = &mut self.letter {
                        letter.extend_from_slice(piece);
                    }
                }
                Action::Commit { envelope } => answer = self.commit(&envelope),
                Action::Abort => self.letter = None,
                Action::Close(_) => self.closed = true,
            }
        }
        answer
    }

    fn commit(&mut self, envelope: &[u8]) -> Option<Verdict> {
        let body = self.letter.take()?;
        if let Some(refused) = self.world.refused() {
            return Some(refused);
        }
        let envelope = text0::fields(envelope)?.map(<[u8]>::to_vec).collect();
        self.letters.push(Queued { envelope, body });
        Some(Verdict::Queued { secs: 1_795_355_129, pid: 11_757 })
    }
}

impl Server for Pure<'_> {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        bytes.chunks(self.chunk).for_each(|chunk| self.feed(chunk));
        Ok(())
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let Some(end) = self.said.iter().position(|&c| c == b'\n') else {
            let silent = || Err("no reply".to_owned());
            return if self.closed { Ok(None) } else { silent() };
        };
        let line: Vec<u8> = self.said.drain(..=end).collect();
        line.strip_suffix(b"\r\n").map(|line| Some(line.to_vec())).ok_or("a bare LF".to_owned())
    }

    fn netstring(&mut self) -> Result<Option<Vec<u8>>, String> {
        Err("it speaks in lines".to_owned())
    }

    fn be_silent(&mut self) {
        self.step(if self.hurried { Input::Hurried } else { Input::Deadline });
    }

    fn hang_up(&mut self) {
        self.step(Input::Eof);
    }

    fn queued(&mut self) -> Option<Vec<Queued>> {
        Some(self.letters.clone())
    }
}
