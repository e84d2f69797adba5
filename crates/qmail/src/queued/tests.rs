//! queued on a real socket and a real disk, spoken to by its own clients.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::thread::JoinHandle;
use std::time::Duration;

use base::limits;
use base::outcome::Outcome;
use base::time::Moment;
use base::wire::queue::{Answer, Envelope, Note, Origin, Progress, Request};
use store::client::QueueClient;
use store::home::{Home, Roles};
use sys::poll::Event;
use yard::Yard;

use super::*;

mod moving;

const PATIENCE: Duration = Duration::from_secs(60);

/// A queued in a thread of its own, in a directory that goes when it goes. Signals of a test's
/// process cannot be used, so it is never stopped; each has its own directory.
struct Running {
    dir: Yard,
}

impl Running {
    fn start() -> Self {
        let dir = Yard::new("queued");
        std::fs::create_dir_all(dir.join("queue")).unwrap();
        Self { dir }
    }

    fn serve(&self) -> JoinHandle<()> {
        let home = Home::at(&self.dir).unwrap();
        let dir = home.path("queue");
        let rules = Rules::new(&home, &Roles::all(&home.owner_ids()));
        let queue = open(&dir, false).ok().unwrap();
        let listener = sys::pass::listen(&dir.join("queued"), Kind::Stream, 0o666, 16).unwrap();
        let signals = Signals::catch(&[]).unwrap();
        std::thread::spawn(move || {
            let _ = serve(&dir, queue, rules, listener, signals);
        })
    }

    fn client(&self) -> QueueClient {
        QueueClient::connect_at(&self.dir.join("queue/queued")).unwrap()
    }
}

fn hand_in(client: &mut QueueClient, origin: Origin, bytes: &[u8]) -> u64 {
    client.begin(origin).unwrap();
    client.chunk(bytes).unwrap();
    client.commit(&Envelope::new(b"s@x\0a@b\0c@d\0").unwrap()).unwrap()
}

fn read_back(client: &mut QueueClient, id: u64) -> Vec<u8> {
    let (fd, size) = client.open(id).unwrap();
    let mut bytes = Vec::new();
    std::fs::File::from(fd).read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len() as u64, size);
    bytes
}

#[test]
fn a_letter_comes_back_with_one_line_on_top() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    for size in [0, 10, 300_000, 5_000_000] {
        let sent = vec![b'x'; size];
        let id = hand_in(&mut client, Origin::Network, &sent);
        let bytes = read_back(&mut client, id);
        let end = bytes.iter().position(|&b| b == b'\n').unwrap() + 1;
        let top = String::from_utf8(bytes[..end].to_vec()).unwrap();
        let expected = format!("Received: (qmail {} invoked from network); ", std::process::id());
        assert!(top.starts_with(&expected) && top.ends_with(" -0000\n"), "{top}");
        assert_eq!(&bytes[end..], &sent[..]);
    }
}

#[test]
fn a_follower_hears_old_letters_then_an_end_then_new_ones() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    let old = hand_in(&mut client, Origin::Local, b"old");
    let mut follower = queued.client();
    follower.ask(&Request::Follow).unwrap();
    match follower.next(PATIENCE).unwrap() {
        Some(Answer::Entry(entry)) => {
            assert!(entry.id == old && entry.old);
            assert_eq!(entry.envelope.as_bytes(), b"s@x\0a@b\0c@d\0");
            assert!(entry.progress().eq([Progress::Waiting, Progress::Waiting]));
        }
        other => panic!("{other:?}"),
    }
    assert_eq!(follower.next(PATIENCE).unwrap(), Some(Answer::End));
    let new = hand_in(&mut client, Origin::Local, b"new");
    match follower.next(PATIENCE).unwrap() {
        Some(Answer::Entry(entry)) => assert!(entry.id == new && !entry.old),
        other => panic!("{other:?}"),
    }
}

#[test]
fn notes_are_acknowledged_listed_and_bounced_once() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    let id = hand_in(&mut client, Origin::Local, b"hello");
    let note = |serial, index, note| Request::Note { serial, letter: id, index, note };
    client.ask(&note(1, 0, Note::Deferred(Moment::from_secs(99)))).unwrap();
    client.ask(&note(2, 1, Note::Failed(b"<c@d>:\nno\n\n"))).unwrap();
    assert_eq!(client.next(PATIENCE).unwrap(), Some(Answer::Ack(1)));
    assert_eq!(client.next(PATIENCE).unwrap(), Some(Answer::Ack(2)));
    let mut seen = Vec::new();
    client.list(|entry| seen.push((entry.id, entry.progress().collect::<Vec<_>>()))).unwrap();
    let progress = vec![Progress::Deferred(Moment::from_secs(99)), Progress::Failed];
    assert_eq!(seen, [(id, progress)]);
    assert_eq!(client.paragraphs(id).unwrap(), [b"<c@d>:\nno\n\n"]);
    let bounce = hand_in(&mut client, Origin::Bounce { finishes: id }, b"sorry");
    assert!(bounce > id);
    assert_eq!(hand_in(&mut client, Origin::Bounce { finishes: id }, b"sorry"), id);
    let mut left = Vec::new();
    client.list(|entry| left.push(entry.id)).unwrap();
    assert_eq!(left, [bounce]);
    client.finish(bounce).unwrap();
    assert_eq!(client.open(bounce).unwrap_err().kind(), io::ErrorKind::Other);
}

