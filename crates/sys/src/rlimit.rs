//! Resource limits of this process and its future children.

use nix::sys::resource::{Resource as Kernel, getrlimit, setrlimit};
use std::io;

/// What can be limited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Address space, in bytes.
    As,
    /// A core file, in bytes.
    Core,
    /// CPU time, in seconds.
    Cpu,
    /// The data segment, in bytes.
    Data,
    /// A file written, in bytes.
    Fsize,
    /// Locked memory, in bytes.
    Memlock,
    /// Open descriptors.
    Nofile,
    /// Processes of the uid.
    Nproc,
    /// Resident memory, in bytes (Linux does not enforce it).
    Rss,
    /// The stack, in bytes.
    Stack,
}

impl Resource {
    fn kernel(self) -> Kernel {
        match self {
            Self::As => Kernel::RLIMIT_AS,
            Self::Core => Kernel::RLIMIT_CORE,
            Self::Cpu => Kernel::RLIMIT_CPU,
            Self::Data => Kernel::RLIMIT_DATA,
            Self::Fsize => Kernel::RLIMIT_FSIZE,
            Self::Memlock => Kernel::RLIMIT_MEMLOCK,
            Self::Nofile => Kernel::RLIMIT_NOFILE,
            Self::Nproc => Kernel::RLIMIT_NPROC,
            Self::Rss => Kernel::RLIMIT_RSS,
            Self::Stack => Kernel::RLIMIT_STACK,
        }
    }
}

/// The soft and the hard limit; `u64::MAX` is none.
pub fn get(what: Resource) -> io::Result<(u64, u64)> {
    Ok(getrlimit(what.kernel())?)
}

/// Sets both limits; a hard limit once lowered stays so, but for root.
pub fn set(what: Resource, soft: u64, hard: u64) -> io::Result<()> {
    Ok(setrlimit(what.kernel(), soft, hard)?)
}

/// Sets the soft limit, cut to the hard one.
pub fn set_soft(what: Resource, soft: u64) -> io::Result<()> {
    let (_, hard) = get(what)?;
    set(what, soft.min(hard), hard)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_above_the_hard_one_becomes_the_hard_one() {
        set_soft(Resource::Core, u64::MAX).unwrap();
        let (soft, hard) = get(Resource::Core).unwrap();
        assert_eq!(soft, hard);
    }
}
