//! Destinations that get no mail for a while: `control/pauses`, which qmail-send reads on HUP.

use std::net::Ipv4Addr;

use base::json::{Object, array};
use store::control::{Control, Map};
use store::home::Home;
use store::users::Routing;

use crate::accounts::lock;
use crate::domains::{checked, read};
use crate::permissions::replace;
use crate::print::say;
use crate::{Trouble, reload, steer};

/// The longest pause with an end, seconds: a hundred years.
const LONGEST: u64 = 100 * 365 * 86_400;

/// Pauses a domain (`.domain`: those below it) for a duration, or until it is resumed.
pub(crate) fn pause(home: &Home, domain: &str, duration: &[String]) -> Result<(), Trouble> {
    let domain = destination(domain)?;
    goes_elsewhere(home, &domain)?;
    let seconds = match duration {
        [] => None,
        [time] => Some(seconds(time)?),
        [word, time] if word == "for" => Some(seconds(time)?),
        _ => return Err("a pause is: pause DOMAIN [for DURATION], as in: for 2h".into()),
    };
    let now = sys::clock::now().secs();
    let until = seconds.map_or(String::new(), |time| now.saturating_add(time).to_string());
    // A file that qmail-send does not read pauses nothing.
    steer::check(home, "not paused")?;
    rewrite(home, &domain, Some(&until))?;
    reload::read_again(home)?;
    match seconds {
        Some(time) => say!("Pausing mail to {domain} for {}.", lasting(time)),
        None => say!("Pausing mail to {domain} until it is resumed."),
    }
    Ok(())
}

/// Ends a pause.
pub(crate) fn resume(home: &Home, domain: &str) -> Result<(), Trouble> {
    let domain = destination(domain)?;
    steer::check(home, "not resumed")?;
    if !rewrite(home, &domain, None)? {
        return Err(format!("mail to {domain} is not paused"));
    }
    reload::read_again(home)?;
    say!("Resuming mail to {domain}.");
    Ok(())
}

/// The pauses as they stand in the file.
pub(crate) fn all(home: &Home) -> Result<Map, Trouble> {
    let pauses = Control::new(home).map("pauses").map_err(|e| e.to_string())?;
    Ok(pauses.unwrap_or_default())
}

/// Prints every pause that is in force.
pub(crate) fn show(pauses: &Map) -> Result<(), Trouble> {
    let now = sys::clock::now().secs();
    for (domain, until) in pauses.iter() {
        let (domain, until) = (String::from_utf8_lossy(domain), String::from_utf8_lossy(until));
        if in_force(&until, now) {
            let end = match until.parse::<u64>() {
                Ok(until) => format!("for {} more", lasting(until.saturating_sub(now))),
                Err(_) if until.is_empty() => "until it is resumed".into(),
                Err(_) => format!("({until} in control/pauses is not a time: mend it)"),
            };
            say!("mail to {domain} is paused {end}");
        }
    }
    Ok(())
}

/// Every pause that is in force, as JSON: `until` is seconds since 1970, `null` until it is resumed.
pub(crate) fn json(pauses: &Map) -> String {
    let now = sys::clock::now().secs();
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    let told = pauses.iter().map(|(domain, until)| (text(domain), text(until)));
    array(told.filter(|(_, until)| in_force(until, now)).map(|(domain, until)| {
        let pause = Object::new().text("domain", domain);
        match until.parse::<u64>() {
            Ok(time) => pause.number("until", time).end(),
            Err(_) if until.is_empty() => pause.json("until", "null").end(),
            Err(_) => pause.text("trouble", format!("{until} is not a time")).end(),
        }
    }))
}

/// A domain, with a dot in front all that are below one, or an address of a host as in
/// `[10.0.0.1]`; a dot behind it says nothing.
fn destination(domain: &str) -> Result<String, Trouble> {
    let domain = plain(domain);
    let literal = domain.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    if literal.is_some_and(|address| address.parse::<Ipv4Addr>().is_ok()) {
        return Ok(domain.to_owned());
    }
    let name = domain.strip_prefix('.').unwrap_or(domain);
    let dot = if name.len() < domain.len() { "." } else { "" };
    checked(name).map(|name| format!("{dot}{name}"))
}

/// A domain without the dot that may end it.
fn plain(domain: &str) -> &str {
    domain.strip_suffix('.').filter(|domain| !domain.is_empty()).unwrap_or(domain)
}

/// Refuses a domain whose mail is delivered here: nothing of it would wait.
fn goes_elsewhere(home: &Home, domain: &str) -> Result<(), Trouble> {
    let routing = Routing::load(&Control::new(home)).map_err(|e| e.to_string())?;
    let file = if routing.locals.contains(domain.as_bytes()) {
        "locals"
    } else if routing.prefix(domain.as_bytes()).is_some() {
        "virtualdomains"
    } else {
        return Ok(());
    };
    Err(format!(
        "mail to {domain} is delivered here, see control/{file}: only mail to other hosts can be paused"
    ))
}

