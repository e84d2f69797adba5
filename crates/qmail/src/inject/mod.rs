//! Preprocess and queue a letter from a local user: complete its addresses, add the fields it
//! lacks, find its recipients.
//!
//! *Runs as* whoever calls it · *hears* that user's letter on descriptor 0 and his environment ·
//! *opens* control files and `$QMAILMFTFILE` · *speaks to* queued, or the program `$QMAILQUEUE`
//! names

mod courtesy;
pub(crate) mod enqueue;
mod options;
pub(crate) mod site;
mod who;

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

use base::address::{Address, quote2};
use base::time::Moment;
use base::{limits, text0};
use letter::compose::{Compose, Composed, Generated, Person, Refused};
use letter::header::Head;
use letter::rewrite::Rules;
use letter::token822::Unparsable;
use store::control::Control;
use store::home::Home;
use sys::fd;
use sys::signal::{self, Signal};

use enqueue::Outlet;
use options::{Options, Strategy};
use site::Site;
use who::Who;

/// Why the letter is not queued: what stands after `qmail-inject: fatal: `, and the exit code.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Fatal {
    /// The reason.
    pub(crate) text: Vec<u8>,
    /// 100 (never) or 111 (later).
    pub(crate) code: i32,
}

impl Fatal {
    /// It will never work.
    fn permanent(text: impl Into<Vec<u8>>) -> Self {
        Self { text: text.into(), code: 100 }
    }

    /// It may work later.
    fn temporary(text: impl Into<Vec<u8>>) -> Self {
        Self { text: text.into(), code: 111 }
    }

    /// A line cannot be read; of a long one only the beginning is shown.
    fn unparsable(line: &[u8]) -> Self {
        let shown = line.get(..SHOWN).unwrap_or(line);
        let shown = shown.strip_suffix(b"\n").unwrap_or(shown);
        Self::permanent([b"unable to parse this line:\n", shown].concat())
    }

    /// More recipients than an envelope holds.
    fn too_many() -> Self {
        Self::permanent("too many recipients for one letter")
    }

    /// Why a field is not taken.
    fn refused(why: Refused, field: &[u8]) -> Self {
        match why {
            Refused::Unparsable => Self::unparsable(field),
            Refused::TooMany => Self::too_many(),
        }
    }
}

/// Bytes of a line that are shown to the caller.
const SHOWN: usize = 1_000;

/// One variable of the environment; a set but empty one is `Some`.
fn environment(name: &str) -> Option<Vec<u8>> {
    std::env::var_os(name).map(OsString::into_vec)
}

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let options = match Options::parse(args) {
        Ok(options) => options,
        Err(misuse) => {
            say(misuse.to_string().as_bytes());
            return 100;
        }
    };
    match run(&options) {
        Ok(()) => 0,
        Err(fatal) => {
            say(&[b"qmail-inject: fatal: ", &fatal.text[..]].concat());
            fatal.code
        }
    }
}

/// One line on descriptor 2; nobody is left to tell if that fails.
fn say(text: &[u8]) {
    let _ = fd::write_all(fd::stderr(), &[text, b"\n"].concat());
}

fn run(options: &Options) -> Result<(), Fatal> {
    let home = Home::find().map_err(|err| Fatal::temporary(err.to_string()))?;
    let site = Site::read(&Control::new(&home), &environment)?;
    let who = Who::read(&site, &environment);
    let lists = site::lists(&environment)?;
    let mut input = Input::new();
    let (fields, start) = input.header()?;
    let at = Now { moment: sys::clock::now(), pid: std::process::id() };
    let letter = prepare(options, &site, &who, &lists, &fields, &at)?;
    let mut outlet = letter.open(options, &home)?;
    outlet.put(&letter.header)?;
    input.body(&start, &mut outlet)?;
    let queued = matches!(outlet, Outlet::Queued(_));
    outlet.commit(&letter.envelope())?;
    if queued {
        courtesy::make_way();
    }
    Ok(())
}

/// When, and by which process, a letter is written.
struct Now {
    moment: Moment,
    pid: u32,
}

/// A letter ready for the queue but for its body.
#[derive(Debug, PartialEq, Eq)]
struct Prepared {
    sender: Address,
    /// Everybody it goes to, as text0.
    recipients: Vec<u8>,
    header: Vec<u8>,
}

impl Prepared {
    /// Where it goes.
    fn open(&self, options: &Options, home: &Home) -> Result<Outlet, Fatal> {
        if !options.show {
            return Outlet::queue(home);
        }
        // Who has read enough, as head(1) does, ends us without a word.
        signal::default(Signal::Pipe);
        let mut screen = Outlet::Screen;
        screen.put(&[b"Return-Path: <", &quote2(self.sender.as_bytes())[..], b">\n"].concat())?;
        Ok(screen)
    }

