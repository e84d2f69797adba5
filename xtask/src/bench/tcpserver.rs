//! Ours and Debian's tcpserver in turns: clients that connect, hear the end and come again, and a
//! program that ends at once for each of them.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sys::signal::{Signal, kill};

use super::beside::{self, Run, Units, Whose};
use crate::build;
use crate::clients::free_address;
use crate::compat::debian::Debian;
use crate::tally::Trouble;

/// Connections in one run.
const CONNECTIONS: usize = 8_000;
/// A program that everybody has.
const ECHO: [&str; 2] = ["/bin/echo", "x"];
/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// A program that says `x` and ends (Linux on x86-64): an ELF header, one program header, and
/// `mov $1,%eax; mov %eax,%edi; mov $0x400091,%esi; mov %eax,%edx; syscall; mov $60,%eax;
/// xor %edi,%edi; syscall`. With it the time is the listener's own; any other program's would count
/// for both.
const X: &[u8] = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x02\0\x3e\0\x01\0\0\0\x78\0\x40\0\0\0\0\0\
    \x40\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\x38\0\x01\0\0\0\0\0\0\0\
    \x01\0\0\0\x05\0\0\0\0\0\0\0\0\0\0\0\0\0\x40\0\0\0\0\0\0\0\x40\0\0\0\0\0\
    \x92\0\0\0\0\0\0\0\x92\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\
    \xb8\x01\0\0\0\x89\xc7\xbe\x91\0\x40\0\x89\xc2\x0f\x05\xb8\x3c\0\0\0\x31\xff\x0f\x05x";

/// One measurement.
struct Task {
    title: &'static str,
    /// Clients at once.
    clients: usize,
    /// The program and its argument; without one it is [`X`].
    program: Option<[&'static str; 2]>,
    options: &'static str,
    /// What ours must at least be, measured in the peer's; `None` where it is mostly the program's.
    wanted: Option<f64>,
}

const TASKS: [Task; 5] = [
    Task {
        title: "a program of 26 bytes, one client",
        clients: 1,
        program: None,
        options: "-QRHl0",
        wanted: Some(1.0),
    },
    Task {
        title: "the same, 4 clients",
        clients: 4,
        program: None,
        options: "-QRHl0",
        wanted: Some(1.0),
    },
    Task {
        title: "the same, 16 clients",
        clients: 16,
        program: None,
        options: "-QRHl0",
        wanted: Some(1.0),
    },
    Task {
        title: "the same with a log",
        clients: 16,
        program: None,
        options: "-vRHl0",
        wanted: Some(1.0),
    },
    Task {
        title: "echo, 16 clients",
        clients: 16,
        program: Some(ECHO),
        options: "-QRHl0",
        wanted: None,
    },
];

/// Of the connections; the processor time is the program's too.
const UNITS: Units = Units { rate: "/s", cpu: "us of processor each", digits: 0 };

/// Measures and prints.
pub(super) fn report(dir: &Path, rounds: usize) -> Result<(), Trouble> {
    fs::create_dir_all(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
    let ours = build::release()?.join("daemontools");
    let theirs = Debian::unpack(dir)?.bin().join("tcpserver");
    let small = small(dir)?;
    println!("\ntcpserver: {CONNECTIONS} connections, a process each");
    for task in &TASKS {
        let echo = task.program.map(|words| words.map(str::to_owned).to_vec());
        let program = &echo.unwrap_or_else(|| small.clone());
        beside::measure(task.title, &UNITS, task.wanted, rounds, |whose| match whose {
            Whose::Ours => run(task, Command::new(&ours).arg("tcpserver"), program),
            Whose::Debian => run(task, &mut Command::new(&theirs), program),
        })?;
    }
    Ok(())
}

/// The smallest program there is here.
fn small(dir: &Path) -> Result<Vec<String>, Trouble> {
    let path = dir.join("x");
    fs::write(&path, X)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
        .map_err(|e| format!("{}: {e}", path.display()))?;
    let said = Command::new(&path).output();
    if said.is_ok_and(|said| said.stdout == b"x") {
        return Ok(vec![path.to_string_lossy().into_owned()]);
    }
    println!("{} does not run here: echo in its place", path.display());
    Ok(ECHO.map(str::to_owned).to_vec())
}

/// A listener. Dropped, it is ended.
struct Listener {
    child: Child,
    at: SocketAddr,
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = kill(self.child.id(), Signal::Term);
        let _ = self.child.wait();
    }
}

impl Listener {
    fn start(task: &Task, command: &mut Command, program: &[String]) -> Result<Self, Trouble> {
        let at: SocketAddr = free_address()?.parse().map_err(|e| format!("an address: {e}"))?;
        command.arg(task.options).args(["-c", "1000", "-b", "128"]);
        command.args([at.ip().to_string(), at.port().to_string()]).args(program);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().map_err(|e| format!("tcpserver: {e}"))?;
        let (listener, begun) = (Self { child, at }, Instant::now());
        while visit(at).is_err() {
            if begun.elapsed() > PATIENCE {
                return Err("tcpserver does not answer".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(listener)
    }

    /// Processor seconds of it and its children, when the last of those is gone.
    fn spent(&self) -> Result<f64, Trouble> {
        let (pid, begun) = (self.child.id(), Instant::now());
        let children = format!("/proc/{pid}/task/{pid}/children");
        while fs::read_to_string(&children).is_ok_and(|text| !text.trim().is_empty()) {
            if begun.elapsed() > PATIENCE {
                return Err("a program does not end".into());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).map_err(|e| e.to_string())?;
        let fields = text.rsplit_once(") ").map_or("", |(_, fields)| fields).split(' ');
        let ticks = fields.skip(11).take(4).filter_map(|field| field.parse::<f64>().ok());
        Ok(ticks.sum::<f64>() / 100.0)
    }
}

/// Connects, and insists on the program's word and the end.
fn visit(at: SocketAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(at)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut heard = Vec::new();
    stream.read_to_end(&mut heard)?;
    if heard.starts_with(b"x") { Ok(()) } else { Err(std::io::ErrorKind::InvalidData.into()) }
}

/// All clients, until each has had its share.
fn run(task: &Task, command: &mut Command, program: &[String]) -> Result<Run, Trouble> {
    let listener = Listener::start(task, command, program)?;
    let (at, share) = (listener.at, CONNECTIONS / task.clients);
    let (before, begun) = (listener.spent()?, Instant::now());
    let served: Result<(), std::io::Error> = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..task.clients)
            .map(|_| scope.spawn(move || (0..share).try_for_each(|_| visit(at))))
            .collect();
        clients.into_iter().try_for_each(|one| one.join().unwrap_or(Ok(())))
    });
    let took = begun.elapsed().as_secs_f64();
    served.map_err(|e| format!("a connection: {e}"))?;
    let connections = (share * task.clients) as f64;
    let cpu = (listener.spent()? - before) * 1e6 / connections;
    Ok(Run { rate: connections / took, cpu })
}
