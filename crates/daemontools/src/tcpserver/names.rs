//! Names for addresses and addresses for names: `/etc/hosts` first, then DNS. It waits, so only a
//! connection's own child, or the start, asks.

use super::address::Families;
use super::packet::{self, Answer, Kind, Record};
use super::qualify::Qualifying;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};

/// Servers asked at most.
const SERVERS: usize = 16;
/// The whole of one lookup.
const LOOKUP: Duration = Duration::from_secs(15);
/// How long each server is waited for: in the first round, then in the second.
const ROUNDS: [Duration; 2] = [Duration::from_secs(3), Duration::from_secs(9)];
/// A DNS server's port.
const PORT: u16 = 53;
/// What is read of `/etc/hosts` and `/etc/resolv.conf`.
const FILE: usize = 1 << 20;

/// The name of an address; `None` if there is none or it cannot be found out.
pub(crate) fn name_of(ip: IpAddr) -> Option<Vec<u8>> {
    look_up(ip).ok().flatten()
}

/// The name of an address; `None` if there is none, an error if nobody could say.
pub(super) fn look_up(ip: IpAddr) -> io::Result<Option<Vec<u8>>> {
    if let Some(name) = hosts_name(&file("/etc/hosts"), ip) {
        return Ok(Some(name));
    }
    let records = ask(packet::reverse(ip).as_bytes(), Kind::Ptr)?;
    Ok(records.into_iter().find_map(|record| match record {
        Record::Name(name) => Some(name),
        Record::Address(_) | Record::Text(_) => None,
    }))
}

/// The addresses of a host named on a command line: those of `/etc/hosts`, else of DNS, where the
/// name may be made longer as [`Qualifying`] says, and is asked for IPv6 only if it has none of IPv4
/// or that is not wanted. None is an empty list; an error is a failure that may pass.
pub(crate) fn addresses_of_host(name: &[u8], families: Families) -> io::Result<Vec<IpAddr>> {
    let mut known = hosts_addresses(&file("/etc/hosts"), name);
    known.retain(|ip| families.have(*ip));
    if !known.is_empty() {
        return Ok(known);
    }
    for name in Qualifying::of_this_host(&file).candidates(name) {
        let found = dns_addresses(&name, families)?;
        if !found.is_empty() {
            return Ok(found);
        }
    }
    Ok(Vec::new())
}

fn dns_addresses(name: &[u8], families: Families) -> io::Result<Vec<IpAddr>> {
    let four = if families.four() { ask(name, Kind::A)? } else { Vec::new() };
    let found: Vec<IpAddr> = addresses(four).collect();
    if found.is_empty() && families.six() {
        return Ok(addresses(ask(name, Kind::Aaaa)?).collect());
    }
    Ok(found)
}

/// What DNS says under a name: its texts, one behind the other; empty if there is none.
pub(crate) fn text_of(name: &[u8]) -> io::Result<Vec<u8>> {
    let text = |record| match record {
        Record::Text(text) => text,
        Record::Name(_) | Record::Address(_) => Vec::new(),
    };
    Ok(ask(name, Kind::Txt)?.into_iter().flat_map(text).collect())
}

/// Whether DNS has an IPv4 address for a name.
pub(crate) fn has_address(name: &[u8]) -> io::Result<bool> {
    Ok(!ask(name, Kind::A)?.is_empty())
}

fn addresses(records: Vec<Record>) -> impl Iterator<Item = IpAddr> {
    records.into_iter().filter_map(|record| match record {
        Record::Address(ip) => Some(ip),
        Record::Name(_) | Record::Text(_) => None,
    })
}

/// The addresses of a name: those of `/etc/hosts`, else IPv4 ones from DNS, and IPv6 ones if
/// `six`. None is an empty list; an error is a failure that may pass.
pub(super) fn addresses_of(name: &[u8], six: bool) -> io::Result<Vec<IpAddr>> {
    let known = hosts_addresses(&file("/etc/hosts"), name);
    if !known.is_empty() {
        return Ok(known);
    }
    Ok(addresses(ask(name, if six { Kind::Aaaa } else { Kind::A })?).collect())
}

/// A file of names as far as it can be read.
fn file(path: &str) -> Vec<u8> {
    let read = sys::file::open_read(path).and_then(|file| sys::fd::read_to_end(file, FILE));
    read.unwrap_or_default()
}

/// The words of a file's lines, without comments.
fn lines(file: &[u8]) -> impl Iterator<Item = Vec<&[u8]>> {
    file.split(|&byte| byte == b'\n').map(|line| {
        let line = line.split(|&byte| byte == b'#').next().unwrap_or_default();
        line.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()).collect()
    })
}

fn ip(word: &[u8]) -> Option<IpAddr> {
    std::str::from_utf8(word).ok()?.parse().ok()
}

/// The first name of an address in a hosts file.
fn hosts_name(file: &[u8], wanted: IpAddr) -> Option<Vec<u8>> {
    let words =
        lines(file).find(|words| words.first().and_then(|word| ip(word)) == Some(wanted))?;
    let labels = words.get(1)?.split(|&byte| byte == b'.');
    let mut name = Vec::new();
    for label in labels.filter(|label| !label.is_empty()) {
        if !name.is_empty() {
            name.push(b'.');
        }
        packet::put_label(&mut name, label);
    }
    Some(name)
}

/// The addresses of a name in a hosts file.
fn hosts_addresses(file: &[u8], name: &[u8]) -> Vec<IpAddr> {
    let name = name.strip_suffix(b".").unwrap_or(name);
    let has = |words: &Vec<&[u8]>| words.iter().skip(1).any(|word| word.eq_ignore_ascii_case(name));
    lines(file).filter(has).filter_map(|words| ip(words.first()?)).collect()
}

