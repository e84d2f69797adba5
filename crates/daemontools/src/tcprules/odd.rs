//! Rules that are in order and that no client's connection is looked up by: nearly always a slip of the
//! pen. The rule goes into the database as ever, and is warned of.

/// The variables that limit the connections of an address: as the limits patch of tcpserver has it, and
/// as sslserver does.
pub(crate) const ADDRESS_LIMITS: [&[u8]; 2] = [b"MAXCONNIP", b"MAXCONIP"];
/// The one that limits those of a neighbourhood, by the same patch.
pub(crate) const NETWORK_LIMIT: &[u8] = b"MAXCONNC";
/// Others that programs read as numbers (qmail-smtpd, rblsmtpd).
const NUMBERS: [&[u8]; 2] = [b"DATABYTES", b"GREETDELAY"];

/// What is odd about an address that is no network `ADDRESS/BITS`. Clients are looked for as
/// `[INFO@]1.2.3.4`, `[INFO@]=host`, `1.2.`, `=.suffix`, `=` and nothing.
pub(super) fn address(text: &[u8]) -> Option<&'static str> {
    let at = text.iter().rposition(|&byte| byte == b'@');
    let info = at.is_some();
    let place = text.get(at.map_or(0, |at| at.saturating_add(1))..).unwrap_or_default();
    if place.iter().any(u8::is_ascii_whitespace) {
        return Some("a blank counts, and no client's address has one");
    }
    if place.contains(&b'*') {
        return Some("* stands for nothing here: write 192.0.2. or =.example.org");
    }
    match place.strip_prefix(b"=") {
        Some(_) => None,
        None if place.is_empty() && !info => None,
        None if place.contains(&b'/') => Some("this is no network, and no client's address"),
        None if place.iter().all(|c| c.is_ascii_digit() || *c == b'.') => numbers(place),
        None => Some("no client has this address: a host's name has a = before it"),
    }
}

/// What is odd about digits and dots.
fn numbers(place: &[u8]) -> Option<&'static str> {
    let (place, is_open) = match place.strip_suffix(b".") {
        Some(before) => (before, true),
        None => (place, false),
    };
    let mut parts = place.split(|&byte| byte == b'.');
    let in_bounds = |part: &[u8]| {
        let text = std::str::from_utf8(part).unwrap_or_default();
        text.parse::<u8>().is_ok_and(|number| number.to_string() == text)
    };
    if !parts.all(in_bounds) {
        return Some("no client has this address: its parts are numbers from 0 to 255");
    }
    match (place.split(|&byte| byte == b'.').count(), is_open) {
        (4, false) | (1..=3, true) => None,
        (1..=3, false) => {
            Some("no client has this address: a part of one ends with a dot, 192.0.2.")
        }
        _ => Some("no client has this address: it has four numbers, and no dot behind them"),
    }
}

/// What is odd about a rule's variables, as they stand in its value.
pub(super) fn variables(value: &[u8]) -> Option<&'static str> {
    value.split(|&byte| byte == 0).find_map(|item| {
        let item = item.strip_prefix(b"+")?;
        let (name, value) = item.split_at(item.iter().position(|&byte| byte == b'=')?);
        let number = value.get(1..).unwrap_or_default();
        if name.iter().any(u8::is_ascii_whitespace) {
            Some("a blank in a variable's name counts: programs do not look for that one")
        } else if is_limit(name) && !number.iter().all(u8::is_ascii_digit) {
            Some("MAXCONNIP and MAXCONNC are numbers: this one is no limit")
        } else if NUMBERS.contains(&name) && !number.iter().all(u8::is_ascii_digit) {
            Some("DATABYTES and GREETDELAY are numbers: only the digits in front count")
        } else {
            None
        }
    })
}

/// Whether a variable limits connections.
fn is_limit(name: &[u8]) -> bool {
    name == NETWORK_LIMIT || ADDRESS_LIMITS.contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_client_is_looked_up_by_is_odd() {
        for text in [
            "192.0.2",
            "192.168.1.*",
            "300.1.",
            "192.0.2. ",
            " 192.0.2.1",
            "foo.example.org",
            "=*.example.org",
            "1.2.3.4.",
            "1.2.3.4.5",
            "01.2.3.4",
            "1..2.",
            ".",
            "joe@",
            "joe@example.org",
            "10.0.0.0/33",
        ] {
            assert!(address(text.as_bytes()).is_some(), "{text}");
        }
    }

    #[test]
    fn what_clients_are_looked_up_by_is_not() {
        for text in ["", "127.", "10.20.30.", "1.2.3.4", "=", "=.example.org", "=a-b.example"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        for text in ["joe@1.2.3.4", "joe doe@=example.org", "a@b@127.0.0.1"] {
            assert_eq!(address(text.as_bytes()), None, "{text}");
        }
        assert_eq!(variables(b"D\0+A=b c\0+=x\0"), None);
        assert!(variables(b"+A=b\0+ B=c\0").is_some());
        assert_eq!(variables(b"+MAXCONNIP=5\0+MAXCONNC=\0"), None);
        assert!(variables(b"+A=b\0+MAXCONNIP=five\0").is_some());
        assert_eq!(variables(b"+GREETDELAY=5\0+DATABYTES=\0"), None);
        assert!(
            variables(b"+GREETDELAY=soon\0").is_some() && variables(b"+DATABYTES=10M\0").is_some()
        );
    }
}
