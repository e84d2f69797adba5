//! splogger: hand lines to syslog, each with its time and as urgent as it begins.
//!
//! *Runs as* qmaill, or whoever calls it · *hears* lines on descriptor 0 · *opens* the time zone's
//! file · *speaks to* the system's logger at `/dev/log`

mod lines;
mod socket;

use crate::message::Voice;
use crate::tai64n::LocalClock;
use crate::ucspi::number;
use base::plain;
use lines::{Lines, Message};
use socket::Socket;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// Where the system's logger listens.
const SOCKET: &str = "/dev/log";
/// The variable that says where else.
const VARIABLE: &str = "SYSLOG_SOCKET";
/// Facility `mail` of RFC 5424 §6.2.1.
const MAIL: u8 = 2;
/// Facility `user`, which stands for those that are none.
const USER: u8 = 1;
/// The highest facility that syslog(3) takes.
const HIGHEST: u64 = 127;
/// Bytes of a tag that are used.
const TAG: usize = 100;

/// The program.
pub(crate) fn main(args: &[OsString]) -> i32 {
    let tag = args.get(1).map_or(&b"splogger"[..], |tag| tag.as_bytes());
    let mut post = Post {
        tag: printable(tag),
        facility: args.get(2).map_or(MAIL, |text| facility(number(text))),
        clock: LocalClock::of_this_machine(),
        socket: Socket::new(std::env::var_os(VARIABLE).map_or(SOCKET.into(), PathBuf::from)),
    };
    if let Some(missing) = crate::fences::splogger().close_or_tell() {
        Voice("splogger").warning(&[&missing], None);
    }
    let mut lines = Lines::default();
    let mut buf = vec![0; 8 << 10];
    // The end of the input and trouble with it are the same: nobody is there to be told.
    while let Ok(got) = sys::fd::read(sys::fd::stdin(), &mut buf)
        && got > 0
    {
        let bytes = buf.get(..got).unwrap_or_default();
        lines.feed(bytes, sys::clock::now, |message| post.send(&message));
    }
    lines.end(sys::clock::now, |message| post.send(&message));
    0
}

/// A facility as openlog(3) takes it: 0 is the kernel's alone.
fn facility(number: u64) -> u8 {
    match u8::try_from(number) {
        Ok(facility) if (1..=HIGHEST).contains(&number) => facility,
        _ => USER,
    }
}

/// A tag that cannot end the line or the tag.
fn printable(tag: &[u8]) -> Vec<u8> {
    let mut shown = Vec::new();
    plain::put(&mut shown, tag.get(..TAG).unwrap_or(tag), b'?');
    shown
}

/// Where messages go, and in whose name.
#[derive(Debug)]
struct Post {
    tag: Vec<u8>,
    facility: u8,
    clock: LocalClock,
    socket: Socket,
}

impl Post {
    /// Sends a message; if others were lost before it, says so first.
    fn send(&mut self, message: &Message) {
        if let Some(words) = self.socket.lost() {
            let told = Message::lost(message, &words);
            if self.socket.send(&self.packet(&told)) {
                self.socket.told();
            }
        }
        self.socket.send_counted(&self.packet(message));
    }

    /// `<PRIORITY>DATE TAG: TEXT` (RFC 3164 §4.1, as syslog(3) writes it).
    fn packet(&self, message: &Message) -> Vec<u8> {
        let priority = u16::from(self.facility) << 3 | u16::from(message.severity);
        let date = self.clock.date(message.at.secs());
        [format!("<{priority}>{date} ").as_bytes(), &self.tag, b": ", &message.text].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::time::Moment;
    use std::os::unix::net::UnixDatagram;
    use yard::Yard;

    fn post(path: PathBuf) -> Post {
        let clock = LocalClock::in_zone(b"UTC0");
        Post { tag: b"qmail".to_vec(), facility: MAIL, clock, socket: Socket::new(path) }
    }

    fn say(post: &mut Post, text: &[u8]) {
        let mut lines = Lines::default();
        let now = || Moment::from_micros(1_795_355_199_000_042);
        lines.feed(text, now, |message| post.send(&message));
    }

    #[test]
    fn a_line_is_a_packet_as_the_c_library_writes_it() {
        let dir = Yard::new("splogger");
        let path = dir.join("log");
        let mut post = post(path.clone());
        say(&mut post, b"gone one\ngone two\n");
        let syslog = UnixDatagram::bind(&path).unwrap();
        say(&mut post, b"alert: oh no\nwarning: hm\nnew msg 1\n");
        let hear = || {
            let mut buf = [0; 2_000];
            let got = syslog.recv(&mut buf).unwrap();
            String::from_utf8(buf[..got].to_vec()).unwrap()
        };
        let at = "Nov 22 13:46:39 qmail: 1795355199.000042";
        assert!(hear().starts_with(&format!("<20>{at} warning: splogger lost 2 messages: ")));
        assert_eq!(hear(), format!("<17>{at} alert: oh no"));
        assert_eq!(hear(), format!("<20>{at} warning: hm"));
        assert_eq!(hear(), format!("<22>{at} new msg 1"));
    }

    #[test]
    fn facilities_are_those_of_syslog() {
        assert_eq!((facility(2), facility(16), facility(127)), (2, 16, 127));
        assert_eq!((facility(0), facility(128), facility(u64::MAX)), (USER, USER, USER));
        assert_eq!(printable(b"a b\n<c>"), b"a b?<c>");
    }
}
