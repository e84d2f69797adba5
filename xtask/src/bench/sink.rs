//! Where relayed letters end: smtp-sink, a slow server of our own, and one that never answers.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::clients::free_address;
use crate::tally::Trouble;

/// Debian's smtp-sink, counting.
pub(super) struct Sink {
    child: Child,
    /// Where it hears.
    pub(super) address: String,
    counted: PathBuf,
}

impl Sink {
    /// Starts it.
    pub(super) fn start(dir: &Path) -> Result<Self, Trouble> {
        let (address, counted) = (free_address()?, dir.join("sink"));
        let out = File::create(&counted).map_err(|e| e.to_string())?;
        let mut sink = Command::new("/usr/sbin/smtp-sink");
        sink.args(["-u", "nobody", "-c", &format!("inet:{address}"), "1024"]);
        let child = sink.stdout(out).spawn().map_err(|e| format!("smtp-sink: {e}"))?;
        std::thread::sleep(Duration::from_millis(300));
        Ok(Self { child, address, counted })
    }

    /// Letters it has taken.
    pub(super) fn letters(&self) -> u32 {
        let mut tail = String::new();
        let read = File::open(&self.counted).and_then(|mut file| {
            let length = file.metadata()?.len();
            file.seek(SeekFrom::Start(length.saturating_sub(200)))?;
            file.read_to_string(&mut tail)
        });
        let last = read.ok().and_then(|_| {
            let whole = tail.split("mesg=").skip(1).filter(|t| t.contains(['\r', '\n']));
            whole.last().map(|t| t.split(|c: char| !c.is_ascii_digit()).next().map(str::to_owned))
        });
        last.flatten().and_then(|digits| digits.parse().ok()).unwrap_or(0)
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A server that thinks before each answer: as far away as that.
pub(super) struct Slow {
    /// Its port, on every loopback address.
    pub(super) port: u16,
    letters: Arc<AtomicU32>,
}

impl Slow {
    /// Starts it; it lives as long as this process.
    pub(super) fn start(thinks: Duration) -> Result<Self, Trouble> {
        let listener = TcpListener::bind("0.0.0.0:0").map_err(|e| e.to_string())?;
        let port = listener.local_addr().map_err(|e| e.to_string())?.port();
        let letters = Arc::new(AtomicU32::new(0));
        let counter = Arc::clone(&letters);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let counter = Arc::clone(&counter);
                let serve = move || {
                    // A client that goes away in the middle is its own matter.
                    let _ = serve(&stream, thinks, &counter);
                };
                let _ = std::thread::Builder::new().stack_size(64 << 10).spawn(serve);
            }
        });
        Ok(Self { port, letters })
    }

    /// Letters it has taken.
    pub(super) fn letters(&self) -> u32 {
        self.letters.load(Ordering::Relaxed)
    }

    /// Counts from nothing.
    pub(super) fn reset(&self) {
        self.letters.store(0, Ordering::Relaxed);
    }
}

/// One connection.
fn serve(mut stream: &TcpStream, thinks: Duration, letters: &AtomicU32) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut lines = BufReader::new(stream);
    let (mut line, mut replies, mut data) = (Vec::new(), String::from("220 slow\r\n"), false);
    loop {
        // As if the answers of one packet had a long way.
        if lines.buffer().is_empty() && !replies.is_empty() {
            std::thread::sleep(thinks);
            stream.write_all(replies.as_bytes())?;
            replies.clear();
        }
        line.clear();
        if lines.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        if data {
            if line == b".\r\n" {
                data = false;
                letters.fetch_add(1, Ordering::Relaxed);
                replies.push_str("250 ok\r\n");
            }
            continue;
        }
        let verb = line.get(..4).map(<[u8]>::to_ascii_uppercase);
        match verb.as_deref() {
            Some(b"EHLO") => replies.push_str("250-slow\r\n250 PIPELINING\r\n"),
            Some(b"DATA") => {
                data = true;
                replies.push_str("354 go on\r\n");
            }
            Some(b"QUIT") => return stream.write_all(b"221 bye\r\n"),
            _ => replies.push_str("250 ok\r\n"),
        }
    }
}

/// An address at which connecting takes for ever: the listener's queue is full.
pub(super) struct Dead {
    /// Where.
    pub(super) address: SocketAddr,
    _listener: std::os::fd::OwnedFd,
    _queue: Vec<std::os::fd::OwnedFd>,
}

impl Dead {
    /// Opens it.
    pub(super) fn open(ip: [u8; 4]) -> Result<Self, Trouble> {
        let text = |e: std::io::Error| format!("a dead address: {e}");
        let at = SocketAddr::from((ip, 0));
        let listener = sys::net::socket(at).map_err(text)?;
        sys::net::bind(&listener, at).map_err(text)?;
        sys::net::listen(&listener, 0).map_err(text)?;
        let address = sys::net::local(&listener).map_err(text)?;
        // Connections nobody accepts fill the queue; from then on the kernel drops what comes.
        let mut queue = Vec::new();
        for _ in 0..8 {
            match TcpStream::connect_timeout(&address, Duration::from_millis(200)) {
                Ok(stream) => queue.push(stream.into()),
                Err(_) => return Ok(Self { address, _listener: listener, _queue: queue }),
            }
        }
        Err("the queue of a listener that accepts nothing does not fill".into())
    }
}
