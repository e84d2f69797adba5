//! tai64n: put a time label before each line. tai64nlocal: turn such labels into local time.
//!
//! *Runs as* whoever calls it · *hears* lines on descriptor 0 · *opens* (tai64nlocal) the time
//! zone's file · *speaks to* descriptor 1.

mod civil;
mod local;
mod rule;
mod zone;

use crate::message::TEMPORARY;
use base::tai::Label;
use std::ffi::OsString;
use std::io;
use std::os::unix::ffi::OsStrExt;
use sys::signal::{self, Signal};
use zone::Zone;

/// Months as syslog writes them.
const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// A clock on the wall here.
#[derive(Clone, Debug)]
pub(crate) struct LocalClock(Zone);

impl LocalClock {
    /// By `$TZ`, else by the machine's own zone.
    pub(crate) fn of_this_machine() -> Self {
        Self(Zone::of_this_machine(std::env::var_os("TZ").as_ref().map(|tz| tz.as_bytes())))
    }

    /// By a zone as `$TZ` names one.
    #[cfg(test)]
    pub(crate) fn in_zone(tz: &[u8]) -> Self {
        Self(Zone::of_this_machine(Some(tz)))
    }

    /// `Nov  2 13:46:39` (RFC 3164 §4.1.2) at a second since the epoch.
    pub(crate) fn date(&self, unix: u64) -> String {
        let unix = i64::try_from(unix).unwrap_or(0);
        let local = unix.saturating_add(self.0.offset(unix));
        let Some(date) = civil::civil(local) else { return "Jan  1 00:00:00".to_owned() };
        let month = usize::try_from(date.month.saturating_sub(1)).unwrap_or(0);
        let month = MONTHS.get(month).copied().unwrap_or("Jan");
        let (hour, minute) = (date.second / 3600, date.second / 60 % 60);
        format!("{month} {:2} {hour:02}:{minute:02}:{:02}", date.day, date.second % 60)
    }
}

/// `tai64n`: each line gets `@label ` in front, taken when its first byte is seen.
pub(crate) fn main(_args: &[OsString]) -> i32 {
    let mut fresh = true;
    filter(|bytes, out| {
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            if fresh {
                out.extend_from_slice(&Label::at(sys::clock::now()).print());
                out.push(b' ');
            }
            out.extend_from_slice(line);
            fresh = line.ends_with(b"\n");
        }
    })
}

/// `tai64nlocal`: a label at the start of a line becomes local time.
pub(crate) fn local(_args: &[OsString]) -> i32 {
    let zone = Zone::of_this_machine(std::env::var_os("TZ").as_ref().map(|tz| tz.as_bytes()));
    let mut state = local::Local::new(zone);
    filter(|bytes, out| state.feed(bytes, out))
}

/// Copies descriptor 0 to descriptor 1 through a step; what it makes is written before each read.
fn filter(mut step: impl FnMut(&[u8], &mut Vec<u8>)) -> i32 {
    signal::default(Signal::Pipe);
    match copy(&mut step) {
        Ok(()) => 0,
        Err(_) => TEMPORARY,
    }
}

fn copy(step: &mut impl FnMut(&[u8], &mut Vec<u8>)) -> io::Result<()> {
    let mut buf = vec![0; 64 << 10];
    let mut out = Vec::new();
    loop {
        let got = sys::fd::read(sys::fd::stdin(), &mut buf)?;
        let Some(bytes) = buf.get(..got).filter(|bytes| !bytes.is_empty()) else { return Ok(()) };
        step(bytes, &mut out);
        sys::fd::write_all(sys::fd::stdout(), &out)?;
        out.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn syslogs_date_has_no_year_and_a_blank_for_a_small_day() {
        assert_eq!(LocalClock::in_zone(b"UTC0").date(1_795_355_199), "Nov 22 13:46:39");
        assert_eq!(LocalClock::in_zone(b"PST8PDT").date(935_467_445), "Aug 23 21:04:05");
        assert_eq!(LocalClock::in_zone(b"UTC0").date(0), "Jan  1 00:00:00");
        assert_eq!(LocalClock::in_zone(b"UTC0").date(u64::MAX), "Jan  1 00:00:00");
    }
}
