//! QMTP and QMQP: a stream of netstrings, cut anywhere.

use base::limits;
use base::outcome::Outcome;
use proto::packet::{Action, Packets, Session};
use proto::smtp::server::{Verdict, Welcome};
use proto::{qmqp, qmtp};

use crate::pick::{chunks, head, number};

/// What a conversation comes to.
#[derive(Debug, Default, PartialEq, Eq)]
struct Told {
    /// All that is answered.
    said: Vec<u8>,
    /// Letters that the queue has taken: envelope and text.
    taken: Vec<(Vec<u8>, Vec<u8>)>,
    /// It is over.
    code: Option<u8>,
}

/// The rest of the world, as the head of an input has it: `q` no queue, `z` the queue begins nothing,
/// `d` it ends nothing, `R` a client that may send anywhere; the number is `databytes`.
struct World {
    begin: Verdict,
    commit: Verdict,
    relay: Option<Vec<u8>>,
    databytes: u64,
}

impl World {
    fn new(head: &[u8]) -> Self {
        let has = |c: u8| head.contains(&c);
        let begin = match (has(b'q'), has(b'z')) {
            (true, _) => Verdict::NoQueue,
            (_, true) => Verdict::Refused(Outcome::Later, b"later".to_vec()),
            _ => Verdict::Begun,
        };
        let never = Verdict::Refused(Outcome::Never, b"never".to_vec());
        let commit = if has(b'd') { never } else { Verdict::Queued { secs: 1, pid: 2 } };
        let relay = has(b'R').then(|| b"@x".to_vec());
        Self { begin, commit, relay, databytes: number(head) }
    }

    /// What the letter gets if nothing else is wrong with it.
    fn verdict(&self) -> Vec<u8> {
        let refused = |verdict: &Verdict| match verdict {
            Verdict::NoQueue => Some(b"Zqqt failure (#4.3.0)".to_vec()),
            Verdict::Refused(Outcome::Later, text) => Some([b"Z", &text[..]].concat()),
            Verdict::Refused(_, text) => Some([b"D", &text[..]].concat()),
            _ => None,
        };
        refused(&self.begin).or(refused(&self.commit)).unwrap_or(b"Kok 1 qp 2".to_vec())
    }
}

/// A recipient's first letter says whether it is welcome.
fn welcome(address: &[u8]) -> Welcome {
    match address.first() {
        Some(b'n') => Welcome::NotOurs,
        Some(b'm') => Welcome::NoMailbox,
        Some(b'u') => Welcome::Unsure,
        _ => Welcome::Yes,
    }
}

/// QMTP: any number of letters, an answer to each recipient, all to the byte; and no matter how the
/// stream is cut.
pub fn qmtp(data: &[u8]) {
    let (head, stream) = head(data);
    let world = World::new(head);
    let play = |pieces: &[&[u8]]| {
        let mut session = qmtp::Session::new(world.databytes, world.relay.clone());
        play(Packets::qmtp(), &mut session, &world, pieces)
    };
    let told = play(&[stream]);
    assert_eq!(play(&chunks(stream, stream.len() as u8)), told, "in pieces");
    let want = model_qmtp(stream, &world);
    assert_eq!((&told.said, &told.taken), (&want.said, &want.taken));
    assert!(want.code.is_none() || want.code == told.code);
    assert!(told.code.is_none_or(|code| code == 100 || code == 111));
}

/// QMQP: one letter, one answer, the end.
pub fn qmqp(data: &[u8]) {
    let (head, stream) = head(data);
    let world = World::new(head);
    let play =
        |pieces: &[&[u8]]| play(Packets::qmqp(), &mut qmqp::Session::default(), &world, pieces);
    let told = play(&[stream]);
    assert_eq!(play(&chunks(stream, stream.len() as u8)), told, "in pieces");
    let want = model_qmqp(stream, &world);
    assert_eq!((&told.said, &told.taken), (&want.said, &want.taken));
    assert_eq!(want.code == Some(0), told.code == Some(0));
}

