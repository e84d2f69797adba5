//! Whether the file system a directory is on can be believed when it says that something is on the
//! disk: what it is, how it is mounted, what the disk says of its cache, and how long a sync takes.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::rig::Kind;
use crate::Trouble;
use crate::permissions::about;
use crate::print::say;

/// Syncs that are timed.
const SYNCS: u32 = 200;
/// No disk that keeps what it was told without power answers a sync faster, if it has a cache that
/// must be written first.
const FASTEST: Duration = Duration::from_micros(20);
/// Nor does one that turns.
const FASTEST_TURNING: Duration = Duration::from_millis(1);
/// Options that change what a sync means or in which order things become durable.
const OPTIONS: [&str; 16] = [
    "async",
    "auto_da_alloc",
    "barrier",
    "commit",
    "compress",
    "data",
    "datacow",
    "dioread_nolock",
    "flushoncommit",
    "journal_async_commit",
    "nobarrier",
    "nodatacow",
    "nodelalloc",
    "notreelog",
    "noauto_da_alloc",
    "sync",
];

/// Where a directory is.
pub(crate) struct Mount {
    pub fs: String,
    pub point: String,
    /// All mount options.
    pub options: Vec<String>,
    source: String,
    device: String,
}

impl Mount {
    /// The mount a directory is on, from `/proc/self/mountinfo` (proc(5)).
    pub(crate) fn of(dir: &Path) -> Result<Self, Trouble> {
        let path = Path::new("/proc/self/mountinfo");
        let text = about(path, std::fs::read_to_string(path))?;
        let dir = about(dir, dir.canonicalize())?;
        let mounts = text.lines().filter_map(Self::parse);
        let on = mounts.filter(|mount| dir.starts_with(&mount.point));
        // The last of the longest: it hides the others.
        on.max_by_key(|mount| mount.point.len())
            .ok_or_else(|| format!("{}: not in {}", dir.display(), path.display()))
    }

    /// `36 35 98:0 /root /point rw,noatime shared:1 - ext4 /dev/sda1 rw,errors=continue`
    fn parse(line: &str) -> Option<Self> {
        let (left, right) = line.split_once(" - ")?;
        let mut left = left.split(' ').skip(2);
        let (device, _root, point, own) = (left.next()?, left.next()?, left.next()?, left.next()?);
        let mut right = right.split(' ');
        let (fs, source, more) = (right.next()?, right.next()?, right.next()?);
        let options = own.split(',').chain(more.split(',')).map(str::to_owned).collect();
        let (point, device) = (point.replace("\\040", " "), device.to_owned());
        Some(Self { fs: fs.into(), point, options, source: source.into(), device })
    }

    /// The same kind of file system, to be made anew; none if the rig cannot make it.
    pub(crate) fn kind(&self) -> Option<Kind> {
        if !["ext4", "xfs", "btrfs"].contains(&self.fs.as_str()) {
            return None;
        }
        let mut mkfs = Vec::new();
        if self.fs == "ext4" && self.lacks_journal() {
            mkfs.extend(["-O".into(), "^has_journal".into()]);
        }
        let matters = |option: &&String| {
            let name = option.split('=').next().unwrap_or_default();
            OPTIONS.contains(&name) && (name != "data" || mkfs.is_empty())
        };
        let options: Vec<&str> = self.options.iter().filter(matters).map(String::as_str).collect();
        Some(Kind { fs: self.fs.clone(), options: options.join(","), mkfs })
    }

    /// An ext4 with a journal has a thread of that name.
    fn lacks_journal(&self) -> bool {
        let name = Path::new(&self.source).file_name().unwrap_or_default().to_string_lossy();
        let Ok(journals) = std::fs::read_dir("/proc/fs/jbd2") else { return true };
        let name = device_name(&self.device).unwrap_or_else(|| name.into_owned());
        !journals.flatten().any(|entry| {
            entry.file_name().to_string_lossy().rsplit_once('-').is_some_and(|(of, _)| of == name)
        })
    }

    /// What speaks against believing it, each in a sentence.
    pub(crate) fn doubts(&self) -> Vec<String> {
        let mut doubts = Vec::new();
        let fs = self.fs.as_str();
        if ["tmpfs", "ramfs", "devtmpfs"].contains(&fs) {
            doubts.push(format!("{fs} is memory: nothing survives a power cut"));
        }
        if fs == "overlay" {
            doubts.push("overlay: it is the upper layer's disk that counts; test that one".into());
        }
        if ["nfs", "nfs4", "cifs", "smb3", "9p", "ceph", "fuse.glusterfs"].contains(&fs)
            || fs.starts_with("fuse")
        {
            doubts.push(format!(
                "{fs}: a sync asks somebody else, who cannot be looked at from here"
            ));
        }
        for option in &self.options {
            if ["nobarrier", "barrier=0", "volatile", "async,nobarrier"].contains(&option.as_str())
            {
                doubts.push(format!("mounted with {option}: a sync does not reach the disk"));
            }
            if option == "data=writeback" {
                doubts.push(
                    "mounted with data=writeback: after a cut files may hold old data".into(),
                );
            }
        }
        if ["ext2", "vfat", "exfat", "msdos"].contains(&fs) || fs == "ext4" && self.lacks_journal()
        {
            doubts.push(format!(
                "{fs} on {} has no journal: a power cut can leave it damaged, and directories with \
                 it; use one with a journal (ext4: tune2fs -O has_journal, not mounted)",
                self.point
            ));
        }
        if fs == "zfs" {
            doubts.push("zfs: see that `zfs get sync` does not say disabled".into());
        }
        if std::env::var_os("LD_PRELOAD").is_some_and(|v| v.to_string_lossy().contains("eatmydata"))
        {
            doubts.push("LD_PRELOAD names eatmydata, which does away with syncs".into());
        }
        doubts
    }

