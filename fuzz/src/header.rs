//! The header of a letter, as it is read, rewritten and counted; addresses in it; bounces.

use base::time::Moment;
use letter::compose::{Compose, Drops, Generated, Person};
use letter::header::{Head, Hops, LineSearch, name_length, parts};
use letter::received::Hop;
use letter::rewrite::Rules;
use letter::token822::{self, Token};
use letter::{addrlist, bounce, date};

use crate::pick::{chunks, head};

/// The first line says what the rest is: `h` a header, `a` the value of an address field, `b` a
/// delivery report, `r` words of a stranger for a `Received` line, `d` a moment.
pub fn header(data: &[u8]) {
    let (head, text) = head(data);
    match head.first() {
        Some(b'h') => fields(text),
        Some(b'a') => addresses(text),
        Some(b'b') => bounces(head, text),
        Some(b'r') => received(text),
        Some(b'd') => moment(text),
        _ => {}
    }
}

fn rules() -> Rules {
    Rules::new(b"host", b"domain.test", b"plus.test").expect("three host names")
}

/// A header, cut into fields and composed anew.
fn fields(text: &[u8]) {
    let cut = |pieces: &[&[u8]]| {
        let (mut head, mut taken) = (Head::new(usize::MAX), 0);
        for piece in pieces {
            taken += head.feed(piece).expect("there is no bound");
            if head.is_over() {
                break;
            }
        }
        let (fields, body) = head.finish();
        (fields, body, taken)
    };
    let (fields, body, taken) = cut(&[text]);
    let again = cut(&chunks(text, 1));
    assert_eq!((&fields, &body, taken), (&again.0, &again.1, again.2));
    let marks = fields.iter().filter(|f| f.starts_with(b"MBOX-Line: ")).count() * 11;
    let read: usize = fields.iter().map(Vec::len).sum::<usize>() + body.len();
    assert!(read <= taken + marks + 2 && taken <= text.len());
    counts(text);
    let rules = rules();
    let mut compose = Compose::new(&rules, Drops::default());
    for field in &fields {
        assert!(field.ends_with(b"\n") && name_length(field).is_some());
        if compose.field(field).is_err() {
            return;
        }
    }
    let from = Person { user: b"joe", host: b"", name: Some(b"J\nR"), as_comment: false };
    let lists = [b"list@host.domain.test".to_vec()];
    let generated = Generated { date: b"d", message_id: b"<m>", from, lists: &lists };
    let Ok(composed) = compose.finish(&generated) else { return };
    one_header(&composed.header);
    for recipient in base::text0::fields(&composed.recipients).into_iter().flatten() {
        assert!(recipient.len() <= base::limits::ADDRESS);
    }
}

/// Every line is a field or goes one on: nothing became the body.
fn one_header(header: &[u8]) {
    let lines: Vec<&[u8]> = header.split_inclusive(|&c| c == b'\n').collect();
    for (n, line) in lines.iter().enumerate() {
        assert!(line.ends_with(b"\n"));
        let goes_on = n > 0 && (line.starts_with(b" ") || line.starts_with(b"\t"));
        assert!(goes_on || parts(line).is_some(), "{} is no field", line.escape_ascii());
    }
}

/// Hops and our own line, in pieces as in one.
fn counts(text: &[u8]) {
    let wanted = b"Delivered-To: me";
    let count = |pieces: &[&[u8]]| {
        let (mut hops, mut search) = (Hops::default(), LineSearch::new(wanted));
        pieces.iter().for_each(|piece| {
            hops.feed(piece);
            search.feed(piece);
        });
        (hops.count(), search.found())
    };
    let header = || text.split_inclusive(|&c| c == b'\n').take_while(|line| *line != b"\n");
    let hop = |line: &&[u8]| {
        let line = line.to_ascii_lowercase();
        line.starts_with(b"received") || line.starts_with(b"delivered")
    };
    let want = (
        header().filter(hop).count() as u32,
        header().any(|line| line.strip_suffix(b"\n") == Some(&wanted[..])),
    );
    assert_eq!(count(&[text]), want);
    assert_eq!(count(&chunks(text, 0)), want);
}

/// Tokens: what is printed reads as what it was; completed addresses stay as they are.
fn addresses(text: &[u8]) {
    let Ok(tokens) = token822::parse(text) else { return };
    let size: usize = tokens.iter().map(size).sum();
    assert!(size <= text.len(), "tokens are longer than their text");
    let printed = token822::print(b"To", &tokens);
    assert!(printed.len() <= 4 * text.len() + 8, "it grew too much");
    one_header(&printed);
    assert_eq!(token822::parse(&printed[3..]).as_ref(), Ok(&tokens));
    // Without its own route an address may begin with what looks like another, or like a group; and
    // a literal before a name in front of brackets gets no comma, in stock neither.
    let odd = |t: &Token| matches!(t, Token::Colon | Token::Semi | Token::Literal(_));
    let odd = tokens.iter().any(odd);
    let rules = rules();
    let mut found = Vec::new();
    let complete = |tokens: Vec<Token>, found: &mut Vec<Vec<u8>>| {
        addrlist::rewrite(tokens, |address| {
            found.push(rules.checked(address)?.into_bytes());
            Ok(())
        })
    };
    let Ok(completed) = complete(tokens, &mut found) else { return };
    let mut again = Vec::new();
    let twice = complete(completed.clone(), &mut again);
    // One dot and one `@` at the end go at a time.
    let ends = found.iter().any(|a| a.ends_with(b".") || a.ends_with(b"@"));
    if !odd && !ends {
        assert_eq!(twice.as_ref(), Ok(&completed), "it is not complete");
        // Nothing is left of an address like `@`: it is not seen a second time.
        found.retain(|address| !address.is_empty());
        again.retain(|address| !address.is_empty());
        assert_eq!(again, found);
    }
    let printed = token822::print(b"To", &completed);
    // A host of nothing but a plus leaves an empty word, which nobody sees in print.
    let mut seen = completed;
    seen.retain(|token| *token != Token::Atom(Vec::new()));
    assert_eq!(token822::parse(&printed[3..]).as_ref(), Ok(&seen));
}