fn play(mut packets: Packets, session: &mut dyn Session, world: &World, pieces: &[&[u8]]) -> Told {
    let (mut told, mut out, mut letter) = (Told::default(), Vec::new(), None);
    for piece in pieces {
        let mut rest = *piece;
        while let Some(part) = packets.take(&mut rest, &mut out) {
            let part = match part {
                Ok(part) => part,
                Err(broken) => {
                    told.code = Some(broken.exit_code());
                    return told;
                }
            };
            let mut actions = session.part(part);
            while !actions.is_empty() {
                let mut answer = None;
                for action in actions {
                    answer = act(action, world, &out, &mut letter, &mut told).or(answer);
                    if told.code.is_some() {
                        assert!(letter.is_none(), "the end, and a letter half begun");
                        return told;
                    }
                }
                actions = answer.map(|verdict| session.answer(verdict)).unwrap_or_default();
            }
            out.clear();
        }
    }
    told
}

fn act(
    action: Action,
    world: &World,
    out: &[u8],
    letter: &mut Option<Vec<u8>>,
    told: &mut Told,
) -> Option<Verdict> {
    match action {
        Action::Begin => {
            assert!(letter.is_none(), "a letter in a letter");
            *letter = (world.begin == Verdict::Begun).then(Vec::new);
            return Some(world.begin.clone());
        }
        Action::Body => letter.as_mut().expect("a letter begun").extend_from_slice(out),
        Action::Ask { address, relay } => {
            assert_eq!(relay, world.relay.is_some());
            assert!(address.len() < limits::PACKET_ADDRESS && !address.contains(&0));
            return Some(Verdict::Recipient(welcome(&address)));
        }
        Action::Commit { envelope } => {
            let text = letter.take().expect("a letter begun");
            if matches!(world.commit, Verdict::Queued { .. }) {
                told.taken.push((envelope, text));
            }
            return Some(world.commit.clone());
        }
        Action::Abort => *letter = None,
        Action::Reply(bytes) => told.said.extend(bytes),
        Action::Close(code) => told.code = Some(code),
    }
    None
}

/// The first netstring and what follows it; nothing if it is none or not all there.
fn netstring(stream: &[u8]) -> Option<(&[u8], &[u8])> {
    let digits = stream.iter().take_while(|c| c.is_ascii_digit()).count();
    let text = std::str::from_utf8(&stream[..digits]).expect("digits");
    let text = if digits > 0 { text.trim_start_matches('0') } else { return None };
    let length: usize = if text.is_empty() { 0 } else { text.parse().ok()? };
    let rest = stream[digits..].strip_prefix(b":")?;
    let (bytes, rest) = rest.split_at_checked(length)?;
    Some((bytes, rest.strip_prefix(b",")?))
}

fn all(mut list: &[u8]) -> Option<Vec<&[u8]>> {
    let mut found = Vec::new();
    while !list.is_empty() {
        let (one, rest) = netstring(list)?;
        found.push(one);
        list = rest;
    }
    Some(found)
}

fn put(said: &mut Vec<u8>, text: &[u8]) {
    said.extend(format!("{}:", text.len()).into_bytes());
    said.extend([text, b","].concat());
}

/// An address that an envelope takes.
fn is_speakable(address: &[u8], suffix: &[u8]) -> bool {
    address.len() + suffix.len() < 1_000 && !address.iter().any(|c| [0, b'\n'].contains(c))
}

/// The letter with its line ends made LF; nothing if one is none.
fn plain(letter: &[u8]) -> Option<Vec<u8>> {
    let (first, rest) = letter.split_first()?;
    if *first == b'\n' {
        return Some(rest.to_vec());
    }
    let mut lines = Vec::new();
    let mut bytes = rest.iter().copied();
    while let Some(c) = bytes.next() {
        match c {
            b'\r' if bytes.next() == Some(b'\n') => lines.push(b'\n'),
            b'\r' | b'\n' => return None,
            c => lines.push(c),
        }
    }
    Some(lines)
}

