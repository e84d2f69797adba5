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