#[test]
fn many_at_once_share_syncs_and_all_get_numbers_of_their_own() {
    let queued = Running::start();
    queued.serve();
    let began = std::time::Instant::now();
    let threads: Vec<_> = (0..32)
        .map(|n: u8| {
            let mut client = queued.client();
            std::thread::spawn(move || {
                (0..20).map(|_| hand_in(&mut client, Origin::Local, &[n; 1000])).collect::<Vec<_>>()
            })
        })
        .collect();
    let mut ids: Vec<u64> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
    println!("{} letters in {:?}", ids.len(), began.elapsed());
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 640);
}

#[test]
fn nonsense_ends_that_client_and_nobody_else() {
    let queued = Running::start();
    queued.serve();
    let mut good = queued.client();
    good.begin(Origin::Local).unwrap();
    for bad in [&b"?\0\0\0\0"[..], b"l\xff\xff\xff\xff", b"e\x01\0\0\0\0", b"i\x01\0\0\0?"] {
        let mut stream = UnixStream::connect(queued.dir.join("queue/queued")).unwrap();
        io::Write::write_all(&mut stream, bad).unwrap();
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:?}");
    }
    good.chunk(b"still here").unwrap();
    assert!(good.commit(&Envelope::new(b"s\0r\0").unwrap()).is_ok());
}

#[test]
fn an_envelope_that_is_too_long_is_refused_for_good() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    client.begin(Origin::Local).unwrap();
    let block = vec![0; limits::LOGGED_ENVELOPE + 1];
    let refusal = client.commit(&Envelope::new(&block).unwrap()).unwrap_err();
    assert_eq!(refusal.outcome, Outcome::Never);
}

#[test]
fn requests_behind_a_list_are_answered_after_it() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    let id = hand_in(&mut client, Origin::Local, b"one");
    client.ask(&Request::List).unwrap();
    client.ask(&Request::Finish(id)).unwrap();
    assert!(matches!(client.next(PATIENCE).unwrap(), Some(Answer::Entry(_))));
    assert_eq!(client.next(PATIENCE).unwrap(), Some(Answer::End));
    assert_eq!(client.next(PATIENCE).unwrap(), Some(Answer::Accepted(id)));
}

#[test]
fn a_follower_may_ask_for_paragraphs_on_the_same_connection() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    let id = hand_in(&mut client, Origin::Local, b"one");
    let mut follower = queued.client();
    follower.ask(&Request::Follow).unwrap();
    assert!(matches!(follower.next(PATIENCE).unwrap(), Some(Answer::Entry(_))));
    assert_eq!(follower.next(PATIENCE).unwrap(), Some(Answer::End));
    for index in 0..2 {
        let note = Note::Failed(b"<x>:\nno\n\n");
        follower.ask(&Request::Note { serial: 1, letter: id, index, note }).unwrap();
        assert_eq!(follower.next(PATIENCE).unwrap(), Some(Answer::Ack(1)));
    }
    follower.ask(&Request::Paragraphs(id)).unwrap();
    for _ in 0..2 {
        let paragraph = follower.next(PATIENCE).unwrap();
        assert_eq!(paragraph, Some(Answer::Paragraph(b"<x>:\nno\n\n")));
    }
    assert_eq!(follower.next(PATIENCE).unwrap(), Some(Answer::End));
    let new = hand_in(&mut client, Origin::Local, b"two");
    assert!(matches!(follower.next(PATIENCE).unwrap(), Some(Answer::Entry(e)) if e.id == new));
}

/// A server that a test turns by hand, with one client that it has let in.
fn by_hand(queued: &Running) -> (Server, QueueClient) {
    let home = Home::at(&queued.dir).unwrap();
    let dir = home.path("queue");
    let rules = Rules::new(&home, &Roles::all(&home.owner_ids()));
    let queue = open(&dir, false).ok().unwrap();
    let listener = sys::pass::listen(&dir.join("queued"), Kind::Stream, 0o666, 16).unwrap();
    let client = queued.client();
    let signals = Signals::catch(&[]).unwrap();
    let mut server = Server::new(queue, rules, listener, signals, None).ok().unwrap();
    server.accept();
    (server, client)
}

