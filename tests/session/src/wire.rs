//! A server behind a byte stream.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream, ToSocketAddrs};
use std::time::Duration;

use base::netstring;

use crate::{Queued, Server};

/// How long a server may take for a line.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest line a server may say.
const LINE: usize = 64 << 10;

/// A connection to a server that runs somewhere.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    heard: Vec<u8>,
}

impl Wire {
    /// Connects to `HOST:PORT`.
    ///
    /// # Errors
    /// There is no server.
    pub fn connect(addr: impl ToSocketAddrs) -> io::Result<Self> {
        Self::over(TcpStream::connect(addr)?)
    }

    /// Speaks over a connection that is there.
    ///
    /// # Errors
    /// It takes no time limits.
    pub fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, heard: Vec::new() })
    }

    /// Takes a line off what was heard.
    fn take(&mut self) -> Option<Vec<u8>> {
        let end = self.heard.windows(2).position(|end| end == b"\r\n")?;
        let mut line: Vec<u8> = self.heard.drain(..end.saturating_add(2)).collect();
        line.truncate(end);
        Some(line)
    }
}

impl Server for Wire {
    fn send(&mut self, bytes: &[u8]) -> Result<(), String> {
        match self.stream.write_all(bytes) {
            // A server may well stop listening in the middle; its last words tell.
            Err(err)
                if matches!(err.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset) =>
            {
                Ok(())
            }
            sent => sent.map_err(|err| err.to_string()),
        }
    }

    fn line(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut room = [0; 4096];
        loop {
            if let Some(line) = self.take() {
                return Ok(Some(line));
            }
            let rest = || self.heard.escape_ascii().to_string();
            match self.stream.read(&mut room) {
                Ok(0) if self.heard.is_empty() => return Ok(None),
                Ok(0) => return Err(format!("a line without CRLF: {}", rest())),
                Err(err) if err.kind() == ErrorKind::ConnectionReset => return Ok(None),
                Err(err) => return Err(format!("{err} after \"{}\"", rest())),
                Ok(_) if self.heard.len() > LINE => return Err("an endless line".to_owned()),
                Ok(len) => self.heard.extend_from_slice(room.get(..len).unwrap_or_default()),
            }
        }
    }

    fn netstring(&mut self) -> Result<Option<Vec<u8>>, String> {
        let mut room = [0; 4096];
        loop {
            if let Some(answer) = take_netstring(&mut self.heard)? {
                return Ok(Some(answer));
            }
            match self.stream.read(&mut room) {
                Ok(0) if self.heard.is_empty() => return Ok(None),
                Ok(0) => return Err(format!("half an answer: {}", self.heard.escape_ascii())),
                Err(err) => return Err(format!("{err} after \"{}\"", self.heard.escape_ascii())),
                Ok(len) => self.heard.extend_from_slice(room.get(..len).unwrap_or_default()),
            }
        }
    }

    fn be_silent(&mut self) {}

    fn hang_up(&mut self) {
        // If the server has gone already, so be it.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    fn queued(&mut self) -> Option<Vec<Queued>> {
        None
    }
}

/// Takes a netstring off what was heard, if it is all there.
pub(crate) fn take_netstring(heard: &mut Vec<u8>) -> Result<Option<Vec<u8>>, String> {
    let taken = netstring::take(heard, LINE).map_err(|_| "no netstring".to_owned())?;
    let Some((answer, used)) = taken.map(|(answer, used)| (answer.to_vec(), used)) else {
        return Ok(None);
    };
    heard.drain(..used);
    Ok(Some(answer))
}