    /// What the disk says of itself: `(turns, cache)`, as far as it can be asked.
    fn disk(&self) -> (Option<bool>, Option<String>) {
        let Some(name) = device_name(&self.device) else { return (None, None) };
        let block = Path::new("/sys/class/block").join(name);
        // A partition's disk is the directory above.
        let queue = [block.join("queue"), block.join("../queue")].into_iter().find(|q| q.is_dir());
        let read = |file: &str| {
            let text = std::fs::read_to_string(queue.as_ref()?.join(file)).ok()?;
            Some(text.trim_end().to_owned())
        };
        (read("rotational").map(|text| text == "1"), read("write_cache"))
    }
}

/// The name of the block device with these numbers.
fn device_name(numbers: &str) -> Option<String> {
    let link = std::fs::read_link(Path::new("/sys/dev/block").join(numbers)).ok()?;
    link.file_name().map(|name| name.to_string_lossy().into_owned())
}

/// Says what a directory's file system is and what speaks against it; whether nothing does.
pub(crate) fn report(dir: &Path, mount: &Mount) -> Result<bool, Trouble> {
    say!(
        "{}: {} on {}, mounted with {}",
        dir.display(),
        mount.fs,
        mount.point,
        mount.options.join(",")
    );
    let mut doubts = mount.doubts();
    let (turns, cache) = mount.disk();
    match (&turns, &cache) {
        (None, None) => say!("disk: cannot be asked from here"),
        (turns, cache) => {
            let turns = if *turns == Some(true) { "it turns" } else { "it does not turn" };
            say!("disk: {turns}, cache: {}", cache.as_deref().unwrap_or("unknown"));
        }
    }
    let times = times(dir)?;
    let at = |part: usize| times.get(times.len() * part / 100).copied().unwrap_or_default();
    let (median, slow) = (at(50), at(99));
    say!("sync of 4 KiB: median {median:?}, 99 of 100 within {slow:?}");
    let caches = cache.as_deref() == Some("write back");
    if turns == Some(true) && median < FASTEST_TURNING {
        say!(
            "NOTE: a disk that turns cannot sync in {median:?}: it is a virtual one and only says \
             so, or its cache has a battery, or it lies; the test by hand tells which"
        );
    }
    if caches && median < FASTEST {
        doubts.push(format!("a disk with a cache cannot write it in {median:?}"));
    }
    for doubt in &doubts {
        say!("DOUBT: {doubt}");
    }
    Ok(doubts.is_empty())
}

/// How long syncs of a small overwrite take, sorted.
fn times(dir: &Path) -> Result<Vec<Duration>, Trouble> {
    let path = dir.join(format!(".qmail-selftest.{}", std::process::id()));
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
    let file = about(&path, file)?;
    let timed = time(&file);
    let _ = std::fs::remove_file(&path);
    about(&path, timed)
}

fn time(file: &File) -> std::io::Result<Vec<Duration>> {
    file.write_all_at(&[0; 1 << 20], 0)?;
    file.sync_all()?;
    let mut times = Vec::new();
    for n in 0..SYNCS {
        file.write_all_at(&[n.to_le_bytes()[0]; 4096], u64::from(n) * 4096)?;
        let begun = Instant::now();
        file.sync_data()?;
        times.push(begun.elapsed());
    }
    times.sort_unstable();
    Ok(times)
}

/// The file the test by hand writes in a directory.
pub(crate) fn record_file(dir: &Path) -> PathBuf {
    dir.join("qmail-powercut.record")
}

/// Whether a file is ours to read back: a plain file with one name.
pub(crate) fn is_plain(file: &File) -> bool {
    file.metadata().is_ok_and(|meta| meta.is_file() && meta.nlink() == 1)
}

#[cfg(test)]
mod tests {
    use super::Mount;

    fn mount(options: &str, fs: &str) -> Mount {
        let line =
            format!("36 35 98:0 / /srv/a\\040b rw,noatime shared:1 - {fs} /dev/none {options}");
        Mount::parse(&line).unwrap_or_else(|| std::process::abort())
    }

    #[test]
    fn a_mount_is_read_with_its_options_from_both_places() {
        let found = mount("rw,data=ordered,barrier=0", "ext4");
        assert_eq!((found.fs.as_str(), found.point.as_str()), ("ext4", "/srv/a b"));
        assert!(found.options.contains(&"noatime".into()));
        let doubts = found.doubts();
        assert!(doubts.iter().any(|d| d.contains("barrier=0")), "{doubts:?}");
        let journal = |d: &String| d.starts_with("ext4 on /srv/a b has no journal");
        assert!(doubts.iter().any(journal), "{doubts:?}");
        assert!(mount("rw", "xfs").doubts().is_empty());
    }

    #[test]
    fn memory_and_strangers_disks_are_not_believed() {
        for fs in ["tmpfs", "nfs4", "overlay", "fuse.sshfs"] {
            assert_eq!(mount("rw", fs).doubts().len(), 1, "{fs}");
            assert!(mount("rw", fs).kind().is_none(), "{fs}");
        }
        assert!(mount("rw", "xfs").doubts().is_empty());
    }

    #[test]
    fn what_changes_the_meaning_of_a_sync_is_tried_with_the_rest_left_out() {
        let kind = mount("rw,nobarrier,subvol=/a,commit=30", "btrfs").kind();
        assert_eq!(kind.map(|k| k.options), Some("nobarrier,commit=30".into()));
    }
}
