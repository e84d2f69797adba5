//! Who writes a letter.

use alloc::vec::Vec;

use base::address::{Address, needs_quotes};

use crate::rewrite::Rules;
use crate::token822::{self, Token, Unparsable};

/// Who writes a letter, for the fields and the envelope that do not say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Person<'a> {
    /// The local part, unquoted.
    pub user: &'a [u8],
    /// The host, to be completed.
    pub host: &'a [u8],
    /// The full name, if he has one.
    pub name: Option<&'a [u8]>,
    /// Whether the name follows in parentheses instead of standing before.
    pub as_comment: bool,
}

impl Person<'_> {
    /// The address as tokens, and checked.
    fn complete(&self, rules: &Rules) -> Result<(Vec<Token>, Address), Unparsable> {
        let user = self.user.to_vec();
        let mut tokens =
            Vec::from([if needs_quotes(&user) { Token::Quote(user) } else { Token::Atom(user) }]);
        tokens.push(Token::At);
        tokens.extend(token822::parse(self.host)?);
        let address = rules.checked(&mut tokens)?;
        Ok((tokens, address))
    }

    /// The address, completed.
    ///
    /// # Errors
    /// [`Unparsable`] if it is none.
    pub fn address(&self, rules: &Rules) -> Result<Address, Unparsable> {
        self.complete(rules).map(|(_, address)| address)
    }

    /// A field called `field` with address and name.
    ///
    /// # Errors
    /// [`Unparsable`] if the address is none.
    pub fn field(&self, field: &[u8], rules: &Rules) -> Result<Vec<u8>, Unparsable> {
        let (mut tokens, _) = self.complete(rules)?;
        // A line end in a name could begin another field.
        let blank = |&c: &u8| if c.is_ascii_control() { b' ' } else { c };
        let Some(name) = self.name else { return Ok(token822::print(field, &tokens)) };
        let name: Vec<u8> = name.iter().map(blank).collect();
        if self.as_comment {
            tokens.push(Token::Comment(name));
        } else {
            tokens.splice(..0, [Token::Quote(name), Token::Left]);
            tokens.push(Token::Right);
        }
        Ok(token822::print(field, &tokens))
    }
}