/// Bytes of a token's text.
fn size(token: &Token) -> usize {
    match token {
        Token::Atom(text) | Token::Quote(text) | Token::Literal(text) | Token::Comment(text) => {
            text.len()
        }
        _ => 1,
    }
}

/// A bounce: one header, three parts, one paragraph and one group of fields for each report.
fn bounces(address: &[u8], report: &[u8]) {
    let paragraph = bounce::paragraph(address, report);
    let inside = paragraph.strip_suffix(b"\n\n").expect("an empty line at the end");
    assert!(paragraph.starts_with(b"<"));
    assert!(!inside.windows(2).any(|two| two == b"\n\n"), "a paragraph in a paragraph");
    assert!(!paragraph.contains(&0) || address.contains(&0));
    let status = bounce::status(&paragraph);
    let fields = status.strip_suffix(b"\n").expect("an empty line at the end");
    one_header(fields);
    assert!(status.is_ascii() && !fields.windows(2).any(|two| two == b"\n\n"));
    let short = bounce::shortened(&paragraph);
    assert!(short.len() <= paragraph.len() && short.ends_with(b"\n\n"));
    let Ok(sender) = base::address::Address::new(address) else { return };
    for max in [0, 1, 40, report.len() as u64] {
        whole_bounce(sender.as_bytes(), report, max, &[&paragraph, &status]);
    }
}

/// The whole letter about `report`, taken for the letter that failed as well.
fn whole_bounce(sender: &[u8], report: &[u8], max: u64, [paragraph, status]: &[&[u8]; 2]) {
    let names = bounce::Names {
        from: b"MAILER-DAEMON".to_vec(),
        host: b"h.test".to_vec(),
        double_to: b"postmaster".to_vec(),
        double_host: b"h.test".to_vec(),
        max,
    };
    let kind = bounce::Kind::of(sender);
    let Some((_, to)) = kind.envelope(&names) else { return };
    let size = report.len() as u64;
    let bounce = bounce::Bounce { kind, names: &names, seam: 7, first: report, size };
    let fits = bounce.fits(report, 0);
    assert!(report.starts_with(fits) && (max == 0 || fits.len() as u64 <= max));
    let head = bounce.head(&to, b"1 Jan 1970 00:00:00 -0000");
    let (top, _) = head.split_at(head.windows(2).position(|t| t == b"\n\n").expect("a body") + 1);
    one_header(top);
    assert_eq!(top.iter().filter(|&&c| c == b'\n').count(), 9, "a field too many");
    let pieces: [&[u8]; 7] =
        [&head, paragraph, &bounce.copy(), status, &bounce.attach(), fits, &bounce.tail()];
    let seam = format!("--=_{:032x}", 7);
    if [sender, report].concat().windows(2).any(|two| two == b"=_") {
        // Whoever guesses the seam, as a fuzzer may, may write it.
        return;
    }
    let all = pieces.concat();
    let seams: Vec<_> =
        all.split(|&c| c == b'\n').filter(|line| line.starts_with(seam.as_bytes())).collect();
    assert_eq!(seams.len(), 4, "a part too many or too few");
    assert!(seams.iter().all(|line| line.len() == seam.len() || line.ends_with(b"--")));
}

/// A stranger's words can neither end the line nor begin another.
fn received(text: &[u8]) {
    let mut words = text.split(|&c| c == b'\n');
    let mut word = || words.next().unwrap_or_default();
    let hop = Hop {
        host: word(),
        helo: Some(word()),
        info: Some(word()),
        ip: word(),
        local: word(),
        protocol: b"SMTP",
    };
    let line = hop.print(Moment::from_secs(1));
    assert!(line.iter().all(|c| c.is_ascii_graphic() || b" \n".contains(c)));
    assert_eq!(line.iter().filter(|&&c| c == b'\n').count(), 2);
    assert_eq!(line.iter().filter(|&&c| c == b';').count(), 1);
    one_header(&line);
}

/// A moment's date, and the days from it back again.
fn moment(text: &[u8]) {
    let digits = text.iter().filter(|c| c.is_ascii_digit()).take(19);
    let micros = digits.fold(0_u64, |n, c| n * 10 + u64::from(c - b'0'));
    let moment = Moment::from_micros(micros);
    let civil = date::Civil::of(moment);
    let (y, m) = (civil.year - u64::from(civil.month <= 2), u64::from((civil.month + 9) % 12));
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (m * 306 + 5) / 10 + u64::from(civil.day) - 1;
    let of_day = u64::from(civil.hour * 3_600 + civil.minute * 60 + civil.second);
    assert_eq!((days - 719_468) * 86_400 + of_day, moment.secs());
    assert!(date::rfc822(moment).ends_with(" -0000") && date::digits(moment).len() >= 14);
}
