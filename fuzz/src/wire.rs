//! The decoders of `base`: nothing makes them panic, and what they take they give back.

use base::event::Event;
use base::outcome::Outcome;
use base::service::{Facts, Identity, Status};
use base::tai::Label;
use base::time::Moment;
use base::wire::frame::{self, Frame};
use base::wire::login::{Answer as LoginAnswer, Login, Verb};
use base::wire::queue::{Answer, Envelope, Origin, Request};
use base::wire::spawn::{Delivery, Report};
use base::{address, errno, limits, netstring, queue_exit, text0};

use crate::pick::Raw;

/// Bytes of any decoder; the first one chooses which.
pub fn wire(data: &[u8]) {
    let Some((&which, bytes)) = data.split_first() else { return };
    match which % 10 {
        0 => frames(bytes),
        1 => requests(bytes),
        2 => answers(bytes),
        3 => spawn(bytes),
        4 => login(bytes),
        5 => netstrings(bytes),
        6 => addresses(bytes),
        7 => labels(bytes),
        8 => texts(bytes),
        _ => built(bytes),
    }
}

/// A stream of frames, as a buffer holds it.
fn frames(bytes: &[u8]) {
    let (mut rest, mut again) = (bytes, Vec::new());
    while let Ok(Some((frame, used))) = frame::take(rest, 1 << 16) {
        frame::put(&mut again, frame.tag, |body| body.extend_from_slice(frame.body));
        assert_eq!(used, frame::HEAD + frame.body.len());
        for cut in [0, frame::HEAD - 1, used - 1] {
            let part = &rest[..cut.min(used - 1)];
            assert_eq!(frame::take(part, 1 << 16), Ok(None), "half a frame is one");
        }
        rest = &rest[used..];
    }
    assert!(bytes.starts_with(&again));
}

/// One frame as the decoders see it: tag, then body.
fn one(bytes: &[u8]) -> Option<Frame<'_>> {
    bytes.split_first().map(|(&tag, body)| Frame { tag, body })
}

/// What was decoded, encoded, is the frame it came from.
fn same(frame: Frame<'_>, encoded: &[u8]) {
    let (tag, rest) = encoded.split_first().expect("a frame");
    assert_eq!((*tag, &rest[4..]), (frame.tag, frame.body));
    let length = u32::from_le_bytes([rest[0], rest[1], rest[2], rest[3]]);
    assert_eq!(length as usize, frame.body.len());
}

fn requests(bytes: &[u8]) {
    let Some(frame) = one(bytes) else { return };
    let Ok(request) = Request::decode(frame) else { return };
    let mut out = Vec::new();
    request.encode(&mut out);
    same(frame, &out);
    if let Request::Envelope(envelope) = request {
        self::envelope(envelope);
    }
}

fn envelope(envelope: Envelope<'_>) {
    let fields = std::iter::once(envelope.sender()).chain(envelope.recipients());
    let mut block = Vec::new();
    for field in fields {
        assert!(field.len() <= limits::ADDRESS);
        text0::put(&mut block, field);
    }
    assert_eq!(block, envelope.as_bytes());
}

fn answers(bytes: &[u8]) {
    let Some(frame) = one(bytes) else { return };
    let Ok(answer) = Answer::decode(frame) else { return };
    let mut out = Vec::new();
    answer.encode(&mut out);
    if let Answer::Entry(entry) = answer {
        assert_eq!(entry.progress().count(), entry.envelope.recipients().count());
        self::envelope(entry.envelope);
        // `old` is any byte but 0 when read and 1 when written.
        let again = frame::take(&out, usize::MAX).ok().flatten().expect("our own frame").0;
        assert_eq!(Answer::decode(again), Ok(answer));
    } else {
        same(frame, &out);
    }
}

fn spawn(bytes: &[u8]) {
    let Some(frame) = one(bytes) else { return };
    let mut out = Vec::new();
    if let Ok(delivery) = Delivery::decode(frame) {
        delivery.encode(&mut out);
        same(frame, &out);
    } else if let Ok(report) = Report::decode(frame) {
        report.encode(&mut out);
        let again = frame::take(&out, usize::MAX).ok().flatten().expect("our own frame").0;
        assert_eq!(Report::decode(again), Ok(report));
    }
}

fn login(bytes: &[u8]) {
    let mut out = Vec::new();
    if let Ok(login) = Login::decode(bytes) {
        login.encode(&mut out);
        assert_eq!(out, bytes);
        for field in [login.name, login.secret, login.timestamp] {
            assert!(field.len() <= limits::LOGIN);
        }
    }
    out.clear();
    if let Ok(answer) = LoginAnswer::decode(bytes) {
        answer.encode(&mut out);
        assert_eq!(out, bytes);
    }
}

fn netstrings(bytes: &[u8]) {
    if let Ok(Some((found, used))) = netstring::take(bytes, 1_000) {
        assert!(found.len() <= 1_000 && used <= bytes.len());
    }
    let Ok(found) = netstring::all(bytes, usize::MAX) else { return };
    let mut out = Vec::new();
    found.iter().for_each(|found| netstring::put(&mut out, found));
    assert_eq!(netstring::all(&out, usize::MAX), Ok(found));
    assert!(out.len() <= bytes.len(), "leading zeros may go, nothing may come");
}

