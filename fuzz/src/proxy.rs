//! The PROXY header: the same however it comes in, bounded, and what it says can be said again.

use base::limits::PROXY_HEADER;
use base::proxy::{Heard, NoHeader, Origin, parse};

/// The input is what a connection begins with.
pub fn proxy(data: &[u8]) {
    match parse(data) {
        Ok(Heard::Whole { origin, length }) => {
            assert!(length <= PROXY_HEADER && length <= data.len(), "it is longer than it may be");
            assert_eq!(parse(&data[..length]), parse(data), "what follows it makes a difference");
            parts(&data[..length]);
            again(origin);
        }
        Ok(Heard::Part) => {
            assert!(data.len() < PROXY_HEADER, "more is waited for than is taken");
            parts(data);
        }
        Err(NoHeader) => {
            let more = [data, b"\r\n"].concat();
            assert_eq!(parse(&more), Err(NoHeader), "it becomes one by what follows");
        }
    }
}

/// Every beginning of a header is part of one.
fn parts(header: &[u8]) {
    for cut in 0..header.len() {
        assert_eq!(parse(&header[..cut]), Ok(Heard::Part), "cut at {cut}");
    }
}

/// The same origin in a header of version 1.
fn again(origin: Origin) {
    let line = match origin {
        Origin::Own => "PROXY UNKNOWN\r\n".to_owned(),
        Origin::Client { from, to } => {
            assert_eq!(from.is_ipv4(), to.is_ipv4(), "its ends are of two families");
            let family = if from.is_ipv4() { "TCP4" } else { "TCP6" };
            let (here, there) = (from.port(), to.port());
            format!("PROXY {family} {} {} {here} {there}\r\n", from.ip(), to.ip())
        }
    };
    assert_eq!(parse(line.as_bytes()), Ok(Heard::Whole { origin, length: line.len() }));
}
