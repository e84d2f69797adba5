//! The tokens of an address field (RFC 822 §3.3): read from text, printed with lines folded.

use alloc::vec::Vec;

/// Columns of a printed line, its comma included. Stock counts up to 80, and two for the line end
/// and the blank that a break would need.
const COLUMNS: usize = 78;

/// One token. Text is without its quotes, brackets, parentheses and backslashes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Token {
    /// A bare word.
    Atom(Vec<u8>),
    /// `"…"`, or a word that cannot be printed bare.
    Quote(Vec<u8>),
    /// `[…]`.
    Literal(Vec<u8>),
    /// `(…)`; nested parentheses are dropped.
    Comment(Vec<u8>),
    /// `<`
    Left,
    /// `>`
    Right,
    /// `@`
    At,
    /// `,`
    Comma,
    /// `;`
    Semi,
    /// `:`
    Colon,
    /// `.`
    Dot,
}

/// Text that is not made of tokens, or tokens that are no address list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Unparsable;

/// Reads tokens until the text ends. Blanks and line ends separate; folds inside quotes, brackets
/// and parentheses are undone.
///
/// # Errors
/// [`Unparsable`] if something opened is never closed, or `)` or `]` stands alone.
pub fn parse(mut text: &[u8]) -> Result<Vec<Token>, Unparsable> {
    let mut tokens = Vec::new();
    while let Some((&first, rest)) = text.split_first() {
        text = rest;
        let token = match first {
            b' ' | b'\t' | b'\r' | b'\n' => continue,
            b'<' => Token::Left,
            b'>' => Token::Right,
            b'@' => Token::At,
            b',' => Token::Comma,
            b';' => Token::Semi,
            b':' => Token::Colon,
            b'.' => Token::Dot,
            b')' | b']' => return Err(Unparsable),
            b'"' => Token::Quote(enclosed(&mut text, b'"')?),
            b'[' => Token::Literal(enclosed(&mut text, b']')?),
            b'(' => Token::Comment(comment(&mut text)?),
            _ => word(first, &mut text),
        };
        tokens.push(token);
    }
    Ok(tokens)
}

/// The next byte, and whether a backslash stood before it. Before a line end it counts for nothing:
/// else the line end would be printed again, and what follows it might not begin with the blank
/// that makes it part of the field.
fn unescape(text: &mut &[u8]) -> Option<(u8, bool)> {
    let (&first, rest) = text.split_first()?;
    *text = rest;
    if first != b'\\' {
        return Some((first, false));
    }
    let (&second, rest) = text.split_first()?;
    *text = rest;
    Some((second, !is_line_end(second)))
}

const fn is_line_end(c: u8) -> bool {
    matches!(c, b'\n' | b'\r')
}

/// Text up to `close`.
fn enclosed(text: &mut &[u8], close: u8) -> Result<Vec<u8>, Unparsable> {
    let mut inside = Vec::new();
    loop {
        match unescape(text).ok_or(Unparsable)? {
            (c, false) if is_line_end(c) => (),
            (c, false) if c == close => return Ok(inside),
            (c, _) => inside.push(c),
        }
    }
}

/// Text up to the parenthesis that closes; a count stands for the nesting, so depth costs nothing.
fn comment(text: &mut &[u8]) -> Result<Vec<u8>, Unparsable> {
    let mut inside = Vec::new();
    let mut level = 1usize;
    loop {
        match unescape(text).ok_or(Unparsable)? {
            (c, false) if is_line_end(c) => (),
            (b'(', false) => level = level.saturating_add(1),
            (b')', false) if level == 1 => return Ok(inside),
            (b')', false) => level = level.saturating_sub(1),
            (c, _) => inside.push(c),
        }
    }
}

/// A bare word that begins with `first`. A backslash at the very end, or before a line end, counts
/// for nothing.
fn word(first: u8, text: &mut &[u8]) -> Token {
    let mut inside = Vec::new();
    if first != b'\\' {
        inside.push(first);
    } else if let Some((&c, rest)) = text.split_first().filter(|(c, _)| !is_line_end(**c)) {
        inside.push(c);
        *text = rest;
    }
    while let Some(&c) = text.first()
        && !ends_word(c)
    {
        let next = unescape(text).map(|(c, _)| c);
        inside.extend(next.filter(|&c| !is_line_end(c)));
    }
    atom(inside)
}