fn addresses(bytes: &[u8]) {
    let quoted = address::quote2(bytes);
    assert!(quoted.len() <= 2 * bytes.len() + 2);
    let (local, domain) = address::split(bytes);
    let joined = domain.map_or(local.to_vec(), |domain| [local, b"@", domain].concat());
    assert_eq!(joined, bytes);
    assert!(domain.is_none_or(|domain| !domain.contains(&b'@')));
    // What is quoted has no special byte outside its quotes, and undone it is what it was.
    let quoted = address::quote(local);
    let undone = if address::needs_quotes(local) { unquote(&quoted) } else { quoted.clone() };
    assert_eq!(undone, local);
    assert_eq!(address::needs_quotes(local), quoted.starts_with(b"\""));
    if let Ok(address) = address::Address::new(bytes) {
        assert!(bytes.len() <= limits::ADDRESS && !bytes.iter().any(|c| b"\0\n".contains(c)));
        assert_eq!((address.local(), address.domain()), (local, domain));
    }
}

fn unquote(quoted: &[u8]) -> Vec<u8> {
    let inside = quoted.strip_prefix(b"\"").and_then(|q| q.strip_suffix(b"\"")).expect("quotes");
    let (mut out, mut bytes) = (Vec::new(), inside.iter());
    while let Some(&c) = bytes.next() {
        assert_ne!(c, b'"', "a quote inside the quotes");
        out.push(if c == b'\\' { *bytes.next().expect("a byte behind the backslash") } else { c });
    }
    out
}

fn labels(bytes: &[u8]) {
    if let Some((label, rest)) = Label::parse(bytes) {
        let text = label.print();
        assert_eq!(text.len() + rest.len(), bytes.len());
        assert!(text.eq_ignore_ascii_case(&bytes[..text.len()]));
        assert_eq!(Label::parse(&text), Some((label, &b""[..])));
        let _ = (label.unix(), label.nanos(), label.moment());
    }
    let mut raw = Raw(bytes);
    let moment = Moment::from_micros(raw.u64());
    let label = Label::at(moment);
    assert_eq!(label.moment(), moment);
    assert!(moment.plus_secs(raw.u64()) >= moment);
    service(bytes);
}

/// What supervise writes, and reads again after another one.
fn service(bytes: &[u8]) {
    if let Some(status) = Status::decode(bytes) {
        assert_eq!(
            Status::decode(&status.encode()).map(|again| again.encode()),
            Some(status.encode())
        );
    }
    if let Some(facts) = Facts::parse(bytes) {
        let lines = facts.encode();
        let again = Facts::parse(lines.as_bytes()).expect("facts read back");
        assert_eq!(again.encode(), lines);
    }
    if let Some((identity, _)) = std::str::from_utf8(bytes).ok().and_then(Identity::parse) {
        let line = identity.to_string();
        assert_eq!(Identity::parse(&line), Some((identity, None)));
    }
}

fn texts(bytes: &[u8]) {
    if let Some(fields) = text0::fields(bytes) {
        let mut block = Vec::new();
        fields.for_each(|field| text0::put(&mut block, field));
        assert_eq!(block, bytes);
    }
    let mut raw = Raw(bytes);
    let (letter, code, deaf) = (raw.u8(), raw.u8(), raw.u8() & 1 == 1);
    if let Some(outcome) = Outcome::from_letter(letter) {
        assert_eq!(outcome.letter(), letter);
    }
    assert!(!errno::text(raw.u16().into()).is_empty());
    let judged = queue_exit::judge(Some(code), deaf, raw.0);
    assert!(judged.is_err() || code == 0, "a failed program is believed");
    // Whatever is in it, an event is one line.
    let mut line = Vec::new();
    let outcome = Outcome::from_letter(letter);
    Event::Ended { delivery: code.into(), outcome, text: raw.0 }.encode(&mut line);
    let from = raw.0;
    Event::Info { letter: 1, bytes: 2, from, qp: 3, uid: 4 }.encode(&mut line);
    assert_eq!(line.iter().filter(|&&c| c == b'\n').count(), 2);
    assert!(line.iter().all(|c| c.is_ascii_graphic() || b" \n".contains(c)));
}

/// Messages made from fields: what is encoded is decoded.
fn built(bytes: &[u8]) {
    let mut raw = Raw(bytes);
    let mut out = Vec::new();
    let no_nul = |piece: &[u8]| piece.iter().copied().filter(|&c| c != 0).collect::<Vec<u8>>();
    let (sender, recipient) = (no_nul(raw.piece()), no_nul(raw.piece()));
    let delivery = Delivery {
        slot: raw.u64() as u32,
        letter: raw.u64(),
        birth: Moment::from_micros(raw.u64()),
        index: raw.u64() as u32,
        perhaps: raw.u8() & 1 == 1,
        sender: &sender,
        recipient: &recipient,
    };
    delivery.encode(&mut out);
    let (frame, _) = frame::take(&out, usize::MAX).ok().flatten().expect("our own frame");
    assert_eq!(Delivery::decode(frame), Ok(delivery));
    out.clear();
    let verb = if raw.u8() & 1 == 0 { Verb::Check } else { Verb::Open };
    let login = Login { verb, name: &sender, secret: &recipient, timestamp: b"<1.2@h>" };
    login.encode(&mut out);
    assert!(Login::decode(&out) == Ok(login));
    out.clear();
    let request = Request::Begin(Origin::Bounce { finishes: raw.u64() });
    request.encode(&mut out);
    let (frame, _) = frame::take(&out, usize::MAX).ok().flatten().expect("our own frame");
    assert_eq!(Request::decode(frame), Ok(request));
}
