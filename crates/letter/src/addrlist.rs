//! Address lists, read from right to left: then an address is known by what ends it.

use alloc::vec::Vec;

use crate::token822::{Token, Unparsable};

/// Walks through the addresses of a list, the right-most first, and lets `each` rewrite them (and
/// note them). The list as it reads afterwards: names, comments and groups stay, two words
/// without a comma between them get one.
///
/// # Errors
/// [`Unparsable`] if the tokens are no list, or `each` says so.
pub fn rewrite(
    tokens: Vec<Token>,
    each: impl FnMut(&mut Vec<Token>) -> Result<(), Unparsable>,
) -> Result<Vec<Token>, Unparsable> {
    let mut walk = Walk {
        left: tokens,
        out: Vec::new(),
        address: Vec::new(),
        in_group: false,
        word_may_join: true,
        each,
    };
    while let Some(token) = walk.left.pop() {
        walk.step(token)?;
    }
    walk.flush()?;
    walk.out.reverse();
    Ok(walk.out)
}

/// The walk; `out` and `address` are back to front.
struct Walk<F> {
    left: Vec<Token>,
    out: Vec<Token>,
    address: Vec<Token>,
    in_group: bool,
    /// Whether a word belongs to the address on its right; else a comma is missing.
    word_may_join: bool,
    each: F,
}

impl<F: FnMut(&mut Vec<Token>) -> Result<(), Unparsable>> Walk<F> {
    fn step(&mut self, token: Token) -> Result<(), Unparsable> {
        match token {
            Token::Semi => self.group_ends(),
            Token::Colon => self.group_begins(),
            Token::Right => self.bracketed(),
            Token::Atom(_) | Token::Quote(_) | Token::Literal(_) => {
                if !self.word_may_join {
                    self.flush_comma()?;
                }
                self.word_may_join = false;
                self.address.push(token);
                Ok(())
            }
            // A comment is as good as a blank.
            Token::Comment(_) => {
                self.out.push(token);
                Ok(())
            }
            Token::Comma => {
                self.flush()?;
                self.word_may_join = true;
                self.out.push(token);
                Ok(())
            }
            Token::At | Token::Dot => {
                self.word_may_join = true;
                self.address.push(token);
                Ok(())
            }
            Token::Left => Err(Unparsable),
        }
    }

    /// `;`
    fn group_ends(&mut self) -> Result<(), Unparsable> {
        if self.in_group {
            return Err(Unparsable);
        }
        self.flush_comma()?;
        self.in_group = true;
        self.word_may_join = true;
        self.out.push(Token::Semi);
        Ok(())
    }

    /// `:` and the group's name, up to the comma before it.
    fn group_begins(&mut self) -> Result<(), Unparsable> {
        if !self.in_group {
            return Err(Unparsable);
        }
        self.flush()?;
        self.in_group = false;
        self.word_may_join = true;
        self.out.push(Token::Colon);
        while let Some(token) = self.left.pop() {
            let ends = token == Token::Comma;
            self.out.push(token);
            if ends {
                break;
            }
        }
        Ok(())
    }

    /// `<…>` and the name before it.
    fn bracketed(&mut self) -> Result<(), Unparsable> {
        if self.address.is_empty() && !self.word_may_join {
            self.out.push(Token::Comma);
        }
        self.flush_comma()?;
        self.out.push(Token::Right);
        loop {
            match self.left.pop().ok_or(Unparsable)? {
                Token::Left => break,
                token => self.address.push(token),
            }
        }
        // This is an address even if it is empty.
        self.take()?;
        self.out.push(Token::Left);
        while let Some(token) = self.left.pop_if(|token| is_phrase(token)) {
            self.out.push(token);
        }
        self.word_may_join = false;
        Ok(())
    }

    /// Ends the address being read, if there is one, where a comma belongs on its left.
    fn flush_comma(&mut self) -> Result<(), Unparsable> {
        if self.address.is_empty() {
            return Ok(());
        }
        self.take()?;
        self.out.push(Token::Comma);
        Ok(())
    }

    /// Ends the address being read, if there is one.
    fn flush(&mut self) -> Result<(), Unparsable> {
        if self.address.is_empty() { Ok(()) } else { self.take() }
    }

    /// Hands over the address and puts what it became in its place.
    fn take(&mut self) -> Result<(), Unparsable> {
        self.address.reverse();
        (self.each)(&mut self.address)?;
        self.out.extend(self.address.drain(..).rev());
        Ok(())
    }
}

/// Whether a token may belong to the name before `<`.
const fn is_phrase(token: &Token) -> bool {
    matches!(token, Token::Comment(_) | Token::Atom(_) | Token::Quote(_) | Token::At | Token::Dot)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token822::{parse, print, unquote};
    use alloc::string::String;

    /// The list as printed, and its addresses as they were met.
    fn list(text: &str) -> Option<(String, Vec<String>)> {
        let mut met = Vec::new();
        let tokens = rewrite(parse(text.as_bytes()).ok()?, |address| {
            met.push(String::from_utf8(unquote(address)).unwrap());
            Ok(())
        });
        Some((String::from_utf8(print(b"To", &tokens.ok()?)).unwrap(), met))
    }

    fn reads(text: &str, printed: &str, met: &[&str]) {
        let (p, m) = list(text).unwrap();
        assert_eq!(
            (p.as_str().trim_end(), m.iter().map(String::as_str).collect()),
            (printed, met.to_vec())
        );
    }

    #[test]
    fn the_right_most_address_comes_first() {
        reads("a@b, c@d", "To: a@b, c@d", &["c@d", "a@b"]);
        reads("A B <a@b> (x), c", "To: A B <a@b>(x), c", &["c", "a@b"]);
        reads("", "To:", &[]);
        reads(" , ", "To: ,", &[]);
        reads("<>", "To: <>", &[""]);
    }

    #[test]
    fn words_without_a_comma_get_one() {
        reads("zz yy", "To: zz, yy", &["yy", "zz"]);
        reads("a@b c@d", "To: a@b, c@d", &["c@d", "a@b"]);
        reads("<a@b> c@d", "To: <a@b>, c@d", &["c@d", "a@b"]);
        reads("<a@b> <c@d>", "To: <a@b>, <c@d>", &["c@d", "a@b"]);
        reads("a . b @ c", "To: a.b@c", &["a.b@c"]);
    }

    #[test]
    fn groups_are_walked_into() {
        reads("us: a@b, C <c@d>;, e", "To: us: a@b, C <c@d>;, e", &["e", "c@d", "a@b"]);
        reads("f, nobody: ;", "To: f, nobody: ;", &["f"]);
        reads("a; b", "To: a;, b", &["b", "a"]);
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for bad in ["undisclosed:", "a: b", "a;;", "a>", "<a", "<a<b>"] {
            assert_eq!(list(bad), None, "{bad}");
        }
    }
}
