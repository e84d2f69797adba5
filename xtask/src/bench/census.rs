//! What a server's processes hold together, as the kernel counts it.

use std::collections::BTreeMap;
use std::path::Path;

/// A server at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Census {
    pub(super) processes: u64,
    pub(super) descriptors: u64,
    /// Kilobytes; pages that several share count once.
    pub(super) memory: u64,
}

impl Census {
    /// A process and all its descendants.
    pub(super) fn of(root: u32) -> Self {
        let mut census = Self::default();
        for pid in descendants(root) {
            let proc = format!("/proc/{pid}");
            census.processes += 1;
            census.descriptors +=
                std::fs::read_dir(format!("{proc}/fd")).map_or(0, |d| d.count() as u64);
            census.memory += field(Path::new(&proc), "smaps_rollup", "Pss:").unwrap_or(0);
        }
        census
    }
}

/// A process and its descendants.
pub(super) fn descendants(root: u32) -> Vec<u32> {
    let mut children = BTreeMap::<u32, Vec<u32>>::new();
    for entry in std::fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Ok(pid) = entry.file_name().to_string_lossy().parse::<u32>() else { continue };
        if let Some(parent) = field(&entry.path(), "status", "PPid:") {
            children.entry(parent as u32).or_default().push(pid);
        }
    }
    let (mut all, mut at) = (vec![root], 0);
    while let Some(pid) = all.get(at) {
        all.extend(children.remove(pid).unwrap_or_default());
        at += 1;
    }
    all
}

/// A number in one of a process's files.
pub(super) fn field(proc: &Path, file: &str, name: &str) -> Option<u64> {
    let text = std::fs::read_to_string(proc.join(file)).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}
