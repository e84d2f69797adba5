//! One line of rules: `ADDRESS:allow|deny[,NAME=qVALUEq]...`.
//!
//! An address ends at the first colon, as ever. Where that makes no rule it may be one of IPv6, or a
//! network of such.

use super::odd;
use base::network::Network;
use std::net::{IpAddr, Ipv6Addr};

/// What a line is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Line<'a> {
    /// Empty, or a comment.
    Nothing,
    /// Text without a colon, which the original passes over silently.
    NoColon,
    /// No rule; the line without its trailing blanks, and why.
    Bad(&'a [u8], &'static str),
    /// A rule.
    Rule(Rule<'a>),
}

/// Which connections, and what for them.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Rule<'a> {
    /// What stands before a range's numbers, the numbers, and what stands after: one key each.
    spread: Option<(&'a [u8], std::ops::RangeInclusive<u32>, &'a [u8])>,
    address: Vec<u8>,
    /// The address is a network.
    pub(super) network: Option<Network>,
    /// What an administrator should know of the address, or of a variable.
    pub(super) odd: Option<&'static str>,
    /// The database's value: `D` for deny, `+NAME=VALUE` items, each with its NUL.
    pub(super) value: Vec<u8>,
}

impl<'a> Rule<'a> {
    /// The keys of the rule: the address, or one for each number of its range.
    pub(super) fn keys(&self) -> impl Iterator<Item = Vec<u8>> + use<'a> {
        let one = self.spread.is_none().then(|| self.address.clone());
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
    match value(rest.get(1..).unwrap_or_default()) {
        Ok(value) => plain(line, address, value),
        Err(why) => six(line).map_or(Line::Bad(line, why), Line::Rule),
    }
}

/// A rule whose address has no colon.
fn plain<'a>(line: &'a [u8], text: &'a [u8], value: Vec<u8>) -> Line<'a> {
    let Some(spread) = spread(text) else {
        return Line::Bad(line, "a range is of numbers, as 192.0.2.16-31");
    };
    let network = Network::parse(text);
    let address = network.map_or(text.to_vec(), |network| network.to_string().into_bytes());
    let odd = match (network, &spread) {
        (Some(_), _) if address != text => Some("more bits of the address are set than count"),
        (Some(_), _) => None,
        (None, None) => odd::address(text),
        (None, Some((before, numbers, after))) if !numbers.is_empty() => {
            let first = numbers.start().to_string();
            odd::address(&[before, first.as_bytes(), after].concat())
        }
        (None, Some(_)) => Some("the range is empty"),
    };
    let odd = odd.or_else(|| odd::variables(&value));
    Line::Rule(Rule { spread, address, network, odd, value })
}

/// A rule for an IPv6 address or network, behind `INFO@` perhaps: it ends at the last colon that
/// `allow` or `deny` follows.
fn six(line: &[u8]) -> Option<Rule<'_>> {
    let colons = line.iter().enumerate().filter(|(_, byte)| **byte == b':');
    let found = colons.filter_map(|(at, _)| {
        let (text, rest) = line.split_at(at);
        Some((text, value(rest.get(1..)?).ok()?))
    });
    found.filter_map(|(text, value)| six_rule(text, value)).next()
}

fn six_rule(text: &[u8], value: Vec<u8>) -> Option<Rule<'_>> {
    let at = text.iter().rposition(|&byte| byte == b'@').map_or(0, |at| at.saturating_add(1));
    let (info, ip) = text.split_at(at);
    let network = Network::parse(ip).filter(|_| info.is_empty());
    let canonical = match network {
        Some(network) => network.to_string(),
        None => {
            let ip = std::str::from_utf8(ip).ok()?.parse::<Ipv6Addr>().ok()?;
            IpAddr::from(ip).to_canonical().to_string()
        }
    };
    let address = [info, canonical.as_bytes()].concat();
    let odd = odd::variables(&value);
    Some(Rule { spread: None, address, network, odd, value })
}

/// The value of what stands after the colon, or why it is none.
fn value(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut value = Vec::new();
    let mut rest = if let Some(rest) = text.strip_prefix(b"deny") {
        value.extend(b"D\0");
        rest
    } else {
        text.strip_prefix(b"allow").ok_or("after the first colon stands neither allow nor deny")?
    };
    while !rest.is_empty() {
        let item =
            rest.strip_prefix(b",").ok_or("between two parts there must be a comma alone")?;
        rest = variable(item, &mut value).ok_or("a variable is NAME=\"VALUE\", in any quotes")?;
    }
    Ok(value)
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
            "::allow",
            "1:2:allow",
            "::g:allow",
            "::/129:allow",
            "2001:db8::1:alow",
        ] {
            let Line::Bad(bad, _) = parse(line.as_bytes()) else { panic!("{line}") };
            assert_eq!(bad, line.as_bytes());
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

    #[test]
    fn an_ipv6_address_may_hold_colons_and_is_written_in_one_way() {
        assert_eq!(keys("::1:allow"), ["::1"]);
        assert_eq!(keys(":::deny"), ["::"]);
        assert_eq!(keys("2001:DB8:0:0::5:allow,A=\":allow\""), ["2001:db8::5"]);
        assert_eq!(keys("joe@::1:deny"), ["joe@::1"]);
        assert_eq!(keys("::ffff:192.0.2.1:deny"), ["192.0.2.1"]);
        assert_eq!(value_of("2001:db8::5:allow,A=\"::1:deny\""), b"+A=::1:deny\0");
    }

    #[test]
    fn networks_are_written_with_the_bits_that_count_and_told_if_odd() {
        let rule = |line: &'static str| match parse(line.as_bytes()) {
            Line::Rule(rule) => (keys(line), rule.network.is_some(), rule.odd.is_some()),
            other => panic!("{other:?}"),
        };
        assert_eq!(rule("10.0.0.0/8:deny"), (vec!["10.0.0.0/8".to_owned()], true, false));
        assert_eq!(rule("10.0.0.1/8:deny"), (vec!["10.0.0.0/8".to_owned()], true, true));
        assert_eq!(rule("2001:db8::/32:deny"), (vec!["2001:db8::/32".to_owned()], true, false));
        assert_eq!(rule("10.0.0.0/33:deny"), (vec!["10.0.0.0/33".to_owned()], false, true));
        assert_eq!(rule("=a/b:deny"), (vec!["=a/b".to_owned()], false, false));
    }
}
