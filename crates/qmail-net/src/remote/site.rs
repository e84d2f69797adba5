//! What the administrator has set: `control/` as `qmail-remote` reads it.

use std::net::{IpAddr, SocketAddr};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use dns::{Config, Resolver};
use store::control::{Control, ControlError, Set};
use store::home::Home;

use super::hosts::{Lookup, Roads};
use super::route::Routes;

/// The files the settings are in.
const FILES: [&str; 9] = [
    "helohost",
    "me",
    "smtproutes",
    "qmtproutes",
    "authcleartext",
    "outgoingip",
    "timeoutconnect",
    "timeoutremote",
    "dnsservers",
];

/// How often they are looked at.
const LOOK: Duration = Duration::from_millis(100);

/// By what a changed file is known: its number, length and times; nothing where there is none.
type Stamp = Option<(u64, u64, i64, i64, i64, i64)>;

/// The settings as they were read.
#[derive(Debug)]
pub(super) struct Site {
    /// Our own name (`helohost`, else `me`).
    pub(super) helo: Vec<u8>,
    /// `smtproutes` and `qmtproutes`.
    pub(super) roads: Roads,
    /// `authcleartext`: relays that may hear a password over the open network.
    cleartext: Set,
    /// `outgoingip`: the addresses we speak from, one of each kind at most.
    outgoing: Vec<IpAddr>,
    /// `timeoutconnect`.
    pub(super) connect: Duration,
    /// `timeoutremote`.
    pub(super) remote: Duration,
    /// `dnsservers`: whom to ask instead of `/etc/resolv.conf`'s.
    servers: Vec<SocketAddr>,
    /// [`FILES`] as they were just before they were read.
    stamps: [Stamp; FILES.len()],
    /// When they were looked at last.
    looked: Instant,
}

/// The settings are of no use.
#[derive(Debug)]
pub(super) struct Unusable {
    /// Which file to mend.
    pub(super) why: String,
    /// As [`ControlError::is_out_of_reach`].
    pub(super) is_out_of_reach: bool,
}

impl Site {
    /// Reads the settings; the error says which file to mend.
    pub(super) fn read(home: &Home) -> Result<Self, Unusable> {
        Self::load(Control::new(home)).map_err(|err| Unusable {
            is_out_of_reach: err
                .downcast_ref::<ControlError>()
                .is_some_and(ControlError::is_out_of_reach),
            why: err.to_string(),
        })
    }

    /// Whether the files are as they were, a moment ago at least.
    pub(super) fn is_current(&mut self) -> bool {
        if self.looked.elapsed() < LOOK {
            return true;
        }
        self.looked = Instant::now();
        self.stamps == stamps(&self.roads.control)
    }

    fn load(control: Control) -> Result<Self, Box<dyn std::error::Error>> {
        let stamps = stamps(&control);
        let helo = control.line_or_me("helohost")?;
        let helo = helo.filter(|helo| !helo.is_empty() && helo.iter().all(u8::is_ascii_graphic));
        let missing = || format!("{} must hold this host's name", control.path("me").display());
        let list = control.list("dnsservers")?.unwrap_or_default();
        let routes = |name| control.rows(name).map(|rows| Routes::new(rows.unwrap_or_default()));
        Ok(Self {
            helo: helo.ok_or_else(missing)?,
            cleartext: control.set("authcleartext")?.unwrap_or_default(),
            outgoing: outgoing(&control)?,
            connect: seconds(control.int("timeoutconnect", 60)?),
            remote: seconds(control.int("timeoutremote", 1_200)?),
            servers: list.iter().map(|line| server(&control, line)).collect::<Result<_, _>>()?,
            stamps,
            looked: Instant::now(),
            roads: Roads { smtp: routes("smtproutes")?, qmtp: routes("qmtproutes")?, control },
        })
    }

    /// Whether a password may go to this address of a relay, which has no way to hide it.
    pub(super) fn may_tell(&self, relay: &[u8], ip: IpAddr) -> bool {
        ip.is_loopback() || self.cleartext.contains(relay)
    }

    /// The address to speak to `ip` from, if it is not for the kernel to choose.
    pub(super) fn from(&self, ip: IpAddr) -> Option<SocketAddr> {
        let same = |own: &&IpAddr| own.is_ipv4() == ip.is_ipv4() && !own.is_unspecified();
        self.outgoing.iter().find(same).map(|own| SocketAddr::new(*own, 0))
    }

    /// The DNS, asked for the first time when there is a question.
    pub(super) fn lookup(&self) -> Dns {
        Dns { config: Config { servers: self.servers.clone() }, resolver: None }
    }
}

/// A line of `dnsservers`.
fn server(control: &Control, line: &[u8]) -> Result<SocketAddr, String> {
    let bad = || dns::BadServer(String::from_utf8_lossy(line).into_owned());
    let path = control.path("dnsservers");
    base::route::server(line).ok_or_else(|| format!("{}: {}", path.display(), bad()))
}

/// The lines of `outgoingip`; `0.0.0.0` and `::` leave the choice to the kernel.
fn outgoing(control: &Control) -> Result<Vec<IpAddr>, Box<dyn std::error::Error>> {
    let lines = control.list("outgoingip")?.unwrap_or_default();
    let path = control.path("outgoingip");
    let read = |line: Vec<u8>| {
        let text = String::from_utf8_lossy(&line).into_owned();
        base::route::address(&line)
            .ok_or_else(|| format!("{}: {text} is no address", path.display()))
    };
    Ok(lines.into_iter().map(read).collect::<Result<_, _>>()?)
}

fn stamps(control: &Control) -> [Stamp; FILES.len()] {
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

    fn addresses(&mut self, host: &str) -> Result<Vec<IpAddr>, dns::Error> {
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
            roads: Roads { control, smtp: Routes::default(), qmtp: Routes::default() },
            cleartext: Set::default(),
            outgoing: Vec::new(),
            helo: b"me.test".to_vec(),
            connect: limit,
            remote: limit,
            servers: Vec::new(),
        }
    }
}
