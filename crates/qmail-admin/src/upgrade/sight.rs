//! What can be seen of a service from outside: its process, what that runs, and whether it answers.

use std::fs::Metadata;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use store::home::Home;
use sys::pass;

use super::judge::{self, Seen};
use crate::install::is_of;
use crate::permissions::about;
use crate::places::Places;
use crate::setup::BINARIES;
use crate::steer::program;
use crate::{Trouble, history};

/// How long a service may take to greet us.
const PATIENCE: Duration = Duration::from_secs(2);
/// The program that is a listener's clean parent.
const NETWORK: &str = "qmail-net";

/// How a service becomes another version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// By itself, when told by HUP: a listener.
    Listens,
    /// It ends soon after TERM, and is started anew.
    Ends,
    /// It ends after TERM when what it has begun is done.
    Finishes,
}

impl Kind {
    /// What a service is, by its name and what it runs.
    pub(super) fn of(name: &str, seen: Option<&Service>) -> Self {
        match name {
            "qmail-send" => Self::Finishes,
            _ if seen.is_some_and(|seen| seen.listens) => Self::Listens,
            _ => Self::Ends,
        }
    }

    /// What svc tells it.
    pub(super) const fn command(self) -> &'static str {
        match self {
            Self::Listens => "-h",
            Self::Ends | Self::Finishes => "-t",
        }
    }
}

/// A service's process.
#[derive(Debug)]
pub(super) struct Service {
    pid: u32,
    /// What it runs; none if we may not know.
    program: Option<Metadata>,
    /// It is a tcpserver.
    listens: bool,
    /// Its children that run our network programs, with what exactly they run.
    parents: Vec<(u32, Metadata)>,
}

/// What a look at a service shows.
#[derive(Debug)]
pub(super) enum Look {
    /// There is none, or it is meant to be down.
    Absent,
    /// It is down and should be up.
    Down,
    /// Its process.
    Up(Box<Service>),
}

impl Look {
    /// Looks at one, by the home's svstat, which may be of the new version: if that cannot tell, the
    /// version will not do.
    pub(super) fn at(home: &Home, places: &Places, name: &str) -> Result<Self, Trouble> {
        let (svstat, service) = (home.path("bin/svstat"), places.service(name));
        let asked = about(&svstat, program(home, "svstat").arg(&service).output())?;
        let line = String::from_utf8_lossy(&asked.stdout).into_owned();
        let found = asked.status.success().then(|| found(line.trim_end(), &service)).flatten();
        found.ok_or_else(|| {
            let (svstat, service) = (svstat.display(), service.display());
            format!("{svstat} does not tell the state of {service}: {}, {line:?}", asked.status)
        })
    }
}

impl Service {
    fn of(pid: u32) -> Self {
        let listens = arguments(pid).any(|word| word.ends_with(b"/tcpserver"));
        let parents = if listens { clean_parents(pid) } else { Vec::new() };
        Self { pid, program: runs(pid), listens, parents }
    }

    /// Whether it runs one of our binaries, as they are or were in the home's `bin/`. Where that is
    /// not shown, the run script of a service that every home has was ours, and nobody else's is told
    /// from it.
    pub(super) fn is_ours(&self, home: &Home, name: &str) -> bool {
        is_of(self.pid, home.root()).unwrap_or_else(|_| judge::is_known(name))
    }
}

/// What a line of svstat's says of a service.
fn found(line: &str, service: &Path) -> Option<Look> {
    let said = history::said(line, service)?;
    match history::state(said) {
        Some(state) if state.pid != 0 => Some(Look::Up(Box::new(Service::of(state.pid)))),
        Some(state) if state.want_up => Some(Look::Down),
        Some(_) => Some(Look::Absent),
        // Nobody keeps it up, or nobody has ever.
        None if said == "supervise not running" => Some(Look::Absent),
        None if said.starts_with("unable to ") && said.ends_with("file does not exist") => {
            Some(Look::Absent)
        }
        None => None,
    }
}

/// What a process runs.
fn runs(pid: u32) -> Option<Metadata> {
    std::fs::metadata(format!("/proc/{pid}/exe")).ok()
}

/// A process's words.
fn arguments(pid: u32) -> impl Iterator<Item = Vec<u8>> {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|&byte| byte == 0).take(4).map(<[u8]>::to_vec).collect::<Vec<_>>().into_iter()
}

