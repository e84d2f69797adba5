//! One connection: its two ends, what is known of them, and how that is written.

use super::allowance::{Company, Denial};
use crate::run::Environment;
use std::ffi::{OsStr, OsString};
use std::net::{IpAddr, SocketAddr};
use std::os::unix::ffi::OsStringExt;

/// What is known of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Conn {
    pub(crate) local: SocketAddr,
    pub(crate) remote: SocketAddr,
    /// Names and ident text: `None` if not known, which is not the same as empty.
    pub(crate) local_host: Option<Vec<u8>>,
    pub(crate) remote_host: Option<Vec<u8>>,
    pub(crate) info: Option<Vec<u8>>,
    /// IPv4 too is told in IPv6's variables (`-6`).
    pub(super) six: bool,
    /// What we have said in the program's place, if we have.
    pub(super) greeted: Option<Vec<u8>>,
    /// The client spoke before it was greeted.
    pub(super) early: bool,
    /// Places are short.
    pub(super) hurried: bool,
    /// How many there are from where it comes; 0 for who is in already, whom no limit concerns.
    pub(super) company: Company,
}

/// A variable's name and its value, or `None` to remove it.
pub(super) type Variable = (&'static str, Option<Vec<u8>>);

/// Every variable a connection sets or removes.
pub(super) const VARIABLES: [&str; 15] = [
    "PROTO",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "TCPLOCALHOST",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPREMOTEHOST",
    "TCPREMOTEINFO",
    "TCP6LOCALIP",
    "TCP6LOCALPORT",
    "TCP6LOCALHOST",
    "TCP6REMOTEIP",
    "TCP6REMOTEPORT",
    "TCP6REMOTEHOST",
    "TCP6INTERFACE",
];

/// How much of a field a log line shows.
const FIELD: usize = 100;

impl Conn {
    /// A connection of which only the ends are known. An IPv4 client of an IPv6 socket is an IPv4
    /// client.
    pub(crate) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let (local, remote) = (canonical(local), canonical(remote));
        let (local_host, remote_host, info, greeted) = Default::default();
        let (six, early, hurried, company) = Default::default();
        Self { local, remote, local_host, remote_host, info, six, greeted, early, hurried, company }
    }

    /// The client's address as text.
    pub(super) fn remote_ip(&self) -> String {
        self.remote.ip().to_string()
    }

    /// The variables of the connection, before the rules change them.
    pub(super) fn variables(&self) -> [Variable; 15] {
        let text = |text: String| Some(text.into_bytes());
        let six = self.six || self.remote.is_ipv6();
        let [ip, port, host, from, from_port, from_host, link] =
            if six { self.of_six() } else { Default::default() };
        let values = [
            text(String::from(if six { "TCP6" } else { "TCP" })),
            text(self.local.ip().to_string()),
            text(self.local.port().to_string()),
            self.local_host.clone(),
            text(self.remote_ip()),
            text(self.remote.port().to_string()),
            self.remote_host.clone(),
            self.info.clone(),
            ip,
            port,
            host,
            from,
            from_port,
            from_host,
            link,
        ];
        let mut values = values.into_iter();
        VARIABLES.map(|name| (name, values.next().flatten()))
    }

    /// The values of IPv6's own variables.
    fn of_six(&self) -> [Option<Vec<u8>>; 7] {
        let ip = |end: SocketAddr| {
            let six = match end.ip() {
                IpAddr::V4(ip) => ip.to_ipv6_mapped(),
                IpAddr::V6(ip) => ip,
            };
            Some(six.to_string().into_bytes())
        };
        let port = |end: SocketAddr| Some(end.port().to_string().into_bytes());
        let link = match self.local {
            SocketAddr::V6(end) if end.scope_id() != 0 => {
                sys::net::interface_name(end.scope_id()).ok().map(String::into_bytes)
            }
            _ => None,
        };
        let (here, there) = (self.local, self.remote);
        let (host, from) = (self.local_host.clone(), self.remote_host.clone());
        [ip(here), port(here), host, ip(there), port(there), from, link]
    }

    /// Sets what is known in an environment and removes what is not.
    pub(crate) fn put(&self, environment: &mut Environment) {
        for (name, value) in self.variables() {
            match value {
                Some(value) => environment.set(OsStr::new(name), &OsString::from_vec(value)),
                None => environment.remove(OsStr::new(name)),
            }
        }
    }

    /// `tcpserver: ok PID LOCALHOST:LOCALIP:LOCALPORT REMOTEHOST:REMOTEIP:INFO:REMOTEPORT`.
    pub(super) fn ok_line(&self, pid: u32) -> Vec<u8> {
        [format!("tcpserver: ok {pid}").into_bytes(), self.ends(), b"\n".to_vec()].concat()
    }

    /// `tcpserver: deny` and the same, then the limit that is exceeded, if that is why.
    pub(super) fn deny_line(&self, pid: u32, why: Denial) -> Vec<u8> {
        let words = why.words() + "\n";
        [format!("tcpserver: deny {pid}").into_bytes(), self.ends(), words.into()].concat()
    }

    /// What follows the pid in that line.
    fn ends(&self) -> Vec<u8> {
        let mut line = b" ".to_vec();
        // The colons of an IPv6 address stay: no other field has one, so the line is still clear.
        field(&mut line, self.local_host.as_deref());
        line.extend(format!(":{}:{} ", self.local.ip(), self.local.port()).into_bytes());
        field(&mut line, self.remote_host.as_deref());
        line.extend(format!(":{}:", self.remote.ip()).into_bytes());
        field(&mut line, self.info.as_deref());
        line.extend(format!(":{}", self.remote.port()).into_bytes());
        line
    }

    /// Both lines of a connection that is let in, taken apart where the pid stands.
    pub(super) fn welcome(&self) -> Vec<Vec<u8>> {
        let from = format!(" from {}\ntcpserver: ok ", self.remote.ip());
        let ends = [self.ends(), b"\n".to_vec()].concat();
        vec![b"tcpserver: pid ".to_vec(), from.into_bytes(), ends]
    }
}

