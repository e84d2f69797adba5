//! Which rule is for a connection, and what it says. The first key that exists decides alone.

use super::allowance::{self, Denial};
use super::conn::Conn;
use super::options::Options;
use base::cdb::{Cdb, Damaged};
use base::network::Network;
use std::ffi::OsStr;
use std::fs::Metadata;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;

/// Lengths of networks that are looked for: each there can be.
const MOST_LENGTHS: usize = 129;

/// A variable that a rule sets: its name and its value.
pub(super) type Setting = (Vec<u8>, Vec<u8>);

/// What a rule says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// The client is not let in.
    pub(super) deny: Option<Denial>,
    /// Variables for the program, in the rule's order.
    pub(super) set: Vec<Setting>,
}

/// Where a database says how long the networks in its keys are, longest first, a byte each: without
/// it none is looked for. No other rule has such a key.
pub(crate) const LENGTHS: [&[u8]; 2] = [b"/4", b"/6"];

/// What is known of a client, as far as rules go.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Client<'a> {
    pub(crate) ip: &'a [u8],
    pub(crate) host: Option<&'a [u8]>,
    pub(crate) info: Option<&'a [u8]>,
}

/// The keys to look for, in order; `networks` are those of the client's networks.
fn keys(client: Client<'_>, networks: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let Client { ip, host, info } = client;
    let mut keys = Vec::new();
    if let Some(info) = info {
        keys.push([info, b"@", ip].concat());
        keys.extend(host.map(|host| [info, b"@=", host].concat()));
    }
    keys.push(ip.to_vec());
    keys.extend(host.map(|host| [b"=", host].concat()));
    let dots = ip.iter().enumerate().rev().filter(|(_, byte)| **byte == b'.');
    keys.extend(dots.map(|(at, _)| ip.iter().take(at.saturating_add(1)).copied().collect()));
    keys.extend(networks);
    if let Some(host) = host {
        let dots = host.iter().enumerate().filter(|(_, byte)| **byte == b'.');
        keys.extend(dots.map(|(at, _)| [b"=", host.get(at..).unwrap_or_default()].concat()));
        keys.push(b"=".to_vec());
    }
    keys.push(Vec::new());
    keys
}

/// The keys of a client's networks that a database may have, the narrowest first.
fn networks(cdb: &Cdb<'_>, ip: &[u8]) -> Result<Vec<Vec<u8>>, Damaged> {
    let [four, six] = LENGTHS;
    let lengths = cdb.get(if ip.contains(&b':') { six } else { four })?.unwrap_or_default();
    if lengths.is_empty() {
        return Ok(Vec::new());
    }
    let ip = std::str::from_utf8(ip).ok().and_then(|ip| ip.parse::<IpAddr>().ok());
    let keys = |ip| {
        let key = move |bits: &u8| Network::of(ip, *bits).to_string().into_bytes();
        lengths.iter().take(MOST_LENGTHS).map(key).collect()
    };
    Ok(ip.map(keys).unwrap_or_default())
}

/// A rule of a database: its key and its value.
pub(crate) type Rule<'a> = (Vec<u8>, &'a [u8]);

/// The rule of a database for a client.
pub(crate) fn find<'a>(cdb: &Cdb<'a>, client: Client<'_>) -> Result<Option<Rule<'a>>, Damaged> {
    for key in keys(client, networks(cdb, client.ip)?) {
        if let Some(value) = cdb.get(&key)? {
            return Ok(Some((key, value)));
        }
    }
    Ok(None)
}

/// The verdict of a database on a client; no key is allow.
pub(super) fn judge(cdb: &Cdb<'_>, client: Client<'_>) -> Result<Verdict, Damaged> {
    Ok(find(cdb, client)?.map(|(_, value)| parse(value)).unwrap_or_default())
}

/// The items of a rule's value, each ended by a NUL; what stands behind the last one is none.
pub(crate) struct Items<'a>(&'a [u8]);

impl<'a> Items<'a> {
    /// Those of a value.
    pub(crate) const fn of(value: &'a [u8]) -> Self {
        Self(value)
    }
}

impl<'a> Iterator for Items<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let end = self.0.iter().position(|&byte| byte == 0)?;
        let (item, rest) = self.0.split_at(end);
        self.0 = rest.get(1..).unwrap_or_default();
        Some(item)
    }
}