    /// The envelope as text0: the sender, then each recipient.
    fn envelope(&self) -> Vec<u8> {
        let mut block = Vec::new();
        text0::put(&mut block, self.sender.as_bytes());
        block.extend_from_slice(&self.recipients);
        block
    }
}

/// Judges a header: what becomes of it, from whom and to whom the letter goes.
fn prepare(
    options: &Options,
    site: &Site,
    who: &Who,
    lists: &[Vec<u8>],
    fields: &[Vec<u8>],
    now: &Now,
) -> Result<Prepared, Fatal> {
    let rules = site.rules()?;
    let named = addresses(&rules, options)?;
    let forced = options.sender.as_ref();
    let forced =
        forced.map(|sender| argument(&rules, sender, || Fatal::unparsable(sender))).transpose()?;
    let mut compose = Compose::new(&rules, who.letters.drops);
    if !options.takes_header() {
        compose = compose.without_recipients();
    }
    for field in fields {
        compose.field(field).map_err(|why| Fatal::refused(why, field))?;
    }
    let from = who.person();
    let date = letter::date::rfc822(now.moment);
    let generated =
        Generated { date: date.as_bytes(), message_id: &site.message_id(now), from, lists };
    let whose = |Unparsable| Fatal::permanent(no_address(&from));
    let composed = compose.finish(&generated).map_err(whose)?;
    let sender = match (forced, &composed.return_path) {
        (Some(sender), _) => sender,
        (None, Some(path)) => who.return_path(path)?,
        (None, None) => who.sender(&rules, now)?,
    };
    let (recipients, header) = recipients(options, named, composed)?;
    Ok(Prepared { sender, recipients, header })
}

/// Everybody the letter goes to; nobody at all would lose it without a word.
fn recipients(
    options: &Options,
    named: Vec<u8>,
    composed: Composed,
) -> Result<(Vec<u8>, Vec<u8>), Fatal> {
    let mut recipients = named;
    if options.takes_header() {
        recipients.extend_from_slice(&composed.recipients);
        if let Some(field) = composed.unread.filter(|_| recipients.is_empty()) {
            return Err(Fatal::unparsable(&field));
        }
    }
    if recipients.is_empty() && !options.show {
        return Err(Fatal::permanent("no recipients: name them as arguments or in To, Cc or Bcc"));
    }
    Ok((recipients, composed.header))
}

/// The recipients named on the command line, as text0.
fn addresses(rules: &Rules, options: &Options) -> Result<Vec<u8>, Fatal> {
    let mut addresses = Vec::new();
    if options.strategy != Strategy::Header {
        for text in &options.recipients {
            let not = || Fatal::permanent([b"unable to parse address: ", &text[..]].concat());
            text0::put(&mut addresses, argument(rules, text, not)?.as_bytes());
        }
    }
    Ok(addresses)
}

/// An address named on the command line; `not` says that it is none.
fn argument(rules: &Rules, text: &[u8], not: impl Fn() -> Fatal) -> Result<Address, Fatal> {
    if text.len() > limits::ADDRESS {
        return Err(enqueue::too_long());
    }
    rules.argument(text).map_err(|Unparsable| not())
}

/// The environment makes no address of its own.
fn no_address(from: &Person<'_>) -> Vec<u8> {
    [b"unable to parse address: ", from.user, b"@", from.host].concat()
}

/// The letter as it comes in.
struct Input {
    buf: Vec<u8>,
    /// What of `buf` has been read and not used.
    unused: std::ops::Range<usize>,
}

impl Input {
    fn new() -> Self {
        Self { buf: vec![0; limits::CHUNK], unused: 0..0 }
    }

    /// Reads on if nothing is left; whether there is anything.
    fn fill(&mut self) -> Result<bool, Fatal> {
        if self.unused.is_empty() {
            let read = fd::read_stdin(&mut self.buf);
            self.unused = 0..read.map_err(|_| Fatal::temporary("read error"))?;
        }
        Ok(!self.unused.is_empty())
    }

    fn bytes(&self) -> &[u8] {
        self.buf.get(self.unused.clone()).unwrap_or_default()
    }

    /// Reads the header: its fields, and what stands between them and the rest of the body.
    fn header(&mut self) -> Result<(Vec<Vec<u8>>, Vec<u8>), Fatal> {
        let mut head = Head::new(limits::HEADER);
        while !head.is_over() && self.fill()? {
            let taken = head.feed(self.bytes()).map_err(|err| Fatal::permanent(err.to_string()))?;
            self.unused.start = self.unused.start.saturating_add(taken);
        }
        Ok(head.finish())
    }

    /// Copies the body, its beginning first, and ends its last line.
    fn body(&mut self, start: &[u8], outlet: &mut Outlet) -> Result<(), Fatal> {
        outlet.put(start)?;
        let mut last = start.last().copied();
        while self.fill()? {
            outlet.put(self.bytes())?;
            last = self.bytes().last().copied();
            self.unused = 0..0;
        }
        if last.is_some_and(|c| c != b'\n') { outlet.put(b"\n") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
