//! One connection: its two ends, what is known of them, and how that is written.

use std::net::{IpAddr, SocketAddr};

/// What is known of a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conn {
    pub(super) local: SocketAddr,
    pub(super) remote: SocketAddr,
    /// Names and ident text: `None` if not known, which is not the same as empty.
    pub(super) local_host: Option<Vec<u8>>,
    pub(super) remote_host: Option<Vec<u8>>,
    pub(super) info: Option<Vec<u8>>,
    /// What we have said in the program's place, if we have.
    pub(super) greeted: Option<Vec<u8>>,
    /// The client spoke before it was greeted.
    pub(super) early: bool,
    /// Places are short.
    pub(super) hurried: bool,
}

/// A variable's name and its value, or `None` to remove it.
pub(super) type Variable = (&'static str, Option<Vec<u8>>);

/// Every variable a connection sets or removes.
pub(super) const VARIABLES: [&str; 8] = [
    "PROTO",
    "TCPLOCALIP",
    "TCPLOCALPORT",
    "TCPLOCALHOST",
    "TCPREMOTEIP",
    "TCPREMOTEPORT",
    "TCPREMOTEHOST",
    "TCPREMOTEINFO",
];

/// How much of a field a log line shows.
const FIELD: usize = 100;

impl Conn {
    /// A connection of which only the ends are known. An IPv4 client of an IPv6 socket is an IPv4
    /// client.
    pub(super) fn new(local: SocketAddr, remote: SocketAddr) -> Self {
        let (local, remote) = (canonical(local), canonical(remote));
        let (local_host, remote_host, info, greeted) = Default::default();
        Self { local, remote, local_host, remote_host, info, greeted, early: false, hurried: false }
    }

    /// The client's address as text.
    pub(super) fn remote_ip(&self) -> String {
        self.remote.ip().to_string()
    }

    /// The variables of the connection, before the rules change them.
    pub(super) fn variables(&self) -> [Variable; 8] {
        let text = |text: String| Some(text.into_bytes());
        let values = [
            text("TCP".to_owned()),
            text(self.local.ip().to_string()),
            text(self.local.port().to_string()),
            self.local_host.clone(),
            text(self.remote_ip()),
            text(self.remote.port().to_string()),
            self.remote_host.clone(),
            self.info.clone(),
        ];
        let mut values = values.into_iter();
        VARIABLES.map(|name| (name, values.next().flatten()))
    }

    /// `tcpserver: ok PID LOCALHOST:LOCALIP:LOCALPORT REMOTEHOST:REMOTEIP:INFO:REMOTEPORT`.
    pub(super) fn line(&self, verdict: &str, pid: u32) -> Vec<u8> {
        let mut line = format!("tcpserver: {verdict} {pid} ").into_bytes();
        let [_, local_ip, local_port, local_host, remote_ip, remote_port, remote_host, info] =
            self.variables().map(|(_, value)| value.unwrap_or_default());
        join(&mut line, &[local_host, local_ip, local_port]);
        line.push(b' ');
        join(&mut line, &[remote_host, remote_ip, info, remote_port]);
        line.push(b'\n');
        line
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

fn canonical(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(addr.ip().to_canonical(), addr.port())
}

fn join(line: &mut Vec<u8>, fields: &[Vec<u8>]) {
    for (number, field) in fields.iter().enumerate() {
        if number > 0 {
            line.push(b':');
        }
        line.extend(field.iter().take(FIELD).map(|&byte| safe(byte)));
        if field.len() > FIELD {
            line.extend(b"...");
        }
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
            conn.line("ok", 9014),
            b"tcpserver: ok 9014 LOCAL:127.0.0.1:46647 localhost:127.0.0.1::38491\n"
        );
        assert_eq!(pid_line(9014, conn.remote.ip()), b"tcpserver: pid 9014 from 127.0.0.1\n");
        assert_eq!(end_line(9014, 768), b"tcpserver: end 9014 status 768\n");
    }

    #[test]
    fn a_stranger_cannot_forge_a_line_or_fill_the_log() {
        let mut conn = conn();
        conn.info = Some(b"a:b%c d\ne\x7f\xff".iter().copied().chain([b'x'; 200]).collect());
        let line = conn.line("deny", 1);
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line.matches('\n').count(), 1);
        let info = format!("a?b?c?d?e??{}...", "x".repeat(100 - 11));
        assert!(line.ends_with(&format!(":127.0.0.1:{info}:38491\n")), "{line}");
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