fn model_qmtp(mut stream: &[u8], world: &World) -> Told {
    let (mut told, mut refused) = (Told::default(), 0_u32);
    let suffix = world.relay.clone().unwrap_or_default();
    loop {
        let packet = || {
            let (letter, rest) = netstring(stream)?;
            letter.first().filter(|c| b"\r\n".contains(c))?;
            let (sender, rest) = netstring(rest)?;
            let (list, rest) = netstring(rest)?;
            Some((letter, sender, all(list)?, rest))
        };
        let Some((letter, sender, recipients, rest)) = packet() else { return told };
        stream = rest;
        let text = plain(letter);
        let mut envelope = [if is_speakable(sender, b"") { sender } else { b"" }, b"\0"].concat();
        let mut fates: Vec<Option<&[u8]>> = Vec::new();
        for recipient in recipients {
            let address = [recipient, &suffix].concat();
            let fate: Option<&[u8]> = if !is_speakable(recipient, &suffix) {
                Some(b"Dsorry, I can't handle that recipient (#5.1.3)")
            } else if refused >= limits::REFUSED_RECIPIENTS {
                Some(b"Ztoo many refused recipients (#4.7.0)")
            } else {
                match welcome(&address) {
                    Welcome::NotOurs => {
                        Some(b"Dsorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)")
                    }
                    Welcome::NoMailbox => Some(b"Dsorry, no mailbox here by that name (#5.1.1)"),
                    Welcome::Unsure => Some(b"Zsorry, I can't look up that mailbox now (#4.3.0)"),
                    _ => None,
                }
            };
            refused +=
                u32::from(fate.is_some_and(|f| f.ends_with(b"5.7.1)") || f.ends_with(b"5.1.1)")));
            if fate.is_none() {
                envelope.extend([&address[..], b"\0"].concat());
            }
            fates.push(fate);
        }
        let longest = |text: &Vec<u8>| world.databytes != 0 && text.len() as u64 > world.databytes;
        let letters: Vec<u8> = match &text {
            None => b"Dbare CR or LF in message (#5.6.11)".to_vec(),
            Some(text) if is_looping(text) => LOOPING.to_vec(),
            Some(text) if longest(text) => {
                b"Dsorry, that message size exceeds my databytes limit (#5.3.4)".to_vec()
            }
            _ if !is_speakable(sender, b"") => b"Dunacceptable sender (#5.1.7)".to_vec(),
            _ => world.verdict(),
        };
        if fates.contains(&None) && letters.starts_with(b"K") {
            told.taken.push((envelope, text.unwrap_or_default()));
            refused = refused.saturating_sub(1);
        }
        fates.iter().for_each(|fate| put(&mut told.said, fate.unwrap_or(&letters)));
        if refused >= limits::REFUSED_RECIPIENTS {
            told.code = Some(111);
            return told;
        }
    }
}

/// What a letter gets that has been passed on too often.
const LOOPING: &[u8] = b"Dtoo many hops, this message is looping (#5.4.6)";

/// A hundred lines of the header say that it has been passed on.
fn is_looping(letter: &[u8]) -> bool {
    let header = letter.split(|&c| c == b'\n').take_while(|line| !line.is_empty());
    let hop = |line: &&[u8]| {
        let line = line.to_ascii_lowercase();
        line.starts_with(b"received") || line.starts_with(b"delivered")
    };
    header.filter(hop).count() >= 100
}

fn model_qmqp(stream: &[u8], world: &World) -> Told {
    let mut told = Told::default();
    let Some(fields) = netstring(stream).and_then(|(packet, _)| all(packet)) else { return told };
    let [letter, addresses @ ..] = &fields[..] else { return told };
    if addresses.is_empty() {
        return told;
    }
    let text = match addresses.iter().all(|address| is_speakable(address, b"")) {
        true if world.begin == Verdict::Begun && is_looping(letter) => LOOPING.to_vec(),
        true => world.verdict(),
        false => b"Dsorry, I can't accept addresses like that (#5.1.3)".to_vec(),
    };
    if text.starts_with(b"K") {
        let envelope =
            addresses.iter().flat_map(|address| [address, &b"\0"[..]].concat()).collect();
        told.taken.push((envelope, letter.to_vec()));
    }
    put(&mut told.said, &text);
    told.code = Some(0);
    told
}
