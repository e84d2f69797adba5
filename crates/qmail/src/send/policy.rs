//! What an administrator says of destinations and senders: `concurrencydestination`, `pauses` and
//! `priority`, read at the start and on HUP.

use std::collections::BTreeMap;

use base::address::split;
use base::time::Moment;
use store::control::{Control, Row};

/// Deliveries at a time to one remote domain, unless `concurrencydestination` says otherwise.
const MOST: u32 = 20;
/// A letter to more recipients than this is a list's, whoever sends it.
const MANY: usize = 50;
/// The end of a pause without an end.
pub(super) const FOR_EVER: Moment = Moment::from_micros(u64::MAX);

/// Whose letter it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// Somebody's to somebody.
    People,
    /// A bounce.
    Bounces,
    /// One of many alike.
    Lists,
}

/// The three files.
#[derive(Clone, Debug, Default)]
pub(super) struct Policy {
    limits: BTreeMap<Vec<u8>, u32>,
    pauses: BTreeMap<Vec<u8>, Moment>,
    classes: BTreeMap<Vec<u8>, Class>,
}

/// A file that cannot be used.
#[derive(Debug)]
pub(super) struct BadPolicy {
    /// As the log names it: `control/pauses`.
    pub(super) file: String,
    /// What is wrong, and how to mend it.
    pub(super) why: String,
}

impl Policy {
    /// Reads the files; one that is not there says nothing.
    ///
    /// # Errors
    /// One cannot be read, or says what cannot be meant.
    pub(super) fn load(control: &Control) -> Result<Self, BadPolicy> {
        let (limits, pauses, classes) = (limits(control)?, pauses(control)?, classes(control)?);
        Ok(Self { limits, pauses, classes })
    }

    /// Deliveries at a time to a domain (in lower case).
    pub(super) fn most(&self, domain: &[u8]) -> u32 {
        keys(domain).find_map(|key| self.limits.get(key)).copied().unwrap_or(MOST)
    }

    /// When a domain (in lower case) may have letters; the epoch if it is not paused.
    pub(super) fn paused(&self, domain: &[u8]) -> Moment {
        if self.most(domain) == 0 {
            return FOR_EVER;
        }
        keys(domain).filter_map(|key| self.pauses.get(key)).copied().max().unwrap_or_default()
    }

    /// Whose letter this is.
    pub(super) fn class(&self, sender: &[u8], recipients: usize) -> Class {
        self.said(sender).unwrap_or_else(|| guess(sender, recipients))
    }

    fn said(&self, sender: &[u8]) -> Option<Class> {
        if self.classes.is_empty() {
            return None;
        }
        let sender = plain(sender).to_ascii_lowercase();
        let domain = split(&sender).1.unwrap_or_default();
        // The empty key stands for senders with a domain: a bounce stays a bounce.
        let keys = keys(domain).filter(|key| !key.is_empty() || !domain.is_empty());
        std::iter::once(&sender[..])
            .filter(|sender| !sender.is_empty())
            .chain(keys)
            .find_map(|key| self.classes.get(key))
            .copied()
    }
}

/// A domain without the dot that may end it.
pub(super) fn plain(domain: &[u8]) -> &[u8] {
    domain.strip_suffix(b".").filter(|domain| !domain.is_empty()).unwrap_or(domain)
}

/// What stands for a domain in a file: itself, each `.suffix` of it, nothing.
fn keys(domain: &[u8]) -> impl Iterator<Item = &[u8]> {
    let dots = domain.iter().enumerate().filter(|&(at, &c)| c == b'.' && at > 0);
    let suffixes = dots.filter_map(|(at, _)| domain.get(at..));
    std::iter::once(domain).chain(suffixes).chain(std::iter::once(&b""[..]))
}

/// Without a word from the administrator: bounces have no sender, lists have one for each reader
/// or one that is a program, or many readers.
fn guess(sender: &[u8], recipients: usize) -> Class {
    let (local, _) = split(sender);
    let program = local.starts_with(b"owner-")
        || [&b"-owner"[..], b"-bounces", b"-request"].iter().any(|end| local.ends_with(end));
    if sender.is_empty() || sender == b"#@[]" {
        Class::Bounces
    } else if recipients > MANY || program || local.contains(&b'=') || sender.ends_with(b"-@[]") {
        Class::Lists
    } else {
        Class::People
    }
}

