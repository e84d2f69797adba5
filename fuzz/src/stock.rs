//! Records of a stock qmail's queue, as an import meets them.

use base::event::Channel;
use base::time::Moment;
use base::wire::queue::Progress;
use store::control::{Map, Set};
use store::stock::{Found, Kind, Recipient, Times, channel, envelope, original, paragraphs};
use store::users::{Route, Routing, resolve};

/// The first line of `text` is what stands in `local`, the rest in `bounce`; `asked` is a line of
/// `virtualdomains`.
pub(crate) fn letter(text: &[u8], asked: &[u8]) {
    let mut parts = text.splitn(2, |&c| c == b'\n');
    let records = parts.next().unwrap_or_default();
    let bounce = parts.next().unwrap_or_default();
    let routing = Routing {
        locals: Set::from_lines([&b"here"[..]]),
        virtualdomains: Map::from_lines([asked]),
        ..Routing::default()
    };
    if let Ok(cut) = paragraphs(bounce) {
        let whole: Vec<u8> = cut.iter().flat_map(|p| p.text.iter().copied()).collect();
        assert_eq!(whole, bounce, "a paragraph is lost");
    }
    if let Ok((_, recipients, _)) = envelope(records) {
        assert!(recipients.iter().all(|to| !to.contains(&0)));
    }
    let Ok(found) = channel(records) else { return };
    let said: Vec<u8> = found
        .iter()
        .flat_map(|(to, done)| [if *done { &b"D"[..] } else { b"T" }, to, b"\0"].concat())
        .collect();
    assert_eq!(said, records, "a recipient is lost");
    for (to, _) in &found {
        if let Some(was) = original(&routing, Channel::Local, to) {
            assert_eq!(resolve(&routing, &was), Route::Local(to.clone()));
        }
    }
    enter(&routing, &found, bounce);
}

fn enter(routing: &Routing, found: &[(Vec<u8>, bool)], bounce: &[u8]) {
    let recipients: Vec<Recipient> = found
        .iter()
        .map(|(address, done)| Recipient {
            address: address.clone(),
            channel: Some(Channel::Local),
            done: *done,
        })
        .collect();
    let letter = Found {
        birth: Moment::from_secs(5),
        queued_by: (None, None),
        sender: Vec::new(),
        recipients,
        times: Times::default(),
        bounce: bounce.to_vec(),
        kind: Kind { written: (0, 0), size: 0 },
    };
    let Ok(entered) = letter.enter(routing, true) else { return };
    assert!(entered.recipients.len() >= found.len());
    let failed = entered.recipients.iter().filter(|(_, how)| *how == Progress::Failed).count();
    assert_eq!(failed, entered.paragraphs.len(), "each failure has its paragraph, once");
    for (index, text) in &entered.paragraphs {
        let (_, how) = &entered.recipients[*index as usize];
        assert!(*how == Progress::Failed && text.starts_with(b"<") && text.ends_with(b"\n\n"));
    }
    for ((_, done), (_, how)) in found.iter().zip(&entered.recipients) {
        assert!(!done || *how != Progress::Waiting, "a recipient that is done is tried again");
    }
}
