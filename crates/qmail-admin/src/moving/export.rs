//! Going back: every letter is held here, then written as stock qmail would have it.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use base::event::Channel;
use base::time::Moment;
use base::wire::queue::{Entry, Mark, Progress};
use store::client::QueueClient;
use store::control::Control;
use store::home::Home;
use store::stock::{Entered, Part};
use store::users::{Route, Routing, resolve};

use super::target::Target;
use super::{Which, all, connect, lock, lost, name};
use crate::Trouble;
use crate::print::say;
use crate::progress::Ticker;

pub(super) fn export(home: &Home, dir: &Path) -> Result<(), Trouble> {
    let dir = std::path::absolute(dir).map_err(|e| e.to_string())?;
    let own = home.path("queue");
    if std::fs::canonicalize(&dir)
        .is_ok_and(|to| std::fs::canonicalize(&own).is_ok_and(|own| own == to))
    {
        let dir = dir.display();
        return Err(format!(
            "{dir}: is this home's own queue: name a new directory, and move it there"
        ));
    }
    let _stopped = lock(&own, &format!("{} stop", home.path("bin/qmailctl").display()))?;
    let routing = Routing::load(&Control::new(home)).map_err(|e| e.to_string())?;
    let mark = mark(&dir);
    let mut client = connect(home)?;
    let elsewhere = all_elsewhere(&mut client, mark)?;
    if elsewhere > 0 {
        return Err(format!(
            "{elsewhere} letters were exported to another directory before: qmailctl queue forget \
             exported if they are delivered there, or release exported if they never will be"
        ));
    }
    let target = Target::prepare(&dir, home)?;
    hold(&mut client, mark)?;
    let written = write(home, &mut client, &target, &routing, mark)?;
    target.finish()?;
    say!("{written} letters exported to {}, and held here", dir.display());
    say!("when that queue has been started: qmailctl queue forget exported");
    Ok(())
}

/// What letters on their way to this directory are held by.
fn mark(dir: &Path) -> Mark {
    let words: Vec<u64> = dir.as_os_str().as_bytes().iter().map(|&byte| byte.into()).collect();
    Mark::exported(name(&words))
}

fn all_elsewhere(client: &mut QueueClient, ours: Mark) -> Result<usize, Trouble> {
    let held = super::all_held(client, Which::Exported)?;
    Ok(held.iter().filter(|(_, mark)| *mark != ours).count())
}

/// Holds every letter that is not held: from here on nobody delivers it here.
fn hold(client: &mut QueueClient, mark: Mark) -> Result<(), Trouble> {
    let mut ids = Vec::new();
    client.list(|entry| ids.push(entry.id)).map_err(|e| lost(&e))?;
    let mut held = 0_usize;
    let progress = Ticker::of("holding letters", Some(ids.len()));
    let outcome = client.hold_all(&ids, Some(mark), |done| {
        progress.step();
        held = held.saturating_add(done.into());
    });
    outcome.map_err(|e| lost(&e))?;
    all(held, ids.len())
}

/// Writes every letter that is held for this.
fn write(
    home: &Home,
    client: &mut QueueClient,
    target: &Target,
    routing: &Routing,
    ours: Mark,
) -> Result<usize, Trouble> {
    let mut other = connect(home)?;
    let (mut written, mut outcome) = (0_usize, Ok(()));
    let progress = Ticker::of("writing letters", None);
    let list = client.held(|mark, entry| {
        if mark == ours && outcome.is_ok() {
            outcome = one(&mut other, target, routing, entry);
            progress.step();
            written = written.saturating_add(1);
        }
    });
    list.map_err(|e| lost(&e))?;
    outcome.map(|()| written)
}

