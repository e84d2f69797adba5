//! What is known about a connection: its environment.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use sys::brood::{GREETED, HURRY};

/// Bytes of a client's address that the log shows.
const CLIENT: usize = 100;

/// The variables of one connection (PROTO, `TCP*`, and what its tcprules line sets).
#[derive(Clone, Debug, Default)]
pub(crate) struct Circumstances {
    /// What came with the connection; empty if the process was started for it.
    given: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The variables of a connection are those of this process.
    own: bool,
}

impl Circumstances {
    /// A process started for one connection, with its variables.
    pub(crate) fn of_process() -> Self {
        Self { given: BTreeMap::new(), own: true }
    }

    /// A connection handed over with a block `K=V\0…`; entries without `=` are left out.
    pub(crate) fn of_handover(block: &[u8]) -> Self {
        let given = block.split(|&c| c == 0).filter_map(|entry| {
            let at = entry.iter().position(|&c| c == b'=')?;
            let (key, value) = entry.split_at_checked(at)?;
            Some((key.to_vec(), value.get(1..)?.to_vec()))
        });
        Self { given: given.collect(), own: false }
    }

    /// A variable of the connection, or else one that this process was started with. What
    /// describes the client is never taken from the latter: it would be somebody else's.
    pub(crate) fn get(&self, name: &str) -> Option<Vec<u8>> {
        let given = self.given.get(name.as_bytes()).cloned();
        let inherited = self.own || !(name.starts_with("TCP") || name == "PROTO");
        given.or_else(|| std::env::var_os(name).filter(|_| inherited).map(OsString::into_vec))
    }

    /// Whose conversation this is, for the log: `pid 123 from 192.0.2.1`.
    pub(crate) fn whose(&self) -> String {
        let client = self.get("TCPREMOTEIP").unwrap_or_else(|| b"unknown".to_vec());
        let client = client.into_iter().take(CLIENT).filter(u8::is_ascii_graphic);
        let client: String = client.map(char::from).collect();
        format!("pid {} from {client}", std::process::id())
    }

    /// Whether somebody has greeted the client in our place. Only the listener that hands the
    /// connection over can say so.
    pub(crate) fn is_greeted(&self) -> bool {
        self.given.get(GREETED.as_bytes()).is_some_and(|said| !said.is_empty())
    }

    /// Whether places are short, so that the client is waited for less long.
    pub(crate) fn is_hurried(&self) -> bool {
        self.get(HURRY).is_some_and(|hurry| !hurry.is_empty())
    }

    /// What came with the connection, for a program started on its behalf.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&OsStr, &OsStr)> {
        self.given.iter().map(|(key, value)| (OsStr::from_bytes(key), OsStr::from_bytes(value)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_handover_describes_its_client_alone() {
        let c = Circumstances::of_handover(b"TCPREMOTEIP=192.0.2.1\0RELAYCLIENT=\0X=a=b\0odd\0");
        assert_eq!(c.get("TCPREMOTEIP").unwrap(), b"192.0.2.1");
        assert_eq!(c.get("RELAYCLIENT").unwrap(), b"");
        assert_eq!(c.get("X").unwrap(), b"a=b");
        assert_eq!(c.get("TCPREMOTEHOST"), None);
        assert_eq!(c.get("PATH").is_some(), std::env::var_os("PATH").is_some());
        assert_eq!(c.pairs().count(), 3);
        assert!(c.whose().ends_with(" from 192.0.2.1") && c.whose().starts_with("pid "));
        let odd = [b"TCPREMOTEIP=a \n\xff".to_vec(), vec![b'b'; 200]].concat();
        assert_eq!(Circumstances::of_handover(&odd).whose().rsplit(' ').next().unwrap().len(), 97);
        assert!(!c.is_greeted() && !Circumstances::of_handover(b"GREETED=\0").is_greeted());
        assert!(Circumstances::of_handover(b"GREETED=220 here\0").is_greeted());
        assert!(!Circumstances::of_process().is_greeted());
        assert!(Circumstances::of_handover(b"HURRY=1\0").is_hurried());
        assert!(!c.is_hurried() && !Circumstances::of_handover(b"HURRY=\0").is_hurried());
    }
}
