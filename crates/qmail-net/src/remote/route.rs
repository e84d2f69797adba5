//! `smtproutes` and `qmtproutes`: where mail goes that the DNS is not asked about.

use std::collections::BTreeMap;
use std::fmt;

use base::route::read;
use proto::smtp::client::Login;
use store::control::Row;

/// The SMTP port.
pub(super) const PORT: u16 = 25;
/// The QMTP port.
pub(super) const QMTP_PORT: u16 = 209;

/// Where a route leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Route {
    /// A name or an address.
    pub(crate) relay: Vec<u8>,
    /// The port; the protocol's own if the route says none.
    pub(crate) port: u16,
    /// With which to log in.
    pub(crate) login: Option<Login>,
}

/// A line that means nothing, found when it is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BadRoute {
    /// Which line.
    pub(crate) line: usize,
    why: &'static str,
}

impl fmt::Display for BadRoute {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.why)
    }
}

/// A file of routes: the last line for a key counts.
#[derive(Clone, Default)]
pub(crate) struct Routes(BTreeMap<Vec<u8>, (usize, Vec<u8>)>);

impl fmt::Debug for Routes {
    /// Without what they lead to: passwords may be there.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys().map(|key| String::from_utf8_lossy(key))).finish()
    }
}

impl Routes {
    /// Takes the lines of a file.
    pub(crate) fn new(rows: Vec<Row>) -> Self {
        Self(rows.into_iter().map(|row| (row.key, (row.line, row.value))).collect())
    }

    /// The route for `host`: the first of host, its suffixes from a dot on, and the empty key that
    /// is in the file counts. An empty relay, like no route, means the host's own exchangers.
    ///
    /// # Errors
    /// The line that counts cannot be meant.
    pub(crate) fn find(&self, host: &[u8], port: u16) -> Result<Option<Route>, BadRoute> {
        let host = host.to_ascii_lowercase();
        let suffixes = (1..=host.len()).filter(|&at| host.get(at).is_none_or(|&c| c == b'.'));
        let mut keys = std::iter::once(0).chain(suffixes).filter_map(|at| host.get(at..));
        let Some((line, value)) = keys.find_map(|key| self.0.get(key)) else { return Ok(None) };
        let route = read(value, port).map_err(|why| BadRoute { line: *line, why })?;
        let login =
            route.login.map(|(name, secret)| Login { name: name.into(), secret: secret.into() });
        let route = Route { relay: route.relay.to_vec(), port: route.port, login };
        Ok(Some(route).filter(|route| !route.relay.is_empty()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn routes(lines: &[&str]) -> Routes {
        let row = |(n, line): (usize, &&str)| {
            let (key, value) = line.split_once(':').unwrap();
            Row { line: n + 1, key: key.into(), value: value.into() }
        };
        Routes::new(lines.iter().enumerate().map(row).collect())
    }

    fn found(lines: &[&str], host: &str) -> Option<(String, u16)> {
        let route = routes(lines).find(host.as_bytes(), PORT).unwrap()?;
        Some((String::from_utf8(route.relay).unwrap(), route.port))
    }

    #[test]
    fn the_first_key_from_the_left_counts() {
        let lines = ["a.b:no", "a.b:one", ".b:two:26", ":three"];
        assert_eq!(found(&lines, "A.B"), Some(("one".into(), 25)));
        assert_eq!(found(&lines, "x.a.b"), Some(("two".into(), 26)));
        assert_eq!(found(&lines, "b"), Some(("three".into(), 25)));
        assert_eq!(found(&[".b:two"], "b"), None);
        let qmtp = routes(&["a:b"]).find(b"a", QMTP_PORT);
        assert_eq!(qmtp.unwrap().unwrap().port, 209);
    }

    #[test]
    fn an_empty_relay_is_no_route() {
        assert_eq!(found(&["a.b:", ":three"], "a.b"), None);
        assert_eq!(found(&[], ""), None);
    }

    #[test]
    fn a_port_that_is_none_is_named_with_its_line() {
        let bad = routes(&["b:c", "a:mx:x"]).find(b"a", PORT).unwrap_err();
        assert_eq!(bad.to_string(), "line 2: the port is not a number from 1 to 65535");
    }

    #[test]
    fn a_login_stands_behind_the_relay_and_is_not_shown() {
        let route = routes(&["a:mx:26|joe|a|b:c"]).find(b"a", PORT).unwrap().unwrap();
        let login = Login { name: "joe".into(), secret: "a|b:c".into() };
        assert_eq!(route, Route { relay: b"mx".to_vec(), port: 26, login: Some(login) });
        assert_eq!(format!("{:?}", routes(&["a:mx|joe|secret"])), r#"{"a"}"#);
    }
}