fn one(
    client: &mut QueueClient,
    target: &Target,
    routing: &Routing,
    entry: &Entry<'_>,
) -> Result<(), Trouble> {
    let about = |e: std::io::Error| format!("letter {}: {}", entry.id, sys::errno::text(&e));
    let (letter, size) = client.open(entry.id).map_err(about)?;
    let bounce = bounce(routing, entry, client.paragraphs(entry.id).map_err(about)?);
    let number = target.mess(letter, size, entry.birth)?;
    for (channel, part) in [(Channel::Local, Part::Local), (Channel::Remote, Part::Remote)] {
        if let Some((records, due)) = records(routing, entry, channel) {
            target.record(part, number, &records, Some(due))?;
        }
    }
    if !bounce.is_empty() {
        target.record(Part::Bounce, number, &bounce, None)?;
    }
    let mut info = vec![b'F'];
    base::text0::put(&mut info, entry.envelope.sender());
    // Last of all: with this the letter is there.
    target.record(Part::Info, number, &info, Some(entry.birth))
}

/// What is to be told, in the order in which the recipients will stand there.
fn bounce(routing: &Routing, entry: &Entry<'_>, paragraphs: Vec<Vec<u8>>) -> Vec<u8> {
    let recipients = entry.envelope.recipients().zip(entry.progress());
    let failed = recipients.filter(|(_, progress)| *progress == Progress::Failed);
    let remote = failed.map(|(to, _)| matches!(resolve(routing, to), Route::Remote(_)));
    // Whatever is told of nobody comes last.
    let ways = remote.chain(std::iter::repeat(true));
    let mut ordered: Vec<(bool, Vec<u8>)> = ways.zip(paragraphs).collect();
    ordered.sort_by_key(|(remote, _)| *remote);
    ordered.into_iter().flat_map(|(_, paragraph)| paragraph).collect()
}

/// The recipients on one way as qmail-send has them, and when the first of them is due.
fn records(routing: &Routing, entry: &Entry<'_>, channel: Channel) -> Option<(Vec<u8>, Moment)> {
    let recipients = entry.envelope.recipients().zip(entry.progress());
    let (mut records, mut open) = (Vec::new(), Vec::new());
    for (recipient, progress) in recipients {
        let (way, address) = match resolve(routing, recipient) {
            Route::Local(address) => (Channel::Local, address),
            Route::Remote(address) => (Channel::Remote, address),
        };
        if way != channel {
            continue;
        }
        let done = matches!(progress, Progress::Done | Progress::Failed);
        records.push(if done { b'D' } else { b'T' });
        base::text0::put(&mut records, &address);
        open.push(progress);
    }
    let due = Entered::due(open.into_iter(), entry.birth).unwrap_or(entry.birth);
    (!records.is_empty()).then_some((records, due))
}

#[cfg(test)]
mod tests {
    use base::wire::queue::{Envelope, progress_block};
    use store::control::Set;

    use super::*;

    #[test]
    fn a_channels_file_is_due_with_the_first_of_those_who_wait() {
        let locals = Set::from_lines([&b"here"[..]]);
        let routing = Routing { locals, ..Routing::default() };
        let at = Moment::from_secs;
        let progress = [
            Progress::Deferred(at(900)),
            Progress::Deferred(at(500)),
            Progress::Failed,
            Progress::Waiting,
        ];
        let block = progress_block(progress.into_iter());
        let envelope = Envelope::new(b"s\0a@far\0b@far\0c@far\0d@here\0").unwrap();
        let entry = Entry::new(1, at(100), 5, 0, 0, true, envelope, &block).unwrap();
        let records = |channel| records(&routing, &entry, channel).unwrap();
        assert_eq!(records(Channel::Remote), (b"Ta@far\0Tb@far\0Dc@far\0".to_vec(), at(500)));
        assert_eq!(records(Channel::Local), (b"Td@here\0".to_vec(), at(100)));
    }

    #[test]
    fn what_is_told_stands_in_the_order_of_the_recipients_there() {
        let locals = Set::from_lines([&b"here"[..]]);
        let routing = Routing { locals, ..Routing::default() };
        let progress = [Progress::Failed, Progress::Done, Progress::Failed];
        let block = progress_block(progress.into_iter());
        let envelope = Envelope::new(b"s\0a@far\0b@here\0c@here\0").unwrap();
        let entry = Entry::new(1, Moment::default(), 5, 0, 0, true, envelope, &block).unwrap();
        assert_eq!(bounce(&routing, &entry, vec![b"A".to_vec(), b"C".to_vec()]), b"CA");
    }
}
