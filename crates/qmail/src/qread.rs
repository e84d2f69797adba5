//! list the letters in the queue
//!
//! *Runs as* root, qmails or the home's owner. *Hears* nobody. *Opens* the control files that tell
//! local addresses from remote ones. *Speaks to* queued, and to whoever asked, on descriptor 1.

use std::ffi::OsString;
use std::io;

use base::json::{self, Object};
use base::plain;
use base::wire::queue::{Entry, Progress};
use store::client::QueueClient;
use store::control::Control;
use store::home::Home;
use store::users::{Route, Routing, resolve};

/// `qmail-qread`: exit 0, or 111 with a `fatal:` line (on descriptor 1, as stock). `--json`: an array of
/// the letters, one a line, and trouble on descriptor 2.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let json = match crate::flag::one(args, &["--json"]) {
        Ok(flag) => flag.is_some(),
        Err(code) => return code,
    };
    if json {
        return match array() {
            Ok(()) => 0,
            Err(why) => {
                let _ = sys::fd::write_all(sys::fd::stderr(), format!("fatal: {why}\n").as_bytes());
                111
            }
        };
    }
    let outcome = Home::find().map_err(|e| e.to_string()).and_then(|home| {
        let routing = Routing::load(&Control::new(&home)).map_err(|e| e.to_string())?;
        let mut page = Page::default();
        each(&home, |entry| page.put(&listing(&routing, entry)))?;
        page.show().map_err(|e| unable_to_write(&e))
    });
    conclude(outcome)
}

/// The letters as JSON. What was begun is ended, also where the list ends early.
fn array() -> Result<(), String> {
    let home = Home::find().map_err(|e| e.to_string())?;
    let routing = Routing::load(&Control::new(&home)).map_err(|e| e.to_string())?;
    let mut page = Page::default();
    page.text.push(b'[');
    let listed = each(&home, |entry| {
        let comma = if page.began { ",\n" } else { "\n" };
        page.put(format!("{comma}{}", object(&routing, entry)).as_bytes())
    });
    let ended = page.put(b"\n]\n").and_then(|()| page.show());
    listed.and(ended.map_err(|e| unable_to_write(&e)))
}

/// One letter; times are seconds since 1970.
fn object(routing: &Routing, entry: &Entry<'_>) -> String {
    let recipients = entry.envelope.recipients().zip(entry.progress());
    let recipients = recipients.map(|(to, progress)| {
        let (channel, address) = match resolve(routing, to) {
            Route::Local(address) => ("local", address),
            Route::Remote(address) => ("remote", address),
        };
        let to = Object::new().text("address", address).text("channel", channel);
        match progress {
            Progress::Waiting => to.text("state", "waiting").end(),
            Progress::Deferred(due) => to.text("state", "deferred").number("due", due.secs()).end(),
            Progress::Done => to.text("state", "done").end(),
            Progress::Failed => to.text("state", "failed").end(),
        }
    });
    let recipients = json::array(recipients);
    let letter = Object::new().number("id", entry.id).number("birth", entry.birth.secs());
    let letter = letter.number("size", entry.size).text("sender", entry.envelope.sender());
    letter.json("recipients", &recipients).end()
}

/// `qmail-qstat`: how many letters there are. queued takes a letter and its recipients in one
/// piece, so none is ever waiting to be preprocessed but those that are held for
/// `qmailctl queue import` or `export`.
pub(crate) fn qstat(args: &[OsString]) -> i32 {
    let json = match crate::flag::one(args, &["--json"]) {
        Ok(flag) => flag.is_some(),
        Err(code) => return code,
    };
    let (mut letters, mut held) = (0_u64, 0_u64);
    let outcome = Home::find().map_err(|e| e.to_string()).and_then(|home| {
        let mut client = connect(&home)?;
        let list = client.list(|_| letters = letters.saturating_add(1));
        let list = list.and_then(|()| client.held(|_, _| held = held.saturating_add(1)));
        list.map_err(|e| unable(&home, "read the list from", &e))
    });
    let outcome = outcome.and_then(|()| {
        let all = letters.saturating_add(held);
        let object = Object::new().number("messages", all).number("not_preprocessed", held);
        let text = match json {
            true => object.end() + "\n",
            false => format!(
                "messages in queue: {all}\nmessages in queue but not yet preprocessed: {held}\n"
            ),
        };
        show(text.as_bytes()).map_err(|e| unable_to_write(&e))
    });
    conclude(outcome)
}

fn connect(home: &Home) -> Result<QueueClient, String> {
    QueueClient::connect(home).map_err(|e| unable(home, "connect to", &e))
}

fn unable(home: &Home, what: &str, error: &io::Error) -> String {
    let socket = home.path("queue/queued");
    if error.kind() == io::ErrorKind::PermissionDenied {
        let may = "only root, qmails and the home's owner may see the queue";
        return format!("unable to {what} {}: not allowed: {may}", socket.display());
    }
    format!("unable to {what} {}: {}", socket.display(), sys::errno::text(error))
}

