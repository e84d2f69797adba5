//! Room for programs under limits from days when a program fitted into two megabytes.
//!
//! Under such a limit the kernel kills a program of today in exec, before it could say why. So whoever
//! is about to become a program looks first: one of ours gets room, and a line says so; of any other it
//! is only said that it will be killed.

use crate::message::{Piece, Voice};
use base::limits::PROGRAM_MEMORY;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use sys::rlimit::{self, Resource};

/// Our binaries. They lie beside each other.
const OURS: [&str; 5] = ["qmail", "qmail-net", "daemontools", "qmail-admin", "qmail-authres"];
/// Program headers looked at; a file has about ten.
const HEADERS: u16 = 64;

/// A program that is about to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Need {
    /// It is one of ours.
    ours: bool,
    /// Bytes of address space its image takes; 0 if it has none that we understand.
    image: u64,
}

/// Looks at a program, found as exec will. To be done before limits are set that leave no memory for
/// looking.
pub(crate) fn look(child: &OsStr) -> Option<Need> {
    let path = sys::spawn::find(child)?;
    let file = File::open(&path).ok();
    let image = file.and_then(|file| image(|into, at| file.read_exact_at(into, at)));
    Some(Need { ours: is_ours(&path), image: image.unwrap_or(0) })
}

/// Raises limits under which `child`, if it is one of our programs, could not start, and says so;
/// says what the kernel will do if it has no room all the same.
pub(crate) fn make(voice: Voice, child: &OsStr, need: Need) {
    let mut least = u64::MAX;
    for what in [Resource::As, Resource::Data] {
        let Ok((soft, hard)) = rlimit::get(what) else { continue };
        let enough = PROGRAM_MEMORY.min(hard);
        if need.ours && soft < enough && rlimit::set(what, enough, hard).is_ok() {
            least = least.min(soft);
        }
    }
    if least < u64::MAX {
        let few = format!("{least} bytes of memory are too few for ");
        let text = format!(": giving it {PROGRAM_MEMORY} (write -m {PROGRAM_MEMORY})");
        voice.warning(&[&few, &child, &text], None);
    }
    let Ok((space, _)) = rlimit::get(Resource::As) else { return };
    if space < need.image {
        let text = format!(
            " needs {} bytes of memory and may have {space}: the kernel will kill it",
            need.image
        );
        let text: [Piece<'_>; 2] = [&child, &text];
        voice.warning(&text, None);
    }
}

/// Both, for whoever sets no limits: only if there are some that may be too low.
pub(crate) fn see_to(voice: Voice, child: &OsStr) {
    let low = |what| rlimit::get(what).is_ok_and(|(soft, _)| soft < PROGRAM_MEMORY);
    if (low(Resource::As) || low(Resource::Data))
        && let Some(need) = look(child)
    {
        make(voice, child, need);
    }
}

/// Whether a file is one of our binaries: it is this one, or one of the others beside it. Links count
/// as what they lead to.
fn is_ours(path: &Path) -> bool {
    let (Ok(path), Ok(own)) = (path.canonicalize(), std::env::current_exe()) else { return false };
    let named = path.file_name().is_some_and(|name| OURS.iter().any(|ours| name == *ours));
    let identity = |path: &Path| path.metadata().ok().map(|meta| (meta.dev(), meta.ino()));
    (named && path.parent() == own.parent())
        || identity(&path).is_some_and(|this| identity(&own) == Some(this))
}

/// The bytes from the first to the last that the segments of a 64-bit little-endian ELF file are
/// mapped to (System V ABI, "Program Header"); `None` for any other file.
fn image(read: impl Fn(&mut [u8], u64) -> io::Result<()>) -> Option<u64> {
    /// Loadable.
    const LOAD: u32 = 1;
    let mut head = [0; 64];
    read(&mut head, 0).ok()?;
    head.strip_prefix(b"\x7fELF\x02\x01")?;
    let (at, size, count) = (u64_at(&head, 32)?, u16_at(&head, 54)?, u16_at(&head, 56)?);
    let (mut first, mut last) = (u64::MAX, 0);
    for n in 0..count.min(HEADERS) {
        let mut header = [0; 56];
        let place = u64::from(n).checked_mul(size.into())?;
        read(&mut header, at.checked_add(place)?).ok()?;
        if header.first_chunk().map(|kind| u32::from_le_bytes(*kind)) == Some(LOAD) {
            let address = u64_at(&header, 16)?;
            first = first.min(address);
            last = last.max(address.checked_add(u64_at(&header, 40)?)?);
        }
    }
    last.checked_sub(first)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beside_us_is_ours() {
        let own = std::env::current_exe().unwrap();
        assert!(is_ours(&own) && !is_ours("/bin/sh".as_ref()));
        let ours = look(own.as_os_str());
        assert!(ours.is_some_and(|need| need.ours && need.image > 100_000), "{ours:?}");
        let shell = look("sh".as_ref());
        assert!(shell.is_some_and(|need| !need.ours && need.image > 10_000), "{shell:?}");
        assert_eq!(look("no-such-program".as_ref()), None);
    }

    /// An ELF file of two segments.
    fn elf() -> Vec<u8> {
        let mut file = vec![0; 64 + 3 * 56];
        file[..6].copy_from_slice(b"\x7fELF\x02\x01");
        file[32] = 64;
        file[54] = 56;
        file[56] = 3;
        for (n, kind, address, bytes) in [(0, 1, 0x1000, 0x500), (1, 6, 0, 9), (2, 1, 0x3000, 0x77)]
        {
            let header = 64 + n * 56;
            file[header] = kind;
            file[header + 16..header + 24].copy_from_slice(&u64::to_le_bytes(address));
            file[header + 40..header + 48].copy_from_slice(&u64::to_le_bytes(bytes));
        }
        file
    }

    fn of(file: &[u8]) -> Option<u64> {
        image(|into, at| {
            let at = usize::try_from(at).map_err(io::Error::other)?;
            let from = file.get(at..).and_then(|rest| rest.get(..into.len()));
            into.copy_from_slice(from.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    #[test]
    fn an_image_reaches_from_its_first_segment_to_its_last() {
        assert_eq!(of(&elf()), Some(0x2077));
        assert_eq!(of(b"#!/bin/sh\n"), None);
    }

    #[test]
    fn a_damaged_file_has_no_image_and_is_never_a_crash() {
        let whole = elf();
        for cut in 0..whole.len() {
            assert_eq!(of(&whole[..cut]), None);
        }
        for at in 0..whole.len() {
            let mut file = whole.clone();
            file[at] ^= 0xff;
            let _ = of(&file);
        }
    }
}