/// The token of the one client that stays; others (such as `listen`'s own probe) have gone.
fn hear(server: &mut Server) -> u64 {
    let tokens: Vec<u64> = server.clients.iter().map(|(token, _)| token).collect();
    for token in tokens {
        let event = Event { token, readable: true, writable: false, hangup: false };
        server.client_event(token, event).unwrap();
    }
    server.clients.iter().next().unwrap().0
}

#[test]
fn whoever_waits_when_queued_is_stopped_is_answered() {
    let queued = Running::start();
    let (mut server, mut client) = by_hand(&queued);
    client.begin(Origin::Local).unwrap();
    client.chunk(b"just in time").unwrap();
    client.ask(&Request::Envelope(Envelope::new(b"s@x\0a@b\0").unwrap())).unwrap();
    hear(&mut server);
    assert_eq!(client.next(Duration::ZERO).unwrap(), None);
    assert!(matches!(server.stop(), End::Asked));
    drop(server);
    assert!(matches!(client.next(PATIENCE).unwrap(), Some(Answer::Accepted(_))));
}

#[test]
fn what_is_on_disk_is_answered_at_once_and_no_sync_is_waited_for() {
    let queued = Running::start();
    let (mut server, mut client) = by_hand(&queued);
    // Its letter is finished: the first answer was lost.
    client.begin(Origin::Bounce { finishes: 7 }).unwrap();
    client.ask(&Request::Envelope(Envelope::new(b"\0a@b\0").unwrap())).unwrap();
    hear(&mut server);
    assert_eq!(client.next(PATIENCE).unwrap(), Some(Answer::Accepted(7)));
    assert_eq!(server.gather.deadline(), None);
}

#[test]
fn a_sync_that_the_queue_itself_has_waited_for_answers_everybody() {
    let queued = Running::start();
    let (mut server, mut client) = by_hand(&queued);
    client.begin(Origin::Local).unwrap();
    client.ask(&Request::Envelope(Envelope::new(b"s@x\0a@b\0").unwrap())).unwrap();
    hear(&mut server);
    assert_eq!(client.next(Duration::ZERO).unwrap(), None);
    // As it does to make room on a full disk.
    server.queue.commit().unwrap();
    server.settle().unwrap();
    assert!(matches!(client.next(PATIENCE).unwrap(), Some(Answer::Accepted(_))));
    assert_eq!(server.gather.deadline(), None);
}

#[test]
fn a_letter_is_not_taken_from_a_client_that_has_hung_up_but_its_notes_are() {
    let queued = Running::start();
    let (mut server, mut client) = by_hand(&queued);
    client.begin(Origin::Local).unwrap();
    client.ask(&Request::Envelope(Envelope::new(b"s@x\0a@b\0").unwrap())).unwrap();
    hear(&mut server);
    let taken = server.queue.next_id();
    client.begin(Origin::Local).unwrap();
    for _ in 0..3 {
        client.chunk(&[b'x'; limits::INLINE_LETTER / 2]).unwrap();
        hear(&mut server);
    }
    client.ask(&Request::Envelope(Envelope::new(b"s@x\0a@b\0").unwrap())).unwrap();
    let note = Note::Failed(b"<a@b>:\nno\n\n");
    client.ask(&Request::Note { serial: 1, letter: taken - 1, index: 0, note }).unwrap();
    drop(client);
    let mut events = Vec::new();
    for _ in 0..9 {
        server.poller.wait(&mut events, Some(Duration::ZERO)).unwrap();
        for event in &events {
            server.client_event(event.token, *event).unwrap();
        }
    }
    assert!(server.clients.len() == 0 && server.queue.index().len() == 1);
    assert_eq!(std::fs::read_dir(queued.dir.join("queue/big")).unwrap().count(), 0);
    let (_, known) = server.queue.index().after(0).unwrap();
    assert!(known.progress().eq([Progress::Failed]));
}

#[test]
fn more_clients_than_there_are_descriptors_for_wait_outside() {
    let queued = Running::start();
    let (mut server, mut client) = by_hand(&queued);
    hear(&mut server);
    server.most = 1;
    let _waiting = queued.client();
    server.accept();
    assert_eq!(server.clients.len(), 1);
    assert_eq!(client.next(Duration::ZERO).unwrap(), None);
    assert_eq!([0, 1024, 1 << 20].map(clients_for), [16, 341, limits::QUEUED_CLIENTS]);
}

#[test]
fn a_frame_that_has_not_all_come_is_not_copied_each_turn() {
    let queued = Running::start();
    let (mut server, _) = by_hand(&queued);
    let mut stream = UnixStream::connect(queued.dir.join("queue/queued")).unwrap();
    server.accept();
    io::Write::write_all(&mut stream, b"i\x01\0\0\0le\0\0\x01\0half an envelope").unwrap();
    let token = hear(&mut server);
    let place = |server: &mut Server| server.clients.get_mut(token).unwrap().inbox.as_ptr();
    let before = place(&mut server);
    server.resume(token).unwrap();
    assert_eq!(place(&mut server), before);
}