/// `tcpserver: pid PID from REMOTEIP`.
pub(super) fn pid_line(pid: u32, from: IpAddr) -> Vec<u8> {
    format!("tcpserver: pid {pid} from {from}\n").into_bytes()
}

/// `tcpserver: end PID status W`.
pub(super) fn end_line(pid: u32, raw: i32) -> Vec<u8> {
    format!("tcpserver: end {pid} status {raw}\n").into_bytes()
}

/// `tcpserver: early PID from REMOTEIP`: the client spoke before it was greeted.
pub(super) fn early_line(pid: u32, from: IpAddr) -> Vec<u8> {
    format!("tcpserver: early {pid} from {from}\n").into_bytes()
}

/// `tcpserver: silent REMOTEIP SECONDS WHY`: a client that was greeted and said nothing.
pub(super) fn silent_line(from: IpAddr, secs: u32, why: &str) -> Vec<u8> {
    format!("tcpserver: silent {from} {secs} {why}\n").into_bytes()
}

/// IPv4 as such; the interface of an IPv6 address stays known.
fn canonical(addr: SocketAddr) -> SocketAddr {
    match addr.ip().to_canonical() {
        IpAddr::V4(ip) => SocketAddr::from((ip, addr.port())),
        IpAddr::V6(_) => addr,
    }
}

/// What a stranger may have written, made harmless and short.
fn field(line: &mut Vec<u8>, field: Option<&[u8]>) {
    let field = field.unwrap_or_default();
    line.extend(field.iter().take(FIELD).map(|&byte| safe(byte)));
    if field.len() > FIELD {
        line.extend(b"...");
    }
}