/// A word as a token that prints well: bare if it can be.
pub fn atom(word: Vec<u8>) -> Token {
    let bare = |c: &u8| c.is_ascii_graphic() && !ends_word(*c) && !matches!(c, b')' | b']' | b'\\');
    if !word.is_empty() && word.iter().all(bare) { Token::Atom(word) } else { Token::Quote(word) }
}

/// Whether a byte ends a bare word.
const fn ends_word(c: u8) -> bool {
    matches!(
        c,
        b' ' | b'\t'
            | b'\r'
            | b'\n'
            | b'('
            | b'['
            | b'"'
            | b'<'
            | b'>'
            | b';'
            | b':'
            | b'@'
            | b','
            | b'.'
    )
}

/// The bytes of an address as an envelope carries it: no quotes, no comments.
pub fn unquote(tokens: &[Token]) -> Vec<u8> {
    let mut out = Vec::new();
    for token in tokens {
        match token {
            Token::Atom(text) | Token::Quote(text) => out.extend_from_slice(text),
            Token::Literal(text) => {
                out.push(b'[');
                out.extend_from_slice(text);
                out.push(b']');
            }
            Token::Comment(_) => (),
            special => out.extend(special.byte()),
        }
    }
    out
}

/// Prints a field: `name: ` and the tokens, items separated by `, `. A line that would be longer
/// than 78 columns is broken after the comma before, and goes on after two blanks.
pub fn print(name: &[u8], tokens: &[Token]) -> Vec<u8> {
    let mut field = [name, b":"].concat();
    let mut line_start = 0usize;
    let mut last = Some(&Token::Colon);
    for (n, item) in tokens.split_inclusive(|t| *t == Token::Comma).enumerate() {
        let mut text = Vec::new();
        for token in item {
            if last.is_some_and(|last| needs_space(last, token)) {
                text.push(b' ');
            }
            token.print(&mut text);
            last = Some(token);
        }
        let columns = field.len().saturating_sub(line_start).saturating_add(text.len());
        if n > 0 && columns > COLUMNS {
            field.push(b'\n');
            line_start = field.len();
            field.push(b' ');
        }
        field.extend_from_slice(&text);
    }
    field.push(b'\n');
    field
}

/// Whether a blank stands between two tokens.
const fn needs_space(before: &Token, after: &Token) -> bool {
    match before {
        Token::Colon | Token::Comma => true,
        Token::Atom(_) | Token::Quote(_) | Token::Literal(_) | Token::Comment(_) => matches!(
            after,
            Token::Left | Token::Atom(_) | Token::Quote(_) | Token::Literal(_) | Token::Comment(_)
        ),
        Token::Left | Token::Right | Token::At | Token::Semi | Token::Dot => {
            matches!(after, Token::Left)
        }
    }
}

impl Token {
    /// The byte of a special; `None` for text.
    const fn byte(&self) -> Option<u8> {
        match self {
            Self::Left => Some(b'<'),
            Self::Right => Some(b'>'),
            Self::At => Some(b'@'),
            Self::Comma => Some(b','),
            Self::Semi => Some(b';'),
            Self::Colon => Some(b':'),
            Self::Dot => Some(b'.'),
            Self::Atom(_) | Self::Quote(_) | Self::Literal(_) | Self::Comment(_) => None,
        }
    }

    /// Appends the token as it is written in a field.
    fn print(&self, out: &mut Vec<u8>) {
        match self {
            Self::Atom(text) => out.extend_from_slice(text),
            Self::Quote(text) => enclose(out, b'"', text, b'"'),
            Self::Literal(text) => enclose(out, b'[', text, b']'),
            Self::Comment(text) => enclose(out, b'(', text, b')'),
            special => out.extend(special.byte()),
        }
    }
}

