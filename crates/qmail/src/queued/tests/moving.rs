//! Letters of another queue, and held ones, as an import and a follower see them.

use base::wire::queue::Mark;

use super::*;

const MARK: Mark = Mark::imported(9);

fn import(client: &mut QueueClient, bytes: &[u8]) -> u64 {
    let birth = Moment::from_secs(7);
    client.begin(Origin::Import { birth, uid: 1, pid: 2, mark: MARK }).unwrap();
    client.chunk(bytes).unwrap();
    let note = |index, note| Request::Note { serial: 0, letter: 0, index, note };
    client.ask(&note(0, Note::Deferred(Moment::from_secs(99)))).unwrap();
    client.ask(&note(1, Note::Failed(b"<c@d>:\nno\n\n"))).unwrap();
    client.commit(&Envelope::new(b"s@x\0a@b\0c@d\0").unwrap()).unwrap()
}

fn released(client: &mut QueueClient, id: u64) {
    let mut done = Vec::new();
    client.hold_all(&[id], None, |ok| done.push(ok)).unwrap();
    assert_eq!(done, [true]);
}

#[test]
fn a_letter_from_another_queue_brings_its_past_and_waits_to_be_let_go() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    for size in [10, 400_000] {
        let bytes = vec![b'x'; size];
        let id = import(&mut client, &bytes);
        assert_eq!(read_back(&mut client, id), bytes, "no line is put on top");
        let mut seen = Vec::new();
        client.list(|entry| seen.push(entry.id)).unwrap();
        assert_eq!(seen, [0; 0], "a held letter is listed");
        let list = client.held(|mark, entry| {
            assert_eq!(mark, MARK);
            seen.push(entry.id);
        });
        list.unwrap();
        assert_eq!(seen, [id]);
        released(&mut client, id);
        let mut past = Vec::new();
        let told = |e: &base::wire::queue::Entry<'_>| (e.id, e.birth, e.uid, e.pid);
        client
            .list(|entry| past.push((told(entry), entry.progress().collect::<Vec<_>>())))
            .unwrap();
        let progress = vec![Progress::Deferred(Moment::from_secs(99)), Progress::Failed];
        assert_eq!(past, [((id, Moment::from_secs(7), 1, 2), progress)]);
        assert_eq!(client.paragraphs(id).unwrap(), [b"<c@d>:\nno\n\n"]);
        client.finish(id).unwrap();
    }
}

#[test]
fn a_letter_that_an_import_hands_in_again_is_one_while_it_is_held() {
    let queued = Running::start();
    queued.serve();
    // The first import is killed, and the second has asked what is here too early to know of it.
    let id = import(&mut queued.client(), b"hello");
    let mut client = queued.client();
    assert_eq!(import(&mut client, b"hello"), id);
    assert_eq!(import(&mut client, &vec![b'x'; 400_000]), id, "its file is dropped");
    let mut seen = Vec::new();
    client.held(|_, entry| seen.push(entry.id)).unwrap();
    assert_eq!(seen, [id]);
    assert_eq!(read_back(&mut client, id), b"hello");
    released(&mut client, id);
    assert!(import(&mut client, b"hello") > id, "what was let go is for the import to know");
}

#[test]
fn a_follower_hears_of_a_letter_once_when_it_is_let_go() {
    let queued = Running::start();
    queued.serve();
    let (mut client, mut follower) = (queued.client(), queued.client());
    follower.ask(&Request::Follow).unwrap();
    assert_eq!(follower.next(PATIENCE).unwrap(), Some(Answer::End));
    let held = import(&mut client, b"held");
    let after = hand_in(&mut client, Origin::Local, b"after");
    let hear = |follower: &mut QueueClient| match follower.next(PATIENCE).unwrap() {
        Some(Answer::Entry(entry)) => entry.id,
        other => panic!("{other:?}"),
    };
    assert_eq!(hear(&mut follower), after, "it is led past the held one");
    released(&mut client, held);
    assert_eq!(hear(&mut follower), held);
    released(&mut client, held);
    let last = hand_in(&mut client, Origin::Local, b"last");
    assert_eq!(hear(&mut follower), last, "and hears of it only once");
}

#[test]
fn nothing_is_held_that_somebody_may_be_delivering() {
    let queued = Running::start();
    queued.serve();
    let (mut client, mut follower) = (queued.client(), queued.client());
    let id = hand_in(&mut client, Origin::Local, b"x");
    follower.ask(&Request::Follow).unwrap();
    assert!(matches!(follower.next(PATIENCE).unwrap(), Some(Answer::Entry(_))));
    let mut done = Vec::new();
    client.hold_all(&[id, id + 99], Some(Mark::exported(1)), |ok| done.push(ok)).unwrap();
    assert_eq!(done, [false, false]);
    drop(follower);
    while !done.iter().any(|ok| *ok) {
        client.hold_all(&[id, id + 99], Some(Mark::exported(1)), |ok| done.push(ok)).unwrap();
    }
    assert_eq!(done.last(), Some(&false), "a letter that is not there cannot be held");
}

#[test]
fn what_is_said_of_no_imported_letter_is_nonsense() {
    let queued = Running::start();
    queued.serve();
    for begun in [false, true] {
        let mut client = queued.client();
        if begun {
            client.begin(Origin::Local).unwrap();
        }
        let note = Request::Note { serial: 0, letter: 0, index: 0, note: Note::Done };
        client.ask(&note).unwrap();
        assert!(client.next(PATIENCE).is_err(), "the connection is closed");
    }
}