/// Reads a rule's value: `D`, and `+NAME=VALUE`; anything else is ignored.
fn parse(value: &[u8]) -> Verdict {
    let mut verdict = Verdict::default();
    for item in Items::of(value) {
        match item.split_first() {
            Some((b'D', _)) => verdict.deny = Some(Denial::Flat),
            Some((b'+', variable)) => verdict.set.extend(pair(variable)),
            _ => {}
        }
    }
    verdict
}

fn pair(variable: &[u8]) -> Option<Setting> {
    let equals = variable.iter().position(|&byte| byte == b'=')?;
    let (name, value) = variable.split_at(equals);
    Some((name.to_vec(), value.get(1..)?.to_vec()))
}

/// The rules file, kept in memory for as long as it stays the same.
#[derive(Debug, Default)]
pub(super) struct Rulebook {
    known: Known,
}

/// What is known of the file.
#[derive(Debug, Default)]
enum Known {
    /// There is none: nothing is asked of it, or it may be missing, and is.
    #[default]
    Nothing,
    /// There is one, and it has never been read.
    Unread,
    /// As it was when it could be read last.
    File(Stamp, Vec<u8>),
}

/// What changes when a file is replaced or written: device, inode, length, times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp([u64; 3], [i64; 4]);

impl Stamp {
    fn of(meta: &Metadata) -> Self {
        let times = [meta.mtime(), meta.mtime_nsec(), meta.ctime(), meta.ctime_nsec()];
        Self([meta.dev(), meta.ino(), meta.len()], times)
    }
}

impl Rulebook {
    /// The verdict of the file as it is now; without one everybody is let in.
    pub(super) fn read(&mut self, options: &Options, conn: &Conn) -> io::Result<Verdict> {
        let Some(path) = &options.rules else { return Ok(Verdict::default()) };
        self.check(path, options.rules_optional)?;
        self.judge(conn)
    }

    /// Reads the file ahead for a child; the error is what the child will meet.
    pub(super) fn check(&mut self, path: &OsStr, optional: bool) -> io::Result<()> {
        match self.refresh(path) {
            Err(error) if optional && error.kind() == ErrorKind::NotFound => {
                self.known = Known::Nothing;
                Ok(())
            }
            refreshed => refreshed,
        }
    }

    /// Whether a list names an address: it has a rule for it that does not deny it.
    pub(super) fn lists(&mut self, path: &OsStr, ip: IpAddr) -> io::Result<bool> {
        self.refresh(path)?;
        let Known::File(_, bytes) = &self.known else { return Ok(false) };
        let ip = ip.to_string();
        let client = Client { ip: ip.as_bytes(), host: None, info: None };
        let found = Cdb::new(bytes).and_then(|cdb| find(&cdb, client));
        let found = found.map_err(|Damaged| io::Error::from(ErrorKind::InvalidData))?;
        Ok(found.is_some_and(|(_, value)| parse(value).deny.is_none()))
    }

    /// The verdict of the file as it was when it could be read last.
    pub(super) fn judge(&self, conn: &Conn) -> io::Result<Verdict> {
        let bytes = match &self.known {
            Known::Nothing => return Ok(Verdict::default()),
            Known::Unread => return Err(ErrorKind::InvalidData.into()),
            Known::File(_, bytes) => bytes,
        };
        let ip = conn.remote_ip();
        let (host, info) = (conn.remote_host.as_deref(), conn.info.as_deref());
        let client = Client { ip: ip.as_bytes(), host, info };
        let judged = Cdb::new(bytes).and_then(|cdb| judge(&cdb, client));
        let mut verdict = judged.map_err(|Damaged| io::Error::from(ErrorKind::InvalidData))?;
        verdict.deny = verdict.deny.or_else(|| allowance::refuses(&verdict.set, conn.company));
        Ok(verdict)
    }

