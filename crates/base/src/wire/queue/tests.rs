//! Every message there and back, and those that are none.

use alloc::vec::Vec;

use super::super::frame;
use super::*;
use crate::outcome::Outcome;
use crate::time::Moment;

fn there_and_back(request: Request<'_>) {
    let mut buf = Vec::new();
    request.encode(&mut buf);
    let (f, n) = frame::take(&buf, MAX_REQUEST).unwrap().unwrap();
    assert_eq!((Request::decode(f), n), (Ok(request), buf.len()));
}

#[test]
fn requests_survive_the_socket() {
    let note = |note| Request::Note { serial: 9, letter: 1, index: 2, note };
    for r in [
        Request::Begin(Origin::Local),
        Request::Begin(Origin::Network),
        Request::Begin(Origin::Bounce { finishes: 77 }),
        Request::Chunk(b"Subject: x\n"),
        Request::Envelope(Envelope::new(b"\0a@b\0c@d\0").unwrap()),
        Request::Follow,
        note(Note::Done),
        note(Note::Deferred(Moment::from_secs(5))),
        note(Note::Failed(b"<a@b>:\nno\n\n")),
        Request::Paragraphs(3),
        Request::Open(4),
        Request::Fetch(6),
        Request::Finish(5),
        Request::List,
        Request::Begin(Origin::Import {
            birth: Moment::from_secs(7),
            uid: 1,
            pid: 2,
            mark: Mark::imported(u64::MAX),
        }),
        Request::Held,
        Request::Hold { letter: 1, mark: Some(Mark::exported(0)) },
        Request::Hold { letter: 1, mark: None },
    ] {
        there_and_back(r);
    }
}

#[test]
fn answers_survive_the_socket() {
    let states = [Progress::Waiting, Progress::Deferred(Moment::from_secs(9)), Progress::Done];
    let block = progress_block(states.into_iter());
    let envelope = Envelope::new(b"s@x\0a@b\0c@d\0e@f\0").unwrap();
    let entry = Entry::new(8, Moment::from_secs(1), 99, 7, 6, true, envelope, &block).unwrap();
    assert!(entry.progress().eq(states));
    for a in [
        Answer::Accepted(1),
        Answer::Refused(Outcome::Later, b"qq out of memory (#4.3.0)"),
        Answer::Ack(2),
        Answer::Entry(entry),
        Answer::Paragraph(b"p"),
        Answer::End,
        Answer::Opened(4096),
        Answer::Fetched(b"Subject: x\n"),
        Answer::Held(Mark::imported(7)),
    ] {
        let mut buf = Vec::new();
        a.encode(&mut buf);
        let (f, _) = frame::take(&buf, MAX_ANSWER).unwrap().unwrap();
        assert_eq!(Answer::decode(f), Ok(a));
    }
}

#[test]
fn a_mark_is_no_letters_number_and_says_which_way_the_letter_goes() {
    let marks = [Mark::imported(u64::MAX), Mark::exported(0)];
    assert_eq!(marks.map(Mark::is_export), [false, true]);
    assert_eq!(marks.map(|mark| Mark::of(mark.word())), marks.map(Some));
    assert_eq!(Mark::of(u64::MAX >> 1), None);
}

#[test]
fn envelopes_are_checked() {
    assert!(Envelope::new(b"").is_err());
    assert!(Envelope::new(b"s@x").is_err());
    let long = [&[b'a'; limits::ADDRESS + 1][..], b"\0"].concat();
    assert!(Envelope::new(&long).is_err());
    assert_eq!(Envelope::new(b"\0").unwrap().recipients().count(), 0);
}