/// The clean parents among a listener's children.
fn clean_parents(listener: u32) -> Vec<(u32, Metadata)> {
    let path = format!("/proc/{listener}/task/{listener}/children");
    let children = std::fs::read_to_string(path).unwrap_or_default();
    let pids = children.split_whitespace().filter_map(|pid| pid.parse().ok());
    let network = |pid: u32| {
        let link = std::fs::read_link(format!("/proc/{pid}/exe")).ok()?;
        let name = link.file_name()?.to_string_lossy().into_owned();
        name.starts_with(NETWORK).then(|| runs(pid)).flatten()
    };
    pids.filter_map(|pid: u32| Some((pid, network(pid)?))).collect()
}

/// Compares a service with what it was before, if it was there.
pub(super) fn compare(home: &Home, before: Option<&Service>, now: &Look) -> Seen {
    let Look::Up(now) = now else { return Seen::Down };
    let current = |program: &Metadata| {
        BINARIES.iter().any(|binary| {
            let there = std::fs::metadata(home.path("bin").join(binary));
            there.is_ok_and(|there| sys::file::is_same(&there, program))
        })
    };
    let same = before.is_some_and(|before| before.pid == now.pid);
    // A listener keeps its pid; a clean parent of the new version is new.
    let old = before.map(|before| &before.parents[..]).unwrap_or_default();
    let fresh = now
        .parents
        .iter()
        .any(|(pid, program)| current(program) && !old.iter().any(|(known, _)| known == pid));
    let renewed = now.listens && (fresh || old.is_empty());
    match now.program.as_ref().is_none_or(current) {
        true if !same || renewed => Seen::New(now.pid),
        // It is still on its way, through its script.
        false if !same => Seen::Down,
        _ => Seen::Old,
    }
}

/// Whether a service answers.
pub(super) fn is_ready(home: &Home, places: &Places, name: &str) -> bool {
    match name {
        "queued" => {
            let mut qstat = program(home, "qmail-qstat");
            qstat.stdout(Stdio::null()).stderr(Stdio::null());
            qstat.status().is_ok_and(|status| status.success())
        }
        "pspawn" => pass::connect(&home.path("pspawn/socket"), pass::Kind::Seqpacket).is_ok(),
        "qmail-smtpd" | "qmail-pop3d" => {
            let run = places.services.join(name).join("run");
            let script = std::fs::read_to_string(run).unwrap_or_default();
            // Where it listens cannot be told from every script; that it runs must do then.
            address(&script).is_none_or(greets)
        }
        _ => true,
    }
}

/// The address that a run script has tcpserver listen on.
fn address(script: &str) -> Option<SocketAddr> {
    let words: Vec<&str> = script.split_whitespace().collect();
    words.windows(2).find_map(|pair| {
        let [host, port] = pair else { return None };
        let host = match *host {
            "0" | "0.0.0.0" | ":0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        let port: u16 = match *port {
            "smtp" => 25,
            "pop3" => 110,
            port => port.parse().ok().filter(|port| *port != 0)?,
        };
        Some(SocketAddr::new(host.parse().ok()?, port))
    })
}

/// Whether a connection is greeted.
fn greets(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect_timeout(&address, PATIENCE) else { return false };
    let _ = stream.set_read_timeout(Some(PATIENCE));
    stream.read(&mut [0; 1]).is_ok_and(|got| got == 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_cannot_be_read_is_not_a_service_that_is_not_there() {
        let found = |line: &str| found(line, Path::new("/service/queued"));
        let up = found("/service/queued: up (pid 77) 3 seconds, normally down");
        assert!(matches!(up, Some(Look::Up(service)) if service.pid == 77));
        let down = found("/service/queued: down 1 seconds, normally up, want up");
        assert!(matches!(down, Some(Look::Down)));
        for absent in
            ["down 3 seconds", "supervise not running", "unable to chdir: file does not exist"]
        {
            assert!(matches!(found(&format!("/service/queued: {absent}")), Some(Look::Absent)));
        }
        for unread in
            ["", "/service/queued: ", "/service/queued: up", "/service/other: down 3 seconds"]
        {
            assert!(found(unread).is_none(), "{unread}");
        }
    }

    #[test]
    fn where_a_script_has_its_server_listen_is_found() {
        let at = |script: &str| address(script).map(|found| found.to_string());
        let ours = "exec tcpserver -v -c 100 -u 7 -x r.cdb 0.0.0.0 25 \\\n qmail-smtpd";
        assert_eq!(at(ours).as_deref(), Some("127.0.0.1:25"));
        assert_eq!(at("tcpserver -v -l \"$LOCAL\" 0 smtp prog").as_deref(), Some("127.0.0.1:25"));
        assert_eq!(at("tcpserver -v :0 25 prog").as_deref(), Some("127.0.0.1:25"));
        assert_eq!(at("tcpserver ::1 110 prog").as_deref(), Some("[::1]:110"));
        assert_eq!(at("exec ./mine"), None);
    }
}
