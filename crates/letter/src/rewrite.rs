//! What a local user's short addresses mean: `joe` is `joe@ourhost.ourdomain`.

use alloc::vec::Vec;

use base::address::{Address, quote2};

use crate::token822::{self, Token, Unparsable};

/// The hosts and domains that complete an address (`control/defaulthost` and its like).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rules {
    host: Vec<Token>,
    domain: Vec<Token>,
    plus: Vec<Token>,
}

impl Rules {
    /// Takes `defaulthost`, `defaultdomain` and `plusdomain`.
    ///
    /// # Errors
    /// The value that is no host name.
    pub fn new<'a>(host: &'a [u8], domain: &'a [u8], plus: &'a [u8]) -> Result<Self, &'a [u8]> {
        let parse = |mark, name: &'a [u8]| {
            let mut tokens = token822::parse(name).map_err(|Unparsable| name)?;
            tokens.insert(0, mark);
            Ok(tokens)
        };
        Ok(Self {
            host: parse(Token::At, host)?,
            domain: parse(Token::Dot, domain)?,
            plus: parse(Token::Dot, plus)?,
        })
    }

    /// Completes an address, in this order:
    ///
    /// 0. the empty address and `box@[]` are left alone;
    /// 1. a source route `@a,@b:`, one dot at the end and an `@` at the end go;
    /// 2. without an `@` it gets `@defaulthost`;
    /// 3. a host that ends in `+` gets `.plusdomain` instead;
    /// 4. a host without a dot, if it is not `[…]`, gets `.defaultdomain`.
    pub fn apply(&self, address: &mut Vec<Token>) {
        if let [.., Token::At, Token::Literal(text)] = address.as_slice()
            && text.is_empty()
        {
            return;
        }
        strip(address);
        if address.is_empty() {
            return;
        }
        if !address.contains(&Token::At) {
            address.extend_from_slice(&self.host);
        }
        if let Some(Token::Atom(word)) = address.last_mut()
            && word.ends_with(b"+")
        {
            word.pop();
            address.extend_from_slice(&self.plus);
        }
        let host = address.rsplit(|token| *token == Token::At).next().unwrap_or_default();
        if !host.iter().any(|token| matches!(token, Token::Dot | Token::Literal(_))) {
            address.extend_from_slice(&self.domain);
        }
    }

    /// Completes an address of a list and checks that it is one: no brackets, commas or colons
    /// inside, and bytes an envelope can carry.
    ///
    /// # Errors
    /// [`Unparsable`] if it is none.
    pub fn checked(&self, address: &mut Vec<Token>) -> Result<Address, Unparsable> {
        self.apply(address);
        let stray = |token: &Token| {
            matches!(token, Token::Comma | Token::Semi | Token::Colon | Token::Left | Token::Right)
        };
        if address.iter().any(stray) {
            return Err(Unparsable);
        }
        Address::new(token822::unquote(address)).map_err(|_| Unparsable)
    }

    /// Completes an address said on a command line, where the local part needs no quotes. A line end
    /// would be lost on the way through a header's grammar: nobody's address has one.
    ///
    /// # Errors
    /// [`Unparsable`] if it is none.
    pub fn argument(&self, text: &[u8]) -> Result<Address, Unparsable> {
        if text.iter().any(|&c| matches!(c, b'\n' | b'\r')) {
            return Err(Unparsable);
        }
        let mut tokens = token822::parse(&quote2(text))?;
        self.checked(&mut tokens)
    }
}

/// Takes away the source route, one dot and one `@` at the end.
fn strip(address: &mut Vec<Token>) {
    if address.first() == Some(&Token::At) {
        let route = address.iter().position(|token| *token == Token::Colon);
        let route = route.map_or(address.len(), |colon| colon.saturating_add(1));
        address.drain(..route);
    }
    address.pop_if(|last| *last == Token::Dot);
    address.pop_if(|last| *last == Token::At);
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::String;

    fn rewritten(text: &str) -> String {
        let rules = Rules::new(b"mx.example.org", b"mx.example.org", b"mx.example.org").unwrap();
        let mut tokens = token822::parse(text.as_bytes()).unwrap();
        let address = rules.checked(&mut tokens).unwrap();
        String::from_utf8(address.into_bytes()).unwrap()
    }

    #[test]
    fn short_addresses_are_completed() {
        for (short, whole) in [
            ("a", "a@mx.example.org"),
            ("b@host", "b@host.mx.example.org"),
            ("c@host.cs+", "c@host.cs.mx.example.org"),
            ("x@[1.2.3.4]", "x@[1.2.3.4]"),
            ("@r1,@r2:u@v", "u@v.mx.example.org"),
            ("foo@", "foo@mx.example.org"),
            ("x@y.", "x@y.mx.example.org"),
            ("@z.org", ""),
            ("", ""),
            ("#@[]", "#@[]"),
            ("a.b@c.d", "a.b@c.d"),
            ("a.b", "a.b@mx.example.org"),
            ("\"q u\"@h.o", "q u@h.o"),
        ] {
            assert_eq!(rewritten(short), whole, "{short}");
        }
    }

    #[test]
    fn a_default_host_is_itself_completed() {
        let rules = Rules::new(b"host", b"dom.org", b"plus.org").unwrap();
        let mut tokens = token822::parse(b"joe").unwrap();
        assert_eq!(rules.checked(&mut tokens).unwrap().as_bytes(), b"joe@host.dom.org");
        assert_eq!(Rules::new(b"a", b"(b", b"c"), Err(&b"(b"[..]));
    }

    #[test]
    fn an_argument_is_split_at_its_last_at_and_needs_no_quotes() {
        let rules = Rules::new(b"h.o", b"o", b"o").unwrap();
        let argument = |text: &[u8]| rules.argument(text).map(Address::into_bytes);
        assert_eq!(argument(b"a,b c@d.e"), Ok(b"a,b c@d.e".to_vec()));
        assert_eq!(argument(b"a@b@c.d"), Ok(b"a@b@c.d".to_vec()));
        assert_eq!(argument(b"joe"), Ok(b"joe@h.o".to_vec()));
        assert_eq!(argument(b""), Ok(Vec::new()));
        assert_eq!(argument(b"a@b,c"), Err(Unparsable));
        assert_eq!(argument(b"a@[1.2"), Err(Unparsable));
        for bad in [&b"a\0@b.c"[..], b"a\nb", b"a@b.c\n", b"\"a\\\nb\"@c.d", b"a@b\r.c"] {
            assert_eq!(argument(bad), Err(Unparsable), "{}", bad.escape_ascii());
        }
    }

    #[test]
    fn a_list_inside_brackets_is_no_address() {
        let rules = Rules::new(b"h.o", b"o", b"o").unwrap();
        for bad in [&b"a,b"[..], b"a:b@c", b"a;b", b"<a"] {
            assert_eq!(rules.checked(&mut token822::parse(bad).unwrap()), Err(Unparsable));
        }
    }
}
