//! One line of rules: `ADDRESS:allow|deny[,NAME=qVALUEq]...`.

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Empty, or a comment.
    Nothing,
    /// Text without a colon, which the original passes over silently.
    NoColon,
    /// No rule; the line without its trailing blanks.
    Bad(&'a [u8]),
    /// A rule.
    Rule(Rule<'a>),
}

/// Which connections, and what for them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule<'a> {
    /// What stands before a range's numbers, the numbers, and what stands after: one key each.
    spread: Option<(&'a [u8], std::ops::RangeInclusive<u32>, &'a [u8])>,
    address: &'a [u8],
    /// The database's value: `D` for deny, `+NAME=VALUE` items, each with its NUL.
    pub(super) value: Vec<u8>,
}

impl<'a> Rule<'a> {
    /// The keys of the rule: the address, or one for each number of its range.
    pub(super) fn keys(&self) -> impl Iterator<Item = Vec<u8>> + use<'a> {
        let one = self.spread.is_none().then(|| self.address.to_vec());
        let many = self.spread.clone().into_iter().flat_map(|(before, numbers, after)| {
            numbers.map(move |n| [before, n.to_string().as_bytes(), after].concat())
        });
        one.into_iter().chain(many)
    }
}

/// Reads a line without its newline.
pub(super) fn parse(line: &[u8]) -> Line<'_> {
    if line.starts_with(b"#") {
        return Line::Nothing;
    }
    let blank = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n');
    let end = line.iter().rposition(|byte| !blank(byte)).map_or(0, |last| last.saturating_add(1));
    let line = line.get(..end).unwrap_or_default();
    if line.is_empty() {
        return Line::Nothing;
    }
    let Some(colon) = line.iter().position(|&byte| byte == b':') else { return Line::NoColon };
    let (address, rest) = line.split_at(colon);
    let rule = rest.get(1..).and_then(value).zip(spread(address));
    rule.map_or(Line::Bad(line), |(value, spread)| Line::Rule(Rule { spread, address, value }))
}

/// The value of what stands after the colon.
fn value(text: &[u8]) -> Option<Vec<u8>> {
    let mut value = Vec::new();
    let mut rest = match text.strip_prefix(b"deny") {
        Some(rest) => {
            value.extend(b"D\0");
            rest
        }
        None => text.strip_prefix(b"allow")?,
    };
    while !rest.is_empty() {
        rest = variable(rest.strip_prefix(b",")?, &mut value)?;
    }
    Some(value)
}

/// One `NAME=qVALUEq`, and what follows it.
fn variable<'a>(text: &'a [u8], value: &mut Vec<u8>) -> Option<&'a [u8]> {
    let equals = text.iter().position(|&byte| byte == b'=')?;
    let (name, rest) = text.split_at(equals);
    let (quote, rest) = rest.get(1..)?.split_first()?;
    let end = rest.iter().position(|byte| byte == quote)?;
    let (inside, rest) = rest.split_at(end);
    value.extend([b"+", name, b"=", inside, b"\0"].concat());
    rest.get(1..)
}

type Spread<'a> = (&'a [u8], std::ops::RangeInclusive<u32>, &'a [u8]);

/// The range in an address, as far as it has one; `None` if its bounds are no numbers.
fn spread(address: &[u8]) -> Option<Option<Spread<'_>>> {
    let dash = address.iter().position(|&byte| byte == b'-');
    let Some(dash) = dash.filter(|_| !address.iter().any(|byte| matches!(byte, b'=' | b'@')))
    else {
        return Some(None);
    };
    let (before, after) = address.split_at(dash);
    let start =
        before.iter().rposition(|&byte| byte == b'.').map_or(0, |dot| dot.saturating_add(1));
    let (before, low) = before.split_at(start);
    let after = after.get(1..).unwrap_or_default();
    let end = after.iter().position(|&byte| byte == b'.').unwrap_or(after.len());
    let (high, after) = after.split_at(end);
    Some(Some((before, number(low)?..=number(high)?.min(255), after)))
}

/// Digits as a number, none as 0; saturates, since no bound is above 255.
fn number(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0_u32, |sum, byte| {
        let digit = char::from(*byte).to_digit(10)?;
        Some(sum.saturating_mul(10).saturating_add(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys(line: &str) -> Vec<String> {
        match parse(line.as_bytes()) {
            Line::Rule(rule) => rule.keys().map(|key| String::from_utf8(key).unwrap()).collect(),
            other => panic!("{other:?}"),
        }
    }

    fn value_of(line: &str) -> Vec<u8> {
        match parse(line.as_bytes()) {
            Line::Rule(rule) => rule.value,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn comments_and_empty_lines_are_nothing_and_blanks_at_the_end_go() {
        assert_eq!(parse(b""), Line::Nothing);
        assert_eq!(parse(b" \t"), Line::Nothing);
        assert_eq!(parse(b"#x:allow"), Line::Nothing);
        assert_eq!(parse(b" #x"), Line::NoColon);
        assert_eq!(value_of("1.2.3.4:deny \t"), b"D\0");
    }

    #[test]
    fn variables_have_any_quote_and_keep_commas_and_colons() {
        assert_eq!(value_of(r#":allow,A="x,y:z",=/ /,B="""#), b"+A=x,y:z\0+= \0+B=\0");
        assert_eq!(value_of(":deny,A=aba"), b"D\0+A=b\0");
    }

    #[test]
    fn what_is_no_rule_is_bad() {
        for line in [
            "1.2.3.4:foo",
            "a:allow,",
            "a:allow,X",
            r#"a:allow,X="v"#,
            r#"a:allow,X="a"b"#,
            "a: allow",
            "a:allowed",
            "1.a-5:allow",
            "1.2-3-4:allow",
        ] {
            assert_eq!(parse(line.as_bytes()), Line::Bad(line.as_bytes()), "{line}");
        }
    }

    #[test]
    fn a_range_is_one_key_for_each_number() {
        assert_eq!(keys("1.2.3.37-39:deny"), ["1.2.3.37", "1.2.3.38", "1.2.3.39"]);
        assert_eq!(keys("10.2-3.:deny"), ["10.2.", "10.3."]);
        assert_eq!(keys("1-2:deny"), ["1", "2"]);
        assert_eq!(keys("10.2-3.4-5.:deny"), ["10.2.4-5.", "10.3.4-5."]);
        assert_eq!(keys("1.254-999999999999:deny"), ["1.254", "1.255"]);
        assert_eq!(keys("1.-1:deny"), ["1.0", "1.1"]);
        assert_eq!(keys("5-4:deny"), Vec::<String>::new());
        assert_eq!(keys("5-:deny"), Vec::<String>::new());
    }

    #[test]
    fn names_and_users_may_hold_a_dash() {
        assert_eq!(keys("=a-b.example:deny"), ["=a-b.example"]);
        assert_eq!(keys("joe@1-2:deny"), ["joe@1-2"]);
    }
}