/// Which names a file has before its colons, and how to say that.
type Names = (fn(&[u8]) -> bool, &'static str);

const DOMAIN: Names = (is_domain, "a domain, .domain or nothing");
const SENDER: Names = (is_sender, "an address, a domain, .domain or nothing");

fn limits(control: &Control) -> Result<BTreeMap<Vec<u8>, u32>, BadPolicy> {
    read(control, "concurrencydestination", DOMAIN, "a number", limit)
}

fn pauses(control: &Control) -> Result<BTreeMap<Vec<u8>, Moment>, BadPolicy> {
    read(control, "pauses", DOMAIN, "a time in seconds since 1970, or nothing", until)
}

fn classes(control: &Control) -> Result<BTreeMap<Vec<u8>, Class>, BadPolicy> {
    read(control, "priority", SENDER, "people, lists or bounces", class)
}

/// What one of the files says that cannot be meant, with its path and line: qmail-send does not start
/// with it. A file that cannot be read at all is not judged here. For `qmail-showctl --check`.
pub(crate) fn unusable(control: &Control, name: &str) -> Option<String> {
    control.rows(name).ok()?;
    let bad = match name {
        "concurrencydestination" => limits(control).err(),
        "pauses" => pauses(control).err(),
        "priority" => classes(control).err(),
        _ => None,
    };
    bad.map(|bad| bad.why)
}

fn read<T>(
    control: &Control,
    name: &str,
    (fits, names): Names,
    wanted: &str,
    parse: impl Fn(&[u8]) -> Option<T>,
) -> Result<BTreeMap<Vec<u8>, T>, BadPolicy> {
    let bad = |why| BadPolicy { file: format!("control/{name}"), why };
    let rows = control.rows(name).map_err(|err| bad(err.to_string()))?.unwrap_or_default();
    let pairs = rows.into_iter().map(|Row { line, key, value }| {
        let cannot_be_meant = |mend: &str| {
            let path = control.path(name);
            let (key, value) = (key.escape_ascii(), value.escape_ascii());
            bad(format!("{} line {line} says {key}:{value}: write {mend}", path.display()))
        };
        if !fits(&key) {
            return Err(cannot_be_meant(&format!("{names} before the colon")));
        }
        let parsed = parse(value.trim_ascii());
        let parsed = parsed.ok_or_else(|| cannot_be_meant(&format!("{wanted} after the colon")))?;
        Ok((plain(&key).to_vec(), parsed))
    });
    pairs.collect()
}

/// Can a recipient's domain be meant? What no domain holds would never be asked for.
fn is_domain(key: &[u8]) -> bool {
    key != b"." && !key.iter().any(|c| c.is_ascii_whitespace() || b"@*/,<>".contains(c))
}

/// Can a sender or his domain be meant?
fn is_sender(key: &[u8]) -> bool {
    match split(key) {
        (_, None) => is_domain(key),
        (local, Some(domain)) => {
            !local.is_empty()
                && !domain.is_empty()
                && !domain.starts_with(b".")
                && is_domain(domain)
        }
    }
}

fn limit(value: &[u8]) -> Option<u32> {
    str::from_utf8(value).ok()?.parse().ok()
}

fn until(value: &[u8]) -> Option<Moment> {
    if value.is_empty() {
        return Some(FOR_EVER);
    }
    str::from_utf8(value).ok()?.parse().ok().map(Moment::from_secs)
}

fn class(value: &[u8]) -> Option<Class> {
    match value {
        b"people" => Some(Class::People),
        b"bounces" => Some(Class::Bounces),
        b"lists" => Some(Class::Lists),
        _ => None,
    }
}

#[cfg(test)]
impl Policy {
    /// One as files of these lines would make it.
    pub(super) fn of(limits: &[&str], pauses: &[&str], classes: &[&str]) -> Self {
        let map = |lines: &[&str]| {
            let lines: Vec<_> = lines.iter().map(|line| line.as_bytes()).collect();
            let map = store::control::Map::from_lines(lines.iter().copied());
            map.iter().map(|(k, v)| (k.to_vec(), v.to_vec())).collect::<Vec<_>>()
        };
        let each = |(k, v): (Vec<u8>, Vec<u8>)| (k, v);
        Self {
            limits: map(limits)
                .into_iter()
                .map(each)
                .map(|(k, v)| (k, limit(&v).unwrap()))
                .collect(),
            pauses: map(pauses).into_iter().map(|(k, v)| (k, until(&v).unwrap())).collect(),
            classes: map(classes).into_iter().map(|(k, v)| (k, class(&v).unwrap())).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use yard::Yard;

    #[test]
    fn a_domain_counts_before_its_suffixes_and_those_before_nothing() {
        let policy = Policy::of(&["a.org:3", ".org:4", ":5", "no.org:0"], &[".a.org:9", "b:"], &[]);
        let most = |domain: &[u8]| policy.most(domain);
        assert_eq!([most(b"a.org"), most(b"x.org"), most(b"org"), most(b"de")], [3, 4, 5, 5]);
        assert_eq!(policy.paused(b"x.a.org"), Moment::from_secs(9));
        assert_eq!(policy.paused(b"a.org"), Moment::default());
        assert_eq!((policy.paused(b"b"), policy.paused(b"no.org")), (FOR_EVER, FOR_EVER));
        assert_eq!(Policy::default().most(b"a"), MOST);
    }

    #[test]
    fn whose_letter_it_is_shows_in_its_sender() {
        let policy = Policy::of(&[], &[], &["boss@list.org:people", ".list.org:lists"]);
        let class = |sender: &[u8], n| policy.class(sender, n);
        assert_eq!(class(b"joe@x.org", 50), Class::People);
        assert_eq!(class(b"joe@x.org", 51), Class::Lists);
        for list in ["l-return-7-joe=x.org@l.org", "l-@l.org-@[]", "owner-l@l.org", "l-bounces@l"] {
            assert_eq!(class(list.as_bytes(), 1), Class::Lists, "{list}");
        }
        assert_eq!((class(b"", 1), class(b"#@[]", 1)), (Class::Bounces, Class::Bounces));
        assert_eq!(class(b"Boss@LIST.org", 99), Class::People);
        assert_eq!(class(b"joe@a.list.org", 1), Class::Lists);
        let all = Policy::of(&[], &[], &[":people"]);
        assert_eq!((all.class(b"a=b@c", 1), all.class(b"", 1)), (Class::People, Class::Bounces));
    }

    #[test]
    fn a_name_that_nobody_can_have_is_named_too_and_a_dot_behind_one_says_nothing() {
        let dir = Yard::new("policy-names");
        let load = |name: &str, text: &str| {
            std::fs::write(dir.join(name), text).unwrap();
            let policy = Policy::load(&Control::at(&dir));
            std::fs::remove_file(dir.join(name)).unwrap();
            policy.map_err(|bad| bad.why)
        };
        for (name, text) in [
            ("priority", "@b:lists"),
            ("priority", "joe@.b:lists"),
            ("priority", "*:lists"),
            ("concurrencydestination", "*:5"),
            ("concurrencydestination", "joe@b:5"),
            ("pauses", "b.org :"),
            ("pauses", ".:"),
        ] {
            let why = load(name, text).unwrap_err();
            let says = format!("/{name} line 1 says {text}: write a");
            assert!(why.contains(&says) && why.ends_with(" before the colon"), "{why}");
        }
        let policy = load("pauses", "b.org.:9\n[10.0.0.1]:9\n.c.org:9\n").unwrap();
        for paused in [&b"b.org"[..], b"[10.0.0.1]", b"x.c.org"] {
            assert_eq!(policy.paused(paused), Moment::from_secs(9));
        }
        let policy = load("priority", "news*@b.org:people\n").unwrap();
        assert_eq!(policy.class(b"news*@b.org.", 99), Class::People);
    }

    #[test]
    fn what_cannot_be_meant_is_named_with_its_file() {
        let dir = Yard::new("policy");
        std::fs::write(dir.join("priority"), "# ours\na.org:poeple\n").unwrap();
        let bad = Policy::load(&Control::at(&dir)).unwrap_err();
        assert_eq!(bad.file, "control/priority");
        let mend =
            "/priority line 2 says a.org:poeple: write people, lists or bounces after the colon";
        assert!(bad.why.ends_with(mend), "{}", bad.why);
    }
}