/// A stranger's byte as a log line shows it.
fn safe(byte: u8) -> u8 {
    match byte {
        b':' | b'%' => b'?',
        33..=126 => byte,
        _ => b'?',
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn() -> Conn {
        let addr = |text: &str| text.parse().unwrap();
        Conn::new(addr("127.0.0.1:46647"), addr("[::ffff:127.0.0.1]:38491"))
    }

    #[test]
    fn a_log_line_is_the_originals() {
        let mut conn = conn();
        conn.local_host = Some(b"LOCAL".to_vec());
        conn.remote_host = Some(b"localhost".to_vec());
        conn.info = Some(Vec::new());
        assert_eq!(
            conn.ok_line(9014),
            b"tcpserver: ok 9014 LOCAL:127.0.0.1:46647 localhost:127.0.0.1::38491\n"
        );
        let both = [pid_line(9014, conn.remote.ip()), conn.ok_line(9014)].concat();
        assert_eq!(conn.welcome().join(&b"9014"[..]), both);
        assert_eq!(pid_line(9014, conn.remote.ip()), b"tcpserver: pid 9014 from 127.0.0.1\n");
        assert_eq!(end_line(9014, 768), b"tcpserver: end 9014 status 768\n");
    }

    #[test]
    fn an_ipv6_client_has_variables_of_its_own_and_a_line_that_can_be_searched() {
        let addr = |text: &str| text.parse().unwrap();
        let mut conn = Conn::new(addr("[2001:db8::25]:25"), addr("[2001:db8::1]:999"));
        conn.remote_host = Some(b"six".to_vec());
        let told: Vec<String> = conn
            .variables()
            .into_iter()
            .filter_map(|(name, value)| {
                Some(format!("{name}={}", String::from_utf8(value?).unwrap()))
            })
            .collect();
        let want = [
            "PROTO=TCP6",
            "TCPLOCALIP=2001:db8::25",
            "TCPLOCALPORT=25",
            "TCPREMOTEIP=2001:db8::1",
            "TCPREMOTEPORT=999",
            "TCPREMOTEHOST=six",
            "TCP6LOCALIP=2001:db8::25",
            "TCP6LOCALPORT=25",
            "TCP6REMOTEIP=2001:db8::1",
            "TCP6REMOTEPORT=999",
            "TCP6REMOTEHOST=six",
        ];
        assert_eq!(told, want);
        let line = conn.ok_line(7);
        assert_eq!(line, b"tcpserver: ok 7 :2001:db8::25:25 six:2001:db8::1::999\n");
    }

    #[test]
    fn ipv4_is_told_as_ipv6_only_if_that_is_wanted() {
        let mut conn = conn();
        assert!(conn.variables().iter().skip(8).all(|(_, value)| value.is_none()));
        conn.six = true;
        let variables = conn.variables();
        let has = |name, value: &str| variables.contains(&(name, Some(value.as_bytes().to_vec())));
        assert!(has("PROTO", "TCP6") && has("TCPREMOTEIP", "127.0.0.1"));
        assert!(has("TCP6REMOTEIP", "::ffff:127.0.0.1") && has("TCP6LOCALPORT", "46647"));
    }

    #[test]
    fn a_stranger_cannot_forge_a_line_or_fill_the_log() {
        let mut conn = conn();
        conn.info = Some(b"a:b%c d\ne\x7f\xff".iter().copied().chain([b'x'; 200]).collect());
        let line = conn.deny_line(1, Denial::Flat);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let info = format!("a?b?c?d?e??{}...", "x".repeat(100 - 11));
        assert!(line.ends_with(&format!(":127.0.0.1:{info}:38491\n")), "{line}");
        let line = String::from_utf8(conn.deny_line(1, Denial::Address(5))).unwrap();
        assert!(line.ends_with("...:38491 ip connection limit:5 exceeded\n"), "{line}");
    }

    #[test]
    fn what_is_not_known_is_removed_and_what_is_empty_is_set() {
        let mut conn = conn();
        conn.info = Some(Vec::new());
        let variables = conn.variables();
        assert!(variables.contains(&("TCPREMOTEHOST", None)));
        assert!(variables.contains(&("TCPREMOTEINFO", Some(Vec::new()))));
        assert!(variables.contains(&("TCPREMOTEIP", Some(b"127.0.0.1".to_vec()))));
    }
}
