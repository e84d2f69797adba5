//! Files, ports, and processes outside: Landlock.

use std::io;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, NetPort, PathBeneath,
    Ruleset, RulesetAttr, RulesetCreated, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::{Fence, Level, Tcp};

/// The newest rules that were tried out; a kernel that knows fewer keeps those.
const RULES: ABI = ABI::V6;

/// Builds the fence as far as the kernel can.
pub(super) fn restrict(fence: &Fence) -> io::Result<Level> {
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let write = read | AccessFs::from_write(RULES);
    let run = AccessFs::ReadFile | AccessFs::Execute;
    let mut rules = handled(fence).map_err(io::Error::other)?;
    for (paths, access) in [(&fence.reads, read), (&fence.writes, write), (&fence.runs, run)] {
        rules = beneath(rules, paths, access)?;
    }
    if let Tcp::Only(ports) = &fence.connects {
        for &port in ports {
            let rule = NetPort::new(port, AccessNet::ConnectTcp);
            rules = rules.add_rule(rule).map_err(io::Error::other)?;
        }
    }
    if fence.from {
        let rule = NetPort::new(0, AccessNet::BindTcp);
        rules = rules.add_rule(rule).map_err(io::Error::other)?;
    }
    Ok(match rules.restrict_self().map_err(io::Error::other)?.ruleset {
        RulesetStatus::FullyEnforced => Level::Whole,
        RulesetStatus::PartiallyEnforced => Level::Part,
        RulesetStatus::NotEnforced => Level::Nothing,
    })
}

/// What is forbidden unless a rule allows it.
fn handled(fence: &Fence) -> Result<RulesetCreated, RulesetError> {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::BestEffort);
    let ruleset = ruleset.handle_access(AccessFs::from_all(RULES))?;
    let ruleset = ruleset.handle_access(AccessNet::BindTcp)?.scope(Scope::from_all(RULES))?;
    let ruleset = match fence.connects {
        Tcp::Any => ruleset,
        Tcp::Only(_) => ruleset.handle_access(AccessNet::ConnectTcp)?,
    };
    ruleset.create()
}

/// Allows an access to files and to all beneath directories.
fn beneath(
    mut rules: RulesetCreated,
    paths: &[PathBuf],
    access: BitFlags<AccessFs>,
) -> io::Result<RulesetCreated> {
    for path in paths {
        let Some((file, is_directory)) = open(path)? else { continue };
        let access = if is_directory { access } else { access & AccessFs::from_file(RULES) };
        rules = rules.add_rule(PathBeneath::new(file, access)).map_err(io::Error::other)?;
    }
    Ok(rules)
}

/// A file to name in a rule, and whether it is a directory; none if there is none, or none we may
/// come near: then there is nothing to allow.
fn open(path: &Path) -> io::Result<Option<(OwnedFd, bool)>> {
    let file = match rustix::fs::open(path, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()) {
        Ok(file) => file,
        Err(Errno::NOENT | Errno::NOTDIR | Errno::ACCESS) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&file)?.st_mode);
    Ok(Some((file, kind == FileType::Directory)))
}