#[test]
fn more_recipients_than_can_be_carried_forward_are_refused_for_good() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    let mut hand_in = |recipients: usize| {
        client.begin(Origin::Local).unwrap();
        client.commit(&Envelope::new(&vec![0; recipients + 1]).unwrap())
    };
    assert!(hand_in(limits::LOGGED_RECIPIENTS).is_ok());
    let refused = hand_in(limits::LOGGED_RECIPIENTS + 1).unwrap_err();
    assert_eq!(refused.outcome, Outcome::Never);
    let most = limits::LOGGED_RECIPIENTS * 9 + limits::LOGGED_ENVELOPE + limits::INLINE_LETTER;
    assert!((most as u64) < limits::LOG_SEGMENT - (1 << 20));
}

#[test]
fn a_long_list_flows_to_its_end_however_quick_its_hearer() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    let envelope = Envelope::new(b"sender@x.example\0somebody@y.example\0").unwrap();
    for _ in 0..9_000 {
        client.ask(&Request::Begin(Origin::Local)).unwrap();
        client.ask(&Request::Envelope(envelope)).unwrap();
    }
    for _ in 0..9_000 {
        assert!(matches!(client.next(PATIENCE).unwrap(), Some(Answer::Accepted(_))));
    }
    let mut client = queued.client().patient(PATIENCE);
    for _ in 0..4 {
        let mut seen = 0;
        client.list(|_| seen += 1).unwrap();
        assert_eq!(seen, 9_000);
    }
}

#[test]
fn letters_are_opened_many_at_a_time_and_come_in_order() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    let ids: Vec<u64> =
        (0..300).map(|n: u32| hand_in(&mut client, Origin::Local, &n.to_le_bytes())).collect();
    ids.iter().for_each(|&id| client.ask(&Request::Open(id)).unwrap());
    for n in 0..300_u32 {
        assert!(matches!(client.next(PATIENCE).unwrap(), Some(Answer::Opened(_))));
        let mut bytes = Vec::new();
        let fd = client.take_fd().unwrap();
        std::fs::File::from(fd).read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(&n.to_le_bytes()));
    }
}

#[test]
fn small_letters_are_fetched_in_the_answer_and_larger_ones_as_descriptors() {
    let queued = Running::start();
    queued.serve();
    let mut client = queued.client();
    // The line that queued writes on top counts, too.
    let sizes = [0, 9, limits::FETCHED_LETTER - 200, limits::FETCHED_LETTER, 60_000, 300_000, 9];
    let ids: Vec<u64> =
        sizes.iter().map(|&n| hand_in(&mut client, Origin::Local, &vec![b'x'; n])).collect();
    client.ask_all(ids.iter().map(|&id| Request::Fetch(id))).unwrap();
    for size in sizes {
        let fetched = match client.next(PATIENCE).unwrap() {
            Some(Answer::Fetched(bytes)) => Some(bytes.to_vec()),
            Some(Answer::Opened(_)) => None,
            other => panic!("{other:?}"),
        };
        assert_eq!(fetched.is_some(), size < limits::FETCHED_LETTER, "{size}");
        let bytes = fetched.unwrap_or_else(|| {
            let mut bytes = Vec::new();
            std::fs::File::from(client.take_fd().unwrap()).read_to_end(&mut bytes).unwrap();
            bytes
        });
        assert!(bytes.starts_with(b"Received: ") && bytes.ends_with(&vec![b'x'; size]), "{size}");
    }
    client.ask(&Request::Fetch(1_000)).unwrap();
    assert!(matches!(client.next(PATIENCE).unwrap(), Some(Answer::Refused(Outcome::Later, _))));
}

#[test]
fn random_bytes_do_no_harm() {
    let queued = Running::start();
    queued.serve();
    let mut n: u64 = 88_172_645_463_325_252;
    for _ in 0..200 {
        let mut stream = UnixStream::connect(queued.dir.join("queue/queued")).unwrap();
        let mut bytes = b"i\x01\0\0\0l".to_vec();
        for _ in 0..40 {
            n ^= n << 13;
            n ^= n >> 7;
            n ^= n << 17;
            let tag = b"ilefnboxqh"[(n % 10) as usize];
            bytes.extend([tag, (n >> 8) as u8 % 32, 0, 0, 0]);
            bytes.extend(vec![(n >> 16) as u8 % 3; (n >> 24) as usize % 32]);
        }
        let _ = io::Write::write_all(&mut stream, &bytes);
    }
    let mut client = queued.client();
    assert!(hand_in(&mut client, Origin::Local, b"fine") > 0);
}
