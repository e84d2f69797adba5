//! Short words between programs and in names: Maildir names, POP3's ids, SASL, what clean parents
//! say, DNS answers, commands; what a terminal or an mbox file gets of a letter.

use base::outcome::Outcome;
use store::maildir::Name;

use crate::pick::{chunks, head};
use crate::{brood, programs};

/// The first line's letter says which word the rest is.
pub fn words(data: &[u8]) {
    let (head, text) = head(data);
    let Some((kind, asked)) = head.split_first() else { return };
    match kind {
        b'm' => maildir_name(text),
        b's' => sasl(text),
        b'b' => {
            if let Some(again) = brood::again(text) {
                let back = brood::again(&again).expect("our own word");
                assert_eq!(back, again);
            }
        }
        b'd' => {
            let records = programs::dns_records(asked, text, text.len() as u8);
            assert!(records.is_none_or(|n| n <= 64), "more than it wants");
        }
        b'l' => lines(text),
        b'h' => host_keys(text),
        b'v' => verdicts(text),
        b'w' => {
            if let Some(again) = programs::lspawn_words(text) {
                assert_eq!(again, text, "a word has two spellings");
            }
        }
        b'u' => terminals(asked, text),
        b't' => shown(text),
        b'q' => mbox(text),
        b'n' => {
            assert!(programs::pop3_time(text).is_none_or(|_| text[0].is_ascii_digit()));
        }
        _ => {}
    }
}

/// The outputs of delivery programs: nothing is success that does not say so, and no NUL stays.
fn verdicts(output: &[u8]) {
    let [(local, told), (remote, said)] = programs::verdicts(output);
    assert_eq!(local, Outcome::Done, "a program that exits 0 has delivered");
    assert!(told.len() <= base::limits::LOCAL_OUTPUT && !told.contains(&0));
    assert!(!said.contains(&0) && said.len() <= output.len().max(40));
    let mut items: Vec<&[u8]> = output.split(|&c| c == 0).collect();
    items.pop();
    let judged = items.iter().find(|item| item.first().is_some_and(|c| b"KZD".contains(c)));
    if remote == Outcome::Done {
        assert!(judged.is_some_and(|item| item.starts_with(b"K")), "nobody said so");
        assert!(!output.starts_with(b"h") && !output.starts_with(b"s"));
    }
}

fn maildir_name(text: &[u8]) {
    let name = Name::parse(text);
    assert!(text.starts_with(name.stem) && text.ends_with(name.flags));
    assert!(!name.stem.contains(&b':'));
    let id = programs::pop3_id(name.stem);
    assert!((1..=70).contains(&id.len()) && id.iter().all(u8::is_ascii_graphic));
    // The id must not change with the flags.
    let moved = [name.stem, b":2,RS"].concat();
    assert_eq!(programs::pop3_id(Name::parse(&moved).stem), id);
    assert_eq!(Name::parse(&moved).size, name.size);
}

/// Base64 is strict: what is decoded has no other spelling.
fn sasl(text: &[u8]) {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let coded = |bytes: &[u8]| {
        let mut out = Vec::new();
        for three in bytes.chunks(3) {
            let get = |n| u32::from(three.get(n).copied().unwrap_or(0));
            let bits = get(0) << 16 | get(1) << 8 | get(2);
            for n in 0..4 {
                let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
                out.push(if n > three.len() { b'=' } else { letter });
            }
        }
        out
    };
    if let Ok(plain) = proto::sasl::decode(text) {
        assert_eq!(coded(&plain), text);
        if let Ok((name, secret)) = proto::sasl::plain(&plain) {
            assert!(!name.is_empty() && !name.contains(&0) && !secret.contains(&0));
        }
    }
    assert_eq!(proto::sasl::decode(&coded(text)).as_deref(), Ok(text));
}

/// Command lines: the same however they are cut, and never more than the limit held.
fn lines(text: &[u8]) {
    let cut = |pieces: &[&[u8]]| {
        let mut lines = proto::line::Lines::new(64);
        let mut found = Vec::new();
        for piece in pieces {
            let mut rest = *piece;
            while let Some(line) = lines.take(&mut rest) {
                found.push(match line {
                    proto::line::Line::Text(text) => Some(text.to_vec()),
                    proto::line::Line::TooLong => None,
                    // The rest is nobody's: this is not what is looked for here.
                    proto::line::Line::Endless => return None,
                });
            }
            assert!(lines.held() < 64);
        }
        Some(found)
    };
    let whole = cut(&[text]);
    assert_eq!(cut(&chunks(text, 0)), whole);
    assert_eq!(cut(&chunks(text, 1)), whole);
    let Some(whole) = whole else { return };
    assert_eq!(whole.len(), text.iter().filter(|&&c| c == b'\n').count());
}

fn host_keys(address: &[u8]) {
    let Some(keys) = proto::smtp::hosts::keys(address) else { return };
    let domain = address.rsplit(|&c| c == b'@').next().unwrap_or_default().to_ascii_lowercase();
    assert!(keys.len() <= domain.len());
    assert!(keys.iter().all(|key| domain.ends_with(key)));
}

/// `utmp`: no file but one below `/dev`.
fn terminals(user: &[u8], utmp: &[u8]) {
    let found = programs::terminals(utmp, user);
    assert!(found.len() <= utmp.len() / 384 && (found.is_empty() || !user.is_empty()));
    for path in found {
        assert!(path.is_relative() && path.components().count() > 0);
        assert!(path.components().all(|part| part.as_os_str() != ".."));
    }
}

/// No stranger steers a terminal.
fn shown(letter: &[u8]) {
    for text in programs::shown(letter, 74) {
        assert!(text.chars().count() <= 74 && !text.chars().any(char::is_control));
    }
}

/// A letter in an mbox file is one, however it comes, and is read back as it was.
fn mbox(letter: &[u8]) {
    let quoted = |pieces: &[&[u8]]| {
        let mut quoted = letter::mbox::Quoted::default();
        let mut out: Vec<u8> = pieces.iter().flat_map(|piece| quoted.feed(piece)).collect();
        out.extend(quoted.finish());
        out
    };
    let out = quoted(&[letter]);
    assert_eq!(quoted(&chunks(letter, 1)), out);
    let body = out.strip_suffix(b"\n").expect("an empty line ends it");
    assert!(body.is_empty() || body.ends_with(b"\n"));
    let mut back = Vec::new();
    for line in body.split_inclusive(|&c| c == b'\n') {
        assert!(!line.starts_with(b"From "), "a line begins a letter");
        let marks = line.iter().take_while(|&&c| c == b'>').count();
        let marked = marks > 0 && line[marks..].starts_with(b"From ");
        back.extend_from_slice(&line[usize::from(marked)..]);
    }
    assert!(back == letter || back.strip_suffix(b"\n") == Some(letter));
}