    /// Reads the file again if it is another one than before. If it cannot be read, what is known
    /// stays: for those who have been let in already.
    fn refresh(&mut self, path: &OsStr) -> io::Result<()> {
        if matches!(self.known, Known::Nothing) {
            self.known = Known::Unread;
        }
        let stamp = Stamp::of(&std::fs::metadata(path)?);
        if !matches!(&self.known, Known::File(known, _) if *known == stamp) {
            let file = sys::file::open_read(path)?;
            let bytes = sys::fd::read_to_end(file, base::limits::CONTROL_FILE)?;
            Cdb::new(&bytes).map_err(|Damaged| io::Error::from(ErrorKind::InvalidData))?;
            self.known = Known::File(stamp, bytes);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::cdb::build;

    fn listed(client: Client<'_>) -> Vec<String> {
        keys(client, Vec::new()).into_iter().map(|key| String::from_utf8(key).unwrap()).collect()
    }

    #[test]
    fn keys_come_from_the_narrowest_to_the_widest() {
        let client = Client { ip: b"1.2.3.4", host: Some(b"a.b.c"), info: Some(b"joe") };
        let want = [
            "joe@1.2.3.4",
            "joe@=a.b.c",
            "1.2.3.4",
            "=a.b.c",
            "1.2.3.",
            "1.2.",
            "1.",
            "=.b.c",
            "=.c",
            "=",
            "",
        ];
        assert_eq!(listed(client), want);
    }

    #[test]
    fn without_a_name_no_rule_for_names_is_looked_for() {
        let client = Client { ip: b"1.2.3.4", host: None, info: Some(b"") };
        assert_eq!(listed(client), ["@1.2.3.4", "1.2.3.4", "1.2.3.", "1.2.", "1.", ""]);
    }

    #[test]
    fn a_suffix_rule_is_for_names_below_it_only() {
        let file = build([(&b"=.example.com"[..], &b"D\0"[..])]).unwrap();
        let cdb = Cdb::new(&file).unwrap();
        let deny = |host: &'static str| {
            let client = Client { ip: b"1.2.3.4", host: Some(host.as_bytes()), info: None };
            judge(&cdb, client).unwrap().deny.is_some()
        };
        assert!(deny("x.example.com") && deny("x.y.example.com"));
        assert!(!deny("example.com") && !deny("xexample.com"));
    }

    #[test]
    fn the_first_key_decides_alone() {
        let rules: [(&[u8], &[u8]); 3] =
            [(b"1.2.3.4", b"+A=1\0"), (b"1.2.3.", b"D\0"), (b"", b"+B=2\0")];
        let file = build(rules).unwrap();
        let cdb = Cdb::new(&file).unwrap();
        let verdict = |ip| judge(&cdb, Client { ip, host: None, info: None }).unwrap();
        let set = vec![(b"A".to_vec(), b"1".to_vec())];
        assert_eq!(verdict(b"1.2.3.4"), Verdict { deny: None, set });
        assert_eq!(verdict(b"1.2.3.5").deny, Some(Denial::Flat));
        assert_eq!(verdict(b"1.2.4.4").deny, None);
    }

    #[test]
    fn networks_come_after_dotted_prefixes_and_the_narrowest_first() {
        let rules: [(&[u8], &[u8]); 8] = [
            (b"10.0.0.0/8", b"+A=8\0"),
            (b"10.1.0.0/16", b"+A=16\0"),
            (b"10.1.2.", b"+A=dot\0"),
            (b"2001:db8::/32", b"+A=six\0"),
            (b"2001:db8::1", b"+A=one\0"),
            (b"", b"D\0"),
            (b"/4", &[16, 8]),
            (b"/6", &[32]),
        ];
        let file = build(rules).unwrap();
        let cdb = Cdb::new(&file).unwrap();
        for (ip, want) in [
            (&b"10.1.2.3"[..], "dot"),
            (b"10.1.3.3", "16"),
            (b"10.2.3.4", "8"),
            (b"2001:db8::1", "one"),
            (b"2001:db8:ffff::1", "six"),
        ] {
            let verdict = judge(&cdb, Client { ip, host: None, info: None }).unwrap();
            assert_eq!(verdict.set, [(b"A".to_vec(), want.as_bytes().to_vec())]);
        }
        for ip in [&b"11.0.0.1"[..], b"2001:db9::1", b"no address"] {
            assert!(judge(&cdb, Client { ip, host: None, info: None }).unwrap().deny.is_some());
        }
    }

    #[test]
    fn a_value_is_deny_and_variables_and_the_rest_is_ignored() {
        let set = vec![(b"A".to_vec(), b"".to_vec()), (b"".to_vec(), b"x=y".to_vec())];
        let value = b"D\0+A=\0what\0+none\0+=x=y\0+TAIL=1";
        assert_eq!(parse(value), Verdict { deny: Some(Denial::Flat), set });
        assert_eq!(parse(b""), Verdict::default());
    }
}
