//! What the control files say.

use std::fmt;
use std::io;
use std::net::Ipv4Addr;

use base::cdb::Cdb;
use proto::smtp::command::OwnAddresses;
use proto::smtp::server::{BadSenders, Settings};
use store::control::{Control, ControlError, Set};
use store::home::Home;
use store::users::Stamp;
use store::users::routing::{Routing, RoutingError};

use super::circumstances::Circumstances;

/// The default of `control/timeoutsmtpd`, in seconds.
const TIMEOUT: u64 = 1_200;

/// Everything that is read: a change to one of these is seen by the next connection.
const FILES: [&str; 12] = [
    "me",
    "smtpgreeting",
    "localiphost",
    "timeoutsmtpd",
    "rcpthosts",
    "morercpthosts.cdb",
    "badmailfrom",
    "databytes",
    "locals",
    "virtualdomains",
    "percenthack",
    "envnoathost",
];

/// The control files, read.
#[derive(Debug)]
pub(crate) struct Site {
    greeting: Vec<u8>,
    localiphost: Option<Vec<u8>>,
    /// `timeoutsmtpd`, in seconds.
    pub(crate) timeout: u64,
    pub(crate) hosts: Hosts,
    bad_senders: BadSenders,
    databytes: u64,
    /// What is ours.
    pub(crate) routing: Routing,
    stamps: Vec<Option<Stamp>>,
}

/// For which domains letters are taken.
#[derive(Debug)]
pub(crate) enum Hosts {
    /// `rcpthosts`, and `morercpthosts.cdb` if it is there.
    Listed(Set, Option<Vec<u8>>),
    /// There is no `rcpthosts`: for what is delivered here, and nothing else. (Stock takes
    /// everything then, and so becomes everybody's relay.)
    Ours,
}

/// A control file that is needed cannot be used.
#[derive(Debug)]
pub(crate) enum SiteError {
    Control(ControlError),
    Routing(RoutingError),
    /// `morercpthosts.cdb`.
    Cdb(std::path::PathBuf, io::Error),
    /// Neither `smtpgreeting` nor `me`.
    NoName(std::path::PathBuf),
}

impl fmt::Display for SiteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Control(err) => err.fmt(f),
            Self::Routing(err) => err.fmt(f),
            Self::Cdb(path, err) => write!(f, "unable to use {}: {err}", path.display()),
            Self::NoName(path) => {
                write!(f, "{} is missing: write this host's name into it", path.display())
            }
        }
    }
}

impl SiteError {
    /// As [`ControlError::is_out_of_reach`].
    pub(crate) fn is_out_of_reach(&self) -> bool {
        match self {
            Self::Control(err) => err.is_out_of_reach(),
            Self::Routing(err) => err.is_out_of_reach(),
            Self::Cdb(path, err) => sys::sandbox::is_out_of_reach(path, err),
            Self::NoName(_) => false,
        }
    }
}

impl From<ControlError> for SiteError {
    fn from(err: ControlError) -> Self {
        Self::Control(err)
    }
}

impl Site {
    /// Reads everything.
    ///
    /// # Errors
    /// [`SiteError`]: the client has to be sent away.
    pub(crate) fn load(home: &Home) -> Result<Self, SiteError> {
        let control = Control::new(home);
        // Before the files are read: a change in between is seen the next time.
        let stamps = stamps(&control);
        let greeting = control.line_or_me("smtpgreeting")?;
        let bad = control.list("badmailfrom")?.unwrap_or_default();
        Ok(Self {
            greeting: greeting.ok_or_else(|| SiteError::NoName(control.path("me")))?,
            localiphost: control.line_or_me("localiphost")?,
            timeout: control.int("timeoutsmtpd", TIMEOUT)?.max(1),
            hosts: Hosts::load(&control)?,
            bad_senders: BadSenders::new(bad.iter().map(Vec::as_slice)),
            databytes: control.int("databytes", 0)?,
            routing: Routing::load(&control).map_err(SiteError::Routing)?,
            stamps,
        })
    }

    /// The name this host greets with.
    pub(crate) fn greeting(&self) -> &[u8] {
        &self.greeting
    }

    /// Whether the files are still those that were read.
    pub(crate) fn is_fresh(&self, home: &Home) -> bool {
        self.stamps == stamps(&Control::new(home))
    }

    /// What the session of one connection needs to know.
    pub(crate) fn settings(&self, about: &Circumstances) -> Settings {
        let databytes = about.get("DATABYTES").map_or(self.databytes, |text| digits(&text));
        Settings {
            greeting: self.greeting.clone(),
            bad_senders: self.bad_senders.clone(),
            databytes,
            relay: about.get("RELAYCLIENT"),
            own: OwnAddresses {
                name: self.localiphost.clone(),
                addresses: own_addresses(about.get("TCPLOCALIP").as_deref()),
            },
        }
    }
}

impl Hosts {
    /// Reads `rcpthosts` and `morercpthosts.cdb`.
    ///
    /// # Errors
    /// One of them cannot be used.
    pub(crate) fn load(control: &Control) -> Result<Self, SiteError> {
        let Some(listed) = control.set("rcpthosts")? else { return Ok(Self::Ours) };
        let path = control.path("morercpthosts.cdb");
        match std::fs::read(&path) {
            Err(err) if err.kind() == io::ErrorKind::NotFound => Ok(Self::Listed(listed, None)),
            Err(err) => Err(SiteError::Cdb(path, err)),
            Ok(bytes) if Cdb::new(&bytes).is_ok() => Ok(Self::Listed(listed, Some(bytes))),
            Ok(_) => {
                let damaged = "it is damaged: put a sound one in its place, or remove it";
                Err(SiteError::Cdb(path, io::Error::new(io::ErrorKind::InvalidData, damaged)))
            }
        }
    }
}

fn stamps(control: &Control) -> Vec<Option<Stamp>> {
    let stamp = |name| std::fs::metadata(control.path(name)).ok().map(|meta| Stamp::of(&meta));
    FILES.into_iter().map(stamp).collect()
}

/// The literals that mean this host: the address the client reached, and those that any host has.
fn own_addresses(reached: Option<&[u8]>) -> Vec<Ipv4Addr> {
    let reached = reached.and_then(|ip| std::str::from_utf8(ip).ok()?.parse().ok());
    [Ipv4Addr::UNSPECIFIED, Ipv4Addr::LOCALHOST].into_iter().chain(reached).collect()
}

/// The number a text begins with; 0 if with none.
pub(crate) fn digits(text: &[u8]) -> u64 {
    base::number::leading(text).unwrap_or(0)
}