fn each(home: &Home, mut act: impl FnMut(&Entry<'_>) -> io::Result<()>) -> Result<(), String> {
    let mut client = connect(home)?;
    let mut shown = Ok(());
    let list = client.list(|entry| {
        if shown.is_ok() {
            shown = act(entry);
        }
    });
    list.map_err(|e| unable(home, "read the list from", &e))?;
    shown.map_err(|e| unable_to_write(&e))
}

fn unable_to_write(error: &io::Error) -> String {
    format!("unable to write: {}", sys::errno::text(error))
}

/// Text is written by the page; the first letter at once, however many follow.
#[derive(Default)]
struct Page {
    text: Vec<u8>,
    began: bool,
}

/// Bytes of a page.
const PAGE: usize = 32 << 10;

impl Page {
    fn put(&mut self, text: &[u8]) -> io::Result<()> {
        self.text.extend_from_slice(text);
        let first = !std::mem::replace(&mut self.began, true);
        if first || self.text.len() >= PAGE { self.show() } else { Ok(()) }
    }

    fn show(&mut self) -> io::Result<()> {
        let outcome = show(&self.text);
        self.text.clear();
        outcome
    }
}

fn show(text: &[u8]) -> io::Result<()> {
    sys::fd::write_all(io::stdout(), text)
}

fn conclude(outcome: Result<(), String>) -> i32 {
    let Err(text) = outcome else { return 0 };
    // If this cannot be written either, the exit code says it.
    let _ = show(format!("fatal: {text}\n").as_bytes());
    111
}

/// One letter as qmail-qread(8) shows it.
fn listing(routing: &Routing, entry: &Entry<'_>) -> Vec<u8> {
    let date = letter::date::rfc822(entry.birth);
    let date = date.strip_suffix(" -0000").unwrap_or(&date);
    let mut out = format!("{date} GMT  #{}  {}  <", entry.id, entry.size).into_bytes();
    put_visible(&mut out, entry.envelope.sender());
    out.extend_from_slice(b"> ");
    if entry.progress().any(|progress| progress == Progress::Failed) {
        out.extend_from_slice(b" bouncing");
    }
    out.push(b'\n');
    let recipients = entry.envelope.recipients().zip(entry.progress());
    let routed: Vec<_> = recipients.map(|(to, how)| (resolve(routing, to), how)).collect();
    for local in [true, false] {
        let one_way = || routed.iter().filter(move |(route, _)| is_local(route) == local);
        // As stock, whose list of one way goes with the last on it.
        if !one_way().all(|(_, progress)| is_settled(*progress)) {
            one_way().for_each(|(route, progress)| put_recipient(&mut out, route, *progress));
        }
    }
    out
}

fn is_local(route: &Route) -> bool {
    matches!(route, Route::Local(_))
}

fn is_settled(progress: Progress) -> bool {
    matches!(progress, Progress::Done | Progress::Failed)
}

fn put_recipient(out: &mut Vec<u8>, route: &Route, progress: Progress) {
    if is_settled(progress) {
        out.extend_from_slice(b"  done");
    }
    let (channel, address) = match route {
        Route::Local(address) => (&b"\tlocal\t"[..], address),
        Route::Remote(address) => (&b"\tremote\t"[..], address),
    };
    out.extend_from_slice(channel);
    put_visible(out, address);
    out.push(b'\n');
}

/// What a terminal would not show as itself becomes `_`.
fn put_visible(out: &mut Vec<u8>, text: &[u8]) {
    plain::put(out, text, b'_');
}

#[cfg(test)]
mod tests {
    use base::time::Moment;
    use base::wire::queue::{Envelope, progress_block};
    use store::control::Set;

    use super::*;

    #[test]
    fn a_letter_is_an_object_whatever_its_addresses_hold() {
        let envelope = Envelope::new(b"s\"@x\0r\xff@far.example\0t@here\0").unwrap();
        let block =
            progress_block([Progress::Deferred(Moment::from_secs(9)), Progress::Done].into_iter());
        let entry = Entry::new(7, Moment::from_secs(5), 249, 1, 2, true, envelope, &block).unwrap();
        assert_eq!(
            object(&Routing::default(), &entry),
            "{\"id\":7,\"birth\":5,\"size\":249,\"sender\":\"s\\\"@x\",\"recipients\":[\
             {\"address\":\"r\u{fffd}@far.example\",\"channel\":\"remote\",\"state\":\"deferred\",\"due\":9},\
             {\"address\":\"t@here\",\"channel\":\"remote\",\"state\":\"done\"}]}"
        );
    }

    #[test]
    fn a_letter_is_shown_local_recipients_first_and_done_ones_marked() {
        let locals = Set::from_lines([&b"mx.example.org"[..]]);
        let routing = Routing { locals, ..Routing::default() };
        let envelope = Envelope::new(
            b"s @x.org\0r@far.example\0tuser-soft@mx.example.org\0t@mx.example.org\0",
        );
        let progress = [Progress::Waiting, Progress::Deferred(Moment::default()), Progress::Done];
        let block = progress_block(progress.into_iter());
        let birth = Moment::from_secs(1_795_355_198);
        let entry = Entry::new(7, birth, 249, 1, 2, true, envelope.unwrap(), &block).unwrap();
        assert_eq!(
            String::from_utf8(listing(&routing, &entry)).unwrap(),
            "22 Nov 2026 13:46:38 GMT  #7  249  <s @x.org> \n\
             \tlocal\ttuser-soft@mx.example.org\n\
             \x20 done\tlocal\tt@mx.example.org\n\
             \tremote\tr@far.example\n"
        );
    }
}