fn in_force(until: &str, now: u64) -> bool {
    // What qmail-send cannot read stays, so that it is seen.
    until.is_empty() || until.parse().map_or(true, |until: u64| until > now)
}

/// Seconds of `90`, `90s`, `15m`, `2h`, `3d` or `1w`.
fn seconds(time: &str) -> Result<u64, Trouble> {
    let digits = time.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match time.strip_prefix(digits) {
        Some("" | "s") => 1,
        Some("m") => 60,
        Some("h") => 3_600,
        Some("d") => 86_400,
        Some("w") => 604_800,
        _ => 0,
    };
    let seconds = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(unit));
    seconds
        .filter(|time| (1..=LONGEST).contains(time))
        .ok_or_else(|| format!("{time} is not a duration: write 90s, 15m, 2h, 3d or 1w"))
}

/// How long a pause will last, in its two largest units; what is less than one of the smaller is left
/// out.
fn lasting(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds} s"),
        60..3_600 => pair(seconds / 60, "min", seconds % 60, "s"),
        3_600..86_400 => pair(seconds / 3_600, "h", seconds / 60 % 60, "min"),
        _ => pair(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

/// `2 h 1 min`, or `2 h`.
fn pair(many: u64, unit: &str, few: u64, smaller: &str) -> String {
    match few {
        0 => format!("{many} {unit}"),
        _ => format!("{many} {unit} {few} {smaller}"),
    }
}

/// Replaces or removes the line of a domain, and leaves out those whose time is over; whether the
/// domain had one.
fn rewrite(home: &Home, domain: &str, until: Option<&str>) -> Result<bool, Trouble> {
    let _lock = lock(home)?;
    let file = home.path("control/pauses");
    let before = read(&file)?;
    let (text, had) = edited(&before, domain, until, sys::clock::now().secs());
    replace(&file, 0o644, text.as_bytes())?;
    Ok(had)
}

/// The file with the line of a domain replaced or removed, and whether there was one.
fn edited(text: &str, domain: &str, until: Option<&str>, now: u64) -> (String, bool) {
    let (mut out, mut had) = (String::new(), false);
    for line in text.lines() {
        let kept = match line.trim_end().split_once(':') {
            Some((key, value)) if !line.starts_with('#') => {
                let same = plain(key).eq_ignore_ascii_case(domain);
                had |= same;
                !same && in_force(value.trim(), now)
            }
            _ => true,
        };
        if kept {
            out.push_str(line);
            out.push('\n');
        }
    }
    if let Some(until) = until {
        out.push_str(&format!("{domain}:{until}\n"));
    }
    (out, had)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_has_a_number_and_a_unit() {
        let read = ["90", "15m", "2h", "3d", "1w"].map(|time| seconds(time).unwrap());
        assert_eq!(read, [90, 900, 7_200, 259_200, 604_800]);
        for bad in ["", "h", "0h", "2 h", "-1h", "2x", "99999999999999999999d", "9999999999d"] {
            assert!(seconds(bad).unwrap_err().contains("write 90s"), "{bad:?}");
        }
    }

    #[test]
    fn a_domain_or_all_below_it_can_be_paused() {
        assert_eq!(destination(".Example.ORG"), Ok(".example.org".into()));
        assert!(destination("..org").is_err() && destination(".").is_err());
    }

    #[test]
    fn a_file_keeps_what_is_in_force_and_one_line_for_each_domain() {
        let text = "# mine\na.org:50\nB.org:\nc.org:150\nd.org:x\n";
        let (out, had) = edited(text, "b.org", Some("200"), 100);
        assert_eq!((&out[..], had), ("# mine\nc.org:150\nd.org:x\nb.org:200\n", true));
        assert_eq!(edited("", "b.org", None, 100), (String::new(), false));
    }

    #[test]
    fn a_destination_is_a_domain_all_below_one_or_a_hosts_address() {
        let read =
            ["A.org.", ".a.org", "a.org", "[10.0.0.1]"].map(|name| destination(name).unwrap());
        assert_eq!(read, ["a.org", ".a.org", "a.org", "[10.0.0.1]"]);
        for bad in ["", ".", "..", "a..", "[a]", "[10.0.0.1", "[::1]", "*", "a@b"] {
            assert!(destination(bad).is_err(), "{bad:?}");
        }
        assert_eq!(edited("a.org.:\n", "a.org", None, 0), (String::new(), true));
    }

    #[test]
    fn how_long_a_pause_lasts_is_said_roughly() {
        let said = [59, 60, 90, 3_599, 3_600, 7_200, 7_260, 86_400, 90_000].map(lasting);
        let want = [
            "59 s",
            "1 min",
            "1 min 30 s",
            "59 min 59 s",
            "1 h",
            "2 h",
            "2 h 1 min",
            "1 d",
            "1 d 1 h",
        ];
        assert_eq!(said, want);
    }
}
