use base::event::Channel;
use base::time::Moment;
use base::wire::queue::Progress;

use super::*;
use crate::control::{Map, Set};
use crate::users::Routing;
use yard::Yard;

fn routing() -> Routing {
    let virtuals: [&[u8]; 3] = [b"v.org:a", b"one@w.org:u", b".sub.org:s"];
    Routing {
        locals: Set::from_lines([&b"here.org"[..]]),
        virtualdomains: Map::from_lines(virtuals),
        ..Routing::default()
    }
}

fn found(recipients: &[(&[u8], Channel, bool)], bounce: &[u8]) -> Found {
    let recipients = recipients.iter().map(|&(address, channel, done)| Recipient {
        address: address.to_vec(),
        channel: Some(channel),
        done,
    });
    let due = |secs| Some(Moment::from_secs(secs));
    Found {
        birth: Moment::from_secs(1000),
        queued_by: (None, None),
        sender: b"s@x".to_vec(),
        recipients: recipients.collect(),
        times: Times { local: due(1005), remote: due(1400) },
        bounce: bounce.to_vec(),
        kind: Kind { written: (0, 0), size: 0 },
    }
}

#[test]
fn a_rewritten_address_gets_back_what_it_was() {
    let original = |channel, address: &[u8]| original(&routing(), channel, address);
    let same = |channel, address: &[u8], was: &[u8]| {
        assert_eq!(original(channel, address).as_deref(), Some(was));
    };
    same(Channel::Local, b"a-x@here.org", b"a-x@here.org");
    same(Channel::Local, b"a-joe-list@v.org", b"joe-list@v.org");
    same(Channel::Local, b"a-a-a@v.org", b"a-a@v.org");
    same(Channel::Local, b"u-one@w.org", b"one@w.org");
    same(Channel::Remote, b"two@w.org", b"two@w.org");
    assert_eq!(original(Channel::Local, b"joe@gone.org"), None);
    assert_eq!(original(Channel::Remote, b"joe@here.org"), None);
}

#[test]
fn records_are_read_and_damage_is_named() {
    let (sender, to, by) = envelope(b"u7\0p8\0Fs@x\0Ta\0Tb\0").unwrap();
    assert_eq!(
        (sender, to, by),
        (b"s@x".to_vec(), vec![b"a".to_vec(), b"b".to_vec()], (Some(7), Some(8)))
    );
    assert!(
        envelope(b"Fs\0Ta").is_err() && envelope(b"Ta\0").is_err() && envelope(b"F\0x\0").is_err()
    );
    assert_eq!(channel(b"Ta\0Db\0").unwrap(), [(b"a".to_vec(), false), (b"b".to_vec(), true)]);
    assert!(channel(b"Ta").is_err() && channel(b"\0").is_err());
}

#[test]
fn a_bounce_is_cut_into_its_paragraphs() {
    let all = b"<a@b>:\nno\n\n<c>d>:\n\nstray\n\n<e@f>:\n1\n2\n";
    let cut = paragraphs(all).unwrap();
    let texts: Vec<_> = cut.iter().map(|p| (p.address, p.text)).collect();
    assert_eq!(
        texts,
        [
            (&b"a@b"[..], &b"<a@b>:\nno\n\n"[..]),
            (b"c>d", b"<c>d>:\n\nstray\n\n"),
            (b"e@f", b"<e@f>:\n1\n2\n"),
        ]
    );
    assert!(paragraphs(b"hello\n\n").is_err());
}

#[test]
fn each_recipient_is_as_far_as_it_was() {
    let letter = found(
        &[
            (b"a-x@v.org", Channel::Local, false),
            (b"a-y@v.org", Channel::Local, true),
            (b"r@far", Channel::Remote, false),
            (b"f@far", Channel::Remote, true),
            (b"g@far", Channel::Remote, false),
        ],
        b"<f@far>:\nno\n\n<gone@away>:\nno\n\n<y@v.org>:\nno\n\n<g@far>:\nno\n\n",
    );
    let entered = letter.enter(&routing(), false).unwrap();
    let due = Progress::Deferred(Moment::from_secs(1400));
    let want: [(&[u8], Progress); 6] = [
        (b"x@v.org", Progress::Waiting),
        (b"y@v.org", Progress::Failed),
        (b"r@far", due),
        (b"f@far", Progress::Failed),
        (b"g@far", Progress::Failed),
        (b"gone@away", Progress::Failed),
    ];
    let got: Vec<_> = entered.recipients.iter().map(|(a, p)| (&a[..], *p)).collect();
    assert_eq!(got, want);
    let told: Vec<_> = entered.paragraphs.iter().map(|(index, _)| *index).collect();
    assert_eq!(told, [1, 3, 4, 5]);
}

#[test]
fn a_recipient_that_would_go_astray_keeps_its_letter_where_it_is_unless_told_otherwise() {
    let letter = found(&[(b"joe@gone.org", Channel::Local, false)], b"");
    let (part, why) = letter.enter(&routing(), false).unwrap_err();
    assert_eq!(part, Part::Local);
    assert!(why.contains("joe@gone.org") && why.contains("--reroute"), "{why}");
    assert_eq!(letter.enter(&routing(), true).unwrap().recipients.len(), 1);
    let done = found(&[(b"joe@gone.org", Channel::Local, true)], b"");
    assert!(done.enter(&routing(), false).is_ok());
}

/// A queue with a letter, and a secret beside it.
fn queue(name: &str) -> Yard {
    let dir = Yard::new(&format!("stock-{name}"));
    for part in ["mess/0", "info/0", "local/0", "remote/0", "todo"] {
        std::fs::create_dir_all(dir.join(part)).unwrap();
    }
    std::fs::write(dir.join("mess/0/23"), "hello\n").unwrap();
    std::fs::write(dir.join("info/0/23"), "Fs@x\0").unwrap();
    std::fs::write(dir.join("secret"), "secret\n").unwrap();
    dir
}

#[test]
fn a_letter_that_is_a_link_or_behind_one_is_not_read() {
    let dir = queue("links");
    assert!(Stock::open(&dir).unwrap().content(23).is_ok());
    std::fs::remove_file(dir.join("mess/0/23")).unwrap();
    std::os::unix::fs::symlink(dir.join("secret"), dir.join("mess/0/23")).unwrap();
    let stock = Stock::open(&dir).unwrap();
    assert!(stock.content(23).unwrap_err().0.ends_with("mess/0/23: is no plain file"));
    // Root's own links are followed, nobody else's.
    let there = |path: &str| std::os::unix::fs::lchown(dir.join(path), Some(48_001), None);
    let root = there("mess").is_ok();
    std::fs::rename(dir.join("info"), dir.join("other")).unwrap();
    std::os::unix::fs::symlink("other", dir.join("info")).unwrap();
    if root {
        assert!(Stock::open(&dir).is_ok());
        there("info").unwrap();
    }
    assert!(Stock::open(&dir).is_err());
}

#[test]
fn a_file_of_somebody_else_than_its_directorys_owner_is_not_read() {
    let dir = queue("owner");
    if std::os::unix::fs::chown(dir.join("mess/0"), Some(48_001), None).is_ok() {
        // As a second name of a file of root's.
        let why = Stock::open(&dir).unwrap().content(23).unwrap_err().0;
        assert!(why.ends_with("mess/0/23: does not belong to whom its directory does"), "{why}");
        std::os::unix::fs::chown(dir.join("mess/0/23"), Some(48_001), None).unwrap();
        assert!(Stock::open(&dir).unwrap().content(23).is_ok());
    }
}