/// Appends text between two marks, with a backslash before what would end it.
fn enclose(out: &mut Vec<u8>, open: u8, text: &[u8], close: u8) {
    out.push(open);
    for &c in text {
        if matches!(c, b'"' | b'[' | b']' | b'(' | b')' | b'\\' | b'\r' | b'\n') {
            out.push(b'\\');
        }
        out.push(c);
    }
    out.push(close);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn again(text: &[u8]) -> Vec<u8> {
        let tokens = parse(text).unwrap();
        let printed = print(b"To", &tokens);
        let (_, value) = printed.split_at(3);
        assert_eq!(
            parse(value).unwrap(),
            tokens,
            "{:?}",
            alloc::string::String::from_utf8_lossy(text)
        );
        printed
    }

    #[test]
    fn blanks_disappear_and_marks_stay() {
        assert_eq!(again(b" a  @ b . c ,d@e"), b"To: a@b.c, d@e\n");
        assert_eq!(again(b"Joe  Q.  Doe<joe@x>"), b"To: Joe Q.Doe <joe@x>\n");
        assert_eq!(again(b"\"J. Doe \\(x\\)\" <j@x>"), b"To: \"J. Doe \\(x\\)\" <j@x>\n");
        assert_eq!(again(b"a@[1.2.3.4] (a (b) \\) c)"), b"To: a@[1.2.3.4] (a b \\) c)\n");
        assert_eq!(again(b"list: a, b;"), b"To: list: a, b;\n");
        assert_eq!(again(b"\"folded\n name\" <a@b>"), b"To: \"folded name\" <a@b>\n");
    }

    #[test]
    fn odd_words_are_printed_in_quotes() {
        assert_eq!(again(b"caf\xe9@x"), b"To: \"caf\xe9\"@x\n");
        assert_eq!(again(b"a\\,b@x"), b"To: \"a,b\"@x\n");
        assert_eq!(again(b"a)b"), b"To: \"a\\)b\"\n");
        assert_eq!(again(b"\"\"@x"), b"To: \"\"@x\n");
    }

    #[test]
    fn no_backslash_keeps_a_line_end() {
        assert_eq!(again(b"a\\\n b@x"), b"To: a b@x\n");
        assert_eq!(again(b"\"a\\\n\\\r b\"@x (c\\\n d)"), b"To: \"a b\"@x (c d)\n");
        assert_eq!(again(b"x@[l\\\n t]"), b"To: x@[l t]\n");
    }

    #[test]
    fn what_is_never_closed_is_refused() {
        for bad in [&b"(a"[..], b"\"a", b"[a", b"a ) b", b"]", b"\"a\\", b"(a (b)", b"(a\\"] {
            assert_eq!(parse(bad), Err(Unparsable), "{bad:?}");
        }
    }

    #[test]
    fn an_envelope_has_neither_quotes_nor_comments() {
        assert_eq!(unquote(&parse(b"\"q u\" @ h . o (c) [x]").unwrap()), b"q u@h.o[x]");
    }

    #[test]
    fn lines_are_broken_before_column_79() {
        let item = b"x@abcdefghijklmnopqrstuvwxyz012345678";
        let text = [&item[..], b", ", item, b",", item].concat();
        let want = [b"To: ", &item[..], b",\n  ", item, b", ", item, b"\n"].concat();
        assert_eq!(again(&text).len(), want.len());
        assert_eq!(again(&text), want);
        // 4 + 36 + 1 + 1 + 35 + 1 = 78 columns stay on one line, one more does not.
        let (long, short) = (&item[..36], &item[..35]);
        let text = [long, b",", short, b","].concat();
        assert_eq!(again(&text), [b"To: ", long, b", ", short, b",\n"].concat());
        let text = [long, b",", long, b","].concat();
        assert_eq!(again(&text), [b"To: ", long, b",\n  ", long, b",\n"].concat());
    }

    #[test]
    fn no_bytes_make_it_fall() {
        let marks = b"a\\\"()[]<>@,;:. \n";
        let mut seed = 1u32;
        for _ in 0..20_000 {
            let text: Vec<u8> = (0..12)
                .map(|_| {
                    seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    marks[(seed >> 16) as usize % marks.len()]
                })
                .collect();
            if let Ok(tokens) = parse(&text) {
                let printed = print(b"To", &tokens);
                assert_eq!(parse(&printed[3..]), Ok(tokens));
            }
        }
    }
}
