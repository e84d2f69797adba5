//! What the administrator has set: `control/` as `qmail-remote` reads it.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use dns::{Config, Resolver};
use store::control::{Control, Map};
use store::home::Home;

use super::hosts::Lookup;

/// The files the settings are in.
const FILES: [&str; 6] =
    ["helohost", "me", "smtproutes", "timeoutconnect", "timeoutremote", "dnsservers"];

/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// By what a changed file is known: its number, length and times; nothing where there is none.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// The settings as they were read.
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
    control: Control,
    /// [`FILES`] as they were just before they were read.
    stamps: [Stamp; 6],
    /// When they were looked at last.
    looked: Instant,
}

impl Site {
    /// Reads the settings; the error says which file to mend.
    pub(super) fn read(home: &Home) -> Result<Self, String> {
        Self::from(Control::new(home)).map_err(|err| err.to_string())
    }

    /// Whether the files are as they were, a moment ago at least.
    pub(super) fn is_current(&mut self) -> bool {
        if self.looked.elapsed() < LOOK {
            return true;
        }
        self.looked = Instant::now();
        self.stamps == stamps(&self.control)
    }

    fn from(control: Control) -> Result<Self, Box<dyn std::error::Error>> {
        let stamps = stamps(&control);
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
            stamps,
            looked: Instant::now(),
            control,
        })
    }

    /// The DNS, asked for the first time when there is a question.
    pub(super) fn lookup(&self) -> Dns {
        Dns { config: Config { servers: self.servers.clone() }, resolver: None }
    }
}

fn stamps(control: &Control) -> [Stamp; 6] {
    FILES.map(|name| {
        let meta = std::fs::metadata(control.path(name)).ok()?;
        let (modified, changed) = (meta.mtime_nsec(), meta.ctime_nsec());
        Some((meta.ino(), meta.len(), meta.mtime(), modified, meta.ctime(), changed))
    })
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
        let control = Control::at("/nonexistent");
        Self {
            stamps: stamps(&control),
            looked: Instant::now(),
            control,
            helo: b"me.test".to_vec(),
            routes: Map::default(),
            connect: limit,
            remote: limit,
            servers: Vec::new(),
        }
    }
}
