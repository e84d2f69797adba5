//! What the administrator has set: `control/` as `qmail-remote` reads it.

use std::net::SocketAddr;
use std::time::Duration;

use dns::{Config, Resolver};
use store::control::{Control, Map};
use store::home::Home;

use super::hosts::Lookup;

/// The settings of one delivery.
#[derive(Debug)]
pub(super) struct Site {
    /// Our own name (`helohost`, else `me`).
    pub(super) helo: Vec<u8>,
    /// `smtproutes`.
    pub(super) routes: Map,
    /// `timeoutconnect`.
    pub(super) connect: Duration,
    /// `timeoutremote`.
    pub(super) remote: Duration,
    /// `dnsservers`: whom to ask instead of `/etc/resolv.conf`'s.
    servers: Vec<SocketAddr>,
}

impl Site {
    /// Reads the settings; the error says which file to mend.
    pub(super) fn read(home: &Home) -> Result<Self, String> {
        let control = Control::new(home);
        Self::from(&control).map_err(|err| err.to_string())
    }

    fn from(control: &Control) -> Result<Self, Box<dyn std::error::Error>> {
        let helo = control.line_or_me("helohost")?;
        let helo = helo.filter(|helo| !helo.is_empty() && helo.iter().all(u8::is_ascii_graphic));
        let missing = || format!("{} must hold this host's name", control.path("me").display());
        let list = control.list("dnsservers")?.unwrap_or_default();
        Ok(Self {
            helo: helo.ok_or_else(missing)?,
            routes: control.map("smtproutes")?.unwrap_or_default(),
            connect: seconds(control.int("timeoutconnect", 60)?),
            remote: seconds(control.int("timeoutremote", 1_200)?),
            servers: dns::parse_servers(list.iter().map(Vec::as_slice))
                .map_err(|err| format!("{}: {err}", control.path("dnsservers").display()))?,
        })
    }

    /// The DNS, asked for the first time when there is a question.
    pub(super) fn lookup(&self) -> Dns {
        Dns { config: Config { servers: self.servers.clone() }, resolver: None }
    }
}

/// A timeout from a control file: a second at least, a day at most.
fn seconds(n: u64) -> Duration {
    Duration::from_secs(n.clamp(1, 86_400))
}

/// The resolver, started when it is needed: a route to an address needs none.
#[derive(Debug)]
pub(super) struct Dns {
    config: Config,
    resolver: Option<Resolver>,
}

impl Dns {
    fn resolver(&mut self) -> Result<&Resolver, dns::Error> {
        match &mut self.resolver {
            Some(resolver) => Ok(resolver),
            none => Ok(none.insert(Resolver::from(&self.config)?)),
        }
    }
}

impl Lookup for Dns {
    fn mx(&mut self, domain: &str) -> Result<Vec<dns::Exchanger>, dns::Error> {
        self.resolver()?.mx(domain)
    }

    fn addresses(&mut self, host: &str) -> Result<Vec<std::net::IpAddr>, dns::Error> {
        self.resolver()?.addresses(host)
    }

    fn dice(&mut self) -> u64 {
        sys::random::number().unwrap_or(0)
    }
}

#[cfg(test)]
impl Site {
    /// Settings for a test, every wait this long.
    pub(super) fn for_test(limit: Duration) -> Self {
        Self {
            helo: b"me.test".to_vec(),
            routes: Map::default(),
            connect: limit,
            remote: limit,
            servers: Vec::new(),
        }
    }
}
