//! A client that has to wait, and may go: whoever is gone holds no place.

use std::io::ErrorKind;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};
use sys::net;
use sys::poll::{self, Interest};

/// Returns after `time`, or at once, and false, when the client is gone: it has hung up, or ended
/// before it said anything, and so never will.
pub(super) fn stays(client: BorrowedFd<'_>, time: Duration) -> bool {
    let since = Instant::now();
    loop {
        let left = time.saturating_sub(since.elapsed());
        if left.is_zero() {
            return true;
        }
        let interest = match net::peek_now(client).map_err(|error| error.kind()) {
            // Whoever talks before it is greeted is its server's to judge; its end stands behind that.
            Ok(true) => Interest::NONE,
            Ok(false) | Err(ErrorKind::ConnectionReset | ErrorKind::TimedOut) => return false,
            Err(ErrorKind::WouldBlock) => Interest::READ,
            Err(_) => return slept(left),
        };
        match poll::ready(&[client], interest, Some(left)) {
            Ok(ready) if interest == Interest::NONE && ready.contains(&true) => return false,
            Ok(_) => {}
            Err(_) => return slept(left),
        }
    }
}

/// What is no connection does not hang up.
fn slept(time: Duration) -> bool {
    std::thread::sleep(time);
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    /// Whether it stayed, and whether that was known before its time was up.
    fn watched(
        does: impl FnOnce(TcpStream, &mut TcpStream) -> Option<TcpStream>,
        time: Duration,
    ) -> (bool, bool) {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let kept = does(client, &mut server);
        let begun = Instant::now();
        let stayed = stays(server.as_fd(), time);
        drop(kept);
        (stayed, begun.elapsed() < time)
    }

    /// Goes so that the other side is reset: what it was sent is unread.
    fn reset(client: TcpStream, server: &mut TcpStream) -> Option<TcpStream> {
        server.write_all(b"x").unwrap();
        client.peek(&mut [0]).unwrap();
        drop(client);
        None
    }

    #[test]
    fn who_goes_is_not_waited_for() {
        let long = Duration::from_secs(60);
        assert_eq!(watched(|_, _| None, long), (false, true));
        assert_eq!(watched(reset, long), (false, true));
        let ends = |client: TcpStream, _: &mut TcpStream| {
            client.shutdown(Shutdown::Write).unwrap();
            Some(client)
        };
        assert_eq!(watched(ends, long), (false, true));
        let talks_and_goes = |mut client: TcpStream, server: &mut TcpStream| {
            client.write_all(b"EHLO early\r\n").unwrap();
            server.peek(&mut [0]).unwrap();
            reset(client, server)
        };
        assert_eq!(watched(talks_and_goes, long), (false, true));
    }

    #[test]
    fn who_stays_is_waited_for_and_who_talks_too() {
        let short = Duration::from_millis(200);
        assert_eq!(watched(|client, _| Some(client), short), (true, false));
        let talks = |mut client: TcpStream, _: &mut TcpStream| {
            client.write_all(b"EHLO early\r\n").unwrap();
            Some(client)
        };
        assert_eq!(watched(talks, short), (true, false));
    }
}
