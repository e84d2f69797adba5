//! What not every machine has, and how it is found out.

use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::sync::OnceLock;

/// What a file of steps, or a step, needs of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// IPv6, at least with itself.
    Ipv6,
    /// File systems of a process's own to mount.
    Mounts,
    /// Processes of its own as well.
    Processes,
    /// A network of its own.
    Network,
}

/// Each with its name in the steps, and why nothing is played that needs it where it is missing.
const ALL: [(Need, &str, &str); 4] = [
    (Need::Ipv6, "ipv6", "they need IPv6"),
    (Need::Mounts, "mounts", "they need mounts of their own (unshare)"),
    (Need::Processes, "processes", "they need mounts and processes of their own (unshare)"),
    (Need::Network, "network", "they need a network of their own (unshare, ip)"),
];

impl Need {
    /// The need of this name.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn named(word: &str) -> Result<Self, String> {
        let found = ALL.iter().find(|(_, name, _)| *name == word).map(|(need, ..)| *need);
        found.ok_or_else(|| format!("needs {word}: ipv6, mounts, processes or network"))
    }

    /// Why what needs it cannot be played here; nothing if it can. Found out once.
    pub(crate) fn hindrance(self) -> Option<&'static str> {
        static MET: [OnceLock<bool>; ALL.len()] = [const { OnceLock::new() }; ALL.len()];
        let at = ALL.iter().position(|(need, ..)| *need == self)?;
        let met = *MET.get(at)?.get_or_init(|| self.is_met());
        if met { None } else { ALL.get(at).map(|(_, _, why)| *why) }
    }

    fn is_met(self) -> bool {
        match self {
            Self::Ipv6 => TcpListener::bind("[::1]:0").is_ok(),
            Self::Mounts => apart(&["--mount", "--", "mount", "-t", "tmpfs", "none", "/tmp"]),
            Self::Processes => {
                apart(&["--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--", "true"])
            }
            Self::Network => apart(&["--net", "--", "ip", "link", "set", "lo", "up"]),
        }
    }
}

/// Whether a command apart from the rest of the machine succeeds.
pub(crate) fn apart(args: &[&str]) -> bool {
    let mut unshare = Command::new("unshare");
    unshare.args(args).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    unshare.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_need_has_a_name_and_is_asked_once() {
        assert_eq!(Need::named("ipv6"), Ok(Need::Ipv6));
        assert!(Need::named("a moon").unwrap_err().contains("ipv6"));
        assert_eq!(Need::Ipv6.hindrance().is_none(), TcpListener::bind("[::1]:0").is_ok());
    }
}
