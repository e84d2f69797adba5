//! Where the kernel's fast clock is in the page of code that it puts into every process.

use std::os::unix::fs::FileExt;

/// The most of that code that is read.
const PAGES: u64 = 1 << 16;
/// The kind of section that lists the names.
const NAMES: u32 = 11;

/// How far into that code `clock_gettime` begins; the same in every process of this kernel.
pub(crate) fn clock() -> Option<u64> {
    find(&image()?, b"__vdso_clock_gettime")
}

/// Our own copy of the code.
fn image() -> Option<Vec<u8>> {
    let maps = std::fs::read_to_string("/proc/self/maps").ok()?;
    let line = maps.lines().find(|line| line.ends_with("[vdso]"))?;
    let (begins, ends) = line.split(' ').next()?.split_once('-')?;
    let (begins, ends) =
        (u64::from_str_radix(begins, 16).ok()?, u64::from_str_radix(ends, 16).ok()?);
    let mut bytes = vec![0; usize::try_from(ends.checked_sub(begins)?.min(PAGES)).ok()?];
    std::fs::File::open("/proc/self/mem").ok()?.read_exact_at(&mut bytes, begins).ok()?;
    Some(bytes)
}

/// The place of a name in an ELF image that lies in memory as it does in its file.
fn find(image: &[u8], wanted: &[u8]) -> Option<u64> {
    let (sections, size, count) = (long(image, 0x28)?, short(image, 0x3a)?, short(image, 0x3c)?);
    let header = |n: u64| sections.checked_add(n.checked_mul(size)?);
    let names = (0..count).filter_map(header).find(|at| word(image, at + 4) == Some(NAMES))?;
    let texts = long(image, header(word(image, names + 0x28)?.into())? + 0x18)?;
    let (begins, length) = (long(image, names + 0x18)?, long(image, names + 0x20)?);
    (begins..begins.checked_add(length)?).step_by(24).find_map(|symbol| {
        let name = texts.checked_add(word(image, symbol)?.into())?;
        let text = image.get(usize::try_from(name).ok()?..)?;
        let is_it = text.strip_prefix(wanted)?.first() == Some(&0);
        is_it.then(|| long(image, symbol + 8))?
    })
}

fn short(image: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    image.get(at..)?.first_chunk().map(|bytes| u16::from_le_bytes(*bytes).into())
}

fn word(image: &[u8], at: u64) -> Option<u32> {
    let at = usize::try_from(at).ok()?;
    image.get(at..)?.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn long(image: &[u8], at: u64) -> Option<u64> {
    let at = usize::try_from(at).ok()?;
    image.get(at..)?.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}
