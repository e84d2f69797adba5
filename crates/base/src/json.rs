//! JSON (RFC 8259), written: for whoever reads our facts with a program.

use alloc::string::{String, ToString};

/// An object, member by member, in the order in which they are said.
#[derive(Clone, Debug, Default)]
pub struct Object(String);

impl Object {
    /// An object without members.
    pub fn new() -> Self {
        Self::default()
    }

    /// With a text; what is no UTF-8 in it becomes U+FFFD.
    #[must_use]
    pub fn text(self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.json(name, &string(value))
    }

    /// With a number.
    #[must_use]
    pub fn number(self, name: &str, value: u64) -> Self {
        self.json(name, &value.to_string())
    }

    /// With `true` or `false`.
    #[must_use]
    pub fn truth(self, name: &str, value: bool) -> Self {
        self.json(name, if value { "true" } else { "false" })
    }

    /// With a value that is JSON already: an [`array`], another object, `null`.
    #[must_use]
    pub fn json(mut self, name: &str, value: &str) -> Self {
        self.0.push(if self.0.is_empty() { '{' } else { ',' });
        self.0.push_str(&string(name));
        self.0.push(':');
        self.0.push_str(value);
        self
    }

    /// The whole of it, on one line.
    #[must_use]
    pub fn end(mut self) -> String {
        self.0.push_str(if self.0.is_empty() { "{}" } else { "}" });
        self.0
    }
}

/// An array of values that are JSON already.
pub fn array(values: impl IntoIterator<Item = String>) -> String {
    let mut out = String::from("[");
    for value in values {
        if out.len() > 1 {
            out.push(',');
        }
        out.push_str(&value);
    }
    out.push(']');
    out
}

/// A text in quotes; what is no UTF-8 in it becomes U+FFFD (RFC 8259 §7).
pub fn string(text: impl AsRef<[u8]>) -> String {
    let mut out = String::from("\"");
    for c in String::from_utf8_lossy(text.as_ref()).chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            // DEL and C1 are no use on a terminal either.
            c if c.is_control() => {
                out.push_str("\\u");
                for shift in [12, 8, 4, 0] {
                    let digit = (u32::from(c) >> shift) & 15;
                    out.push(char::from_digit(digit, 16).unwrap_or('0'));
                }
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_says_its_members_in_order() {
        let inner = array([string("a"), Object::new().end()]);
        let all = Object::new().text("name", "x").number("n", 7).truth("up", true);
        assert_eq!(
            all.json("more", &inner).json("end", "null").end(),
            r#"{"name":"x","n":7,"up":true,"more":["a",{}],"end":null}"#
        );
    }

    #[test]
    fn whatever_a_text_holds_it_stays_one_string() {
        assert_eq!(string("a\"b\\c\n\t\u{7f}é"), "\"a\\\"b\\\\c\\n\\u0009\\u007fé\"");
        assert_eq!(string(b"\xff<\0>"), "\"\u{fffd}<\\u0000>\"");
        assert_eq!(array([]), "[]");
    }
}