/// `$DNSCACHEIP`, else the `nameserver` lines, else this host.
fn servers(variable: Option<&[u8]>, file: &[u8]) -> Vec<SocketAddr> {
    let at = |ip| SocketAddr::new(ip, PORT);
    let mut servers: Vec<SocketAddr> = match variable {
        Some(text) => quads(text),
        None => lines(file)
            .filter(|words| words.first() == Some(&&b"nameserver"[..]))
            .filter_map(|words| ip(words.get(1)?).map(at))
            .collect(),
    };
    servers.truncate(SERVERS);
    if servers.is_empty() {
        servers.push(at(Ipv4Addr::LOCALHOST.into()));
    }
    servers
}

/// Dotted quads separated by dots or blanks; IPv6 addresses, and either with a port (`127.0.0.1:5353`,
/// `[::1]:5353`), by blanks.
fn quads(text: &[u8]) -> Vec<SocketAddr> {
    let at = |ip| SocketAddr::new(ip, PORT);
    let mut found = Vec::new();
    for word in text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty()) {
        let parts: Vec<&[u8]> = word.split(|&byte| byte == b'.').collect();
        if word.contains(&b':') {
            let whole = || std::str::from_utf8(word).ok().and_then(|word| word.parse().ok());
            found.extend(ip(word).map(at).or_else(whole));
        } else {
            found.extend(parts.chunks(4).filter_map(|quad| ip(&quad.join(&b'.')).map(at)));
        }
    }
    found
}

/// Asks the servers in turn, twice, and returns the first answer that says something.
fn ask(name: &[u8], kind: Kind) -> io::Result<Vec<Record>> {
    use std::os::unix::ffi::OsStringExt;
    let variable = std::env::var_os("DNSCACHEIP").map(OsStringExt::into_vec);
    let servers = servers(variable.as_deref(), &file("/etc/resolv.conf"));
    let since = Instant::now();
    let mut trouble = false;
    for round in ROUNDS {
        for server in &servers {
            let left = LOOKUP.saturating_sub(since.elapsed());
            match ask_one(*server, name, kind, round.min(left)) {
                Ok(Answer::Records(records)) => return Ok(records),
                Ok(_) => trouble = true,
                Err(error) if error.kind() == ErrorKind::InvalidInput => {
                    return Err(ErrorKind::InvalidData.into());
                }
                Err(_) => {}
            }
        }
    }
    Err(if trouble { ErrorKind::WouldBlock } else { ErrorKind::TimedOut }.into())
}

/// Asks one server; waits at most `limit`.
fn ask_one(server: SocketAddr, name: &[u8], kind: Kind, limit: Duration) -> io::Result<Answer> {
    let [a, b, ..] = sys::random::number()?.to_le_bytes();
    let question = packet::question(u16::from_le_bytes([a, b]), name, kind);
    let question = question.ok_or(ErrorKind::InvalidInput)?;
    let since = Instant::now();
    let any: &str = if server.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
    let sock = UdpSocket::bind(any)?;
    sock.connect(server)?;
    sock.send(&question)?;
    let mut buf = [0; 4096];
    loop {
        let left = limit.saturating_sub(since.elapsed());
        let got = sys::fd::read_within(&sock, &mut buf, left)?;
        match packet::answer(&question, buf.get(..got).unwrap_or_default(), kind) {
            Answer::NotOurs => {}
            Answer::Truncated => return over_tcp(server, &question, kind),
            answer => return Ok(answer),
        }
    }
}

/// Asks again over TCP (RFC 1035 §4.2.2), at most ten seconds for each step.
fn over_tcp(server: SocketAddr, question: &[u8], kind: Kind) -> io::Result<Answer> {
    let limit = Duration::from_secs(10);
    let mut sock = sys::net::connect(server, None, limit)?;
    sock.set_read_timeout(Some(limit))?;
    sock.set_write_timeout(Some(limit))?;
    let length = u16::try_from(question.len()).map_err(|_| ErrorKind::InvalidInput)?;
    sock.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    sock.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    sock.read_exact(&mut message)?;
    Ok(packet::answer(question, &message, kind))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOSTS: &[u8] = b"# here\n127.0.0.1 LocalHost localhost.lan\n::1\tip6 # six\n\nbad x\n";

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_hosts_file_names_its_addresses() {
        assert_eq!(hosts_name(HOSTS, addr("127.0.0.1")), Some(b"localhost".to_vec()));
        assert_eq!(hosts_name(HOSTS, addr("::1")), Some(b"ip6".to_vec()));
        assert_eq!(hosts_name(HOSTS, addr("127.0.0.2")), None);
        assert_eq!(hosts_addresses(HOSTS, b"LOCALHOST.lan"), [addr("127.0.0.1")]);
        assert!(hosts_addresses(HOSTS, b"six").is_empty());
    }

    #[test]
    fn the_variable_overrides_the_file_and_this_host_is_the_last_resort() {
        let file = b"search x\nnameserver 10.0.0.1\nnameserver ::1\n";
        let read = |variable: Option<&[u8]>, file: &[u8]| {
            let list = servers(variable, file).iter().map(ToString::to_string).collect::<Vec<_>>();
            list.join(" ")
        };
        assert_eq!(read(None, file), "10.0.0.1:53 [::1]:53");
        assert_eq!(read(Some(b"1.2.3.4.5.6.7.8"), file), "1.2.3.4:53 5.6.7.8:53");
        assert_eq!(read(Some(b"::1 1.2.3.4"), file), "[::1]:53 1.2.3.4:53");
        assert_eq!(read(Some(b"127.0.0.1:5353 [::1]:54"), file), "127.0.0.1:5353 [::1]:54");
        assert_eq!(read(None, b""), "127.0.0.1:53");
    }
}
