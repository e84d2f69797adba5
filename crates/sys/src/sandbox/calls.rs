//! System calls: seccomp.
//!
//! What a program has no use for fails with EPERM: a program that meets it says so and goes on or
//! ends as with any other error. What no honest program of ours asks for, whatever its task, kills
//! the process: somebody else is at its wheel.

use std::collections::BTreeMap;
use std::io;

use nix::libc;
use seccompiler::{
    BackendError, Error, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch,
};

use super::Level;

/// A set of system calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls(u8);

impl Calls {
    /// What is open already, memory, time, waiting, the process's own end. Always kept.
    pub const BASE: Self = Self(0);
    /// Opening files to read, listing directories.
    pub const READ: Self = Self(1);
    /// Making, changing, removing and syncing files.
    pub const WRITE: Self = Self(1 << 1);
    /// New UNIX sockets.
    pub const UNIX: Self = Self(1 << 2);
    /// New TCP and UDP sockets.
    pub const INET: Self = Self(1 << 3);
    /// Further processes, and signals to them.
    pub const FORK: Self = Self(1 << 4);
    /// Further threads, but no processes.
    pub const THREADS: Self = Self(1 << 5);
    /// Running programs.
    pub const EXEC: Self = Self(1 << 6);

    /// Both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    const fn has(self, other: Self) -> bool {
        self.0 & other.0 == other.0
    }
}

/// Which calls a set adds.
const SETS: [(Calls, &[i64]); 8] = [
    (Calls::BASE, BASE),
    (Calls::READ, READ),
    (Calls::WRITE, WRITE),
    (Calls::UNIX, SOCKETS),
    (Calls::INET, SOCKETS),
    (Calls::FORK, FORK),
    (Calls::THREADS, THREADS),
    (Calls::EXEC, EXEC),
];

const BASE: &[i64] = &[
    libc::SYS_read,
    libc::SYS_readv,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_write,
    libc::SYS_writev,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_sendfile,
    libc::SYS_splice,
    libc::SYS_tee,
    libc::SYS_copy_file_range,
    libc::SYS_lseek,
    libc::SYS_close,
    libc::SYS_close_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_fcntl,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fadvise64,
    libc::SYS_flock,
    libc::SYS_ioctl,
    libc::SYS_pipe2,
    libc::SYS_memfd_create,
    libc::SYS_eventfd2,
    libc::SYS_signalfd4,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_ppoll,
    libc::SYS_pselect6,
    libc::SYS_epoll_create1,
    libc::SYS_epoll_ctl,
    libc::SYS_epoll_pwait,
    libc::SYS_epoll_pwait2,
    // Sockets that are open, and pairs of them.
    libc::SYS_sendto,
    libc::SYS_sendmsg,
    libc::SYS_sendmmsg,
    libc::SYS_recvfrom,
    libc::SYS_recvmsg,
    libc::SYS_recvmmsg,
    libc::SYS_accept,
    libc::SYS_accept4,
    libc::SYS_shutdown,
    libc::SYS_getsockname,
    libc::SYS_getpeername,
    libc::SYS_getsockopt,
    libc::SYS_setsockopt,
    // Memory.
    libc::SYS_brk,
    libc::SYS_munmap,
    libc::SYS_mremap,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_futex,
    libc::SYS_set_robust_list,
    libc::SYS_rseq,
    libc::SYS_set_tid_address,
    // Time, chance, and who one is.
    libc::SYS_clock_gettime,
    libc::SYS_clock_getres,
    libc::SYS_clock_nanosleep,
    libc::SYS_nanosleep,
    libc::SYS_gettimeofday,
    libc::SYS_getrandom,
    libc::SYS_getpid,
    libc::SYS_getppid,
    libc::SYS_gettid,
    libc::SYS_getuid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getegid,
    libc::SYS_getgroups,
    libc::SYS_getresuid,
    libc::SYS_getresgid,
    libc::SYS_getrusage,
    libc::SYS_getrlimit,
    libc::SYS_prlimit64,
    libc::SYS_prctl,
    libc::SYS_sched_yield,
    libc::SYS_sched_getaffinity,
    libc::SYS_sysinfo,
    libc::SYS_uname,
    libc::SYS_umask,
    libc::SYS_getcwd,
    // Signals, to oneself too, and the end.
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigpending,
    libc::SYS_rt_sigtimedwait,
    libc::SYS_rt_sigreturn,
    libc::SYS_sigaltstack,
    libc::SYS_tgkill,
    libc::SYS_restart_syscall,
    libc::SYS_exit,
    libc::SYS_exit_group,
    // A further fence.
    libc::SYS_seccomp,
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_poll,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_select,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_epoll_wait,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_pipe,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_dup2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_time,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_arch_prctl,
];

const READ: &[i64] = &[
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_newfstatat,
    libc::SYS_statx,
    libc::SYS_statfs,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_readlinkat,
    libc::SYS_getdents64,
    libc::SYS_chdir,
    libc::SYS_fchdir,
    libc::SYS_inotify_init1,
    libc::SYS_inotify_add_watch,
    libc::SYS_inotify_rm_watch,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_access,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
];

const WRITE: &[i64] = &[
    libc::SYS_ftruncate,
    libc::SYS_truncate,
    libc::SYS_fallocate,
    libc::SYS_fsync,
    libc::SYS_fdatasync,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_linkat,
    libc::SYS_symlinkat,
    libc::SYS_unlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_utimensat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_link,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_symlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_unlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_mkdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rmdir,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
];

// Nobody in a fence listens.
const SOCKETS: &[i64] = &[libc::SYS_connect, libc::SYS_bind];

const FORK: &[i64] = &[
    libc::SYS_wait4,
    libc::SYS_waitid,
    libc::SYS_kill,
    libc::SYS_setpgid,
    libc::SYS_setsid,
    libc::SYS_pidfd_open,
    libc::SYS_pidfd_send_signal,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_fork,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_vfork,
];

const THREADS: &[i64] = &[libc::SYS_sched_setaffinity];

/// A program of somebody else's gets the usual policy back before it begins (`crate::sched`).
const EXEC: &[i64] = &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_sched_setscheduler];

/// What kills: other processes' memory, the machine's shape, the kernel's inner doors.
const KILLS: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_kcmp,
    libc::SYS_userfaultfd,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_unshare,
    libc::SYS_setns,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_adjtimex,
    libc::SYS_clock_adjtime,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_personality,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_kexec_file_load,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_modify_ldt,
];

/// What `clone` would make besides a process: a world of its own.
const NAMESPACES: i32 = libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET;

/// The call whose arguments no filter sees.
const CLONE3: [(i64, Vec<SeccompRule>); 1] = [(libc::SYS_clone3, Vec::new())];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// Builds the fence, for every thread there is.
pub(super) fn restrict(calls: Calls) -> io::Result<Level> {
    let Ok(arch) = TargetArch::try_from(std::env::consts::ARCH) else { return Ok(Level::Nothing) };
    let kills: Rules = KILLS.iter().map(|&call| (call, Vec::new())).collect();
    let (allow, kill) = (SeccompAction::Allow, SeccompAction::KillProcess);
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
    let whole = install(kills, allow.clone(), kill, arch)?
        && install(allowed(calls).map_err(io::Error::other)?, refuse, allow.clone(), arch)?
        // No filter can see what it is asked for; the C library then makes its threads by `clone`.
        && (!calls.has(Calls::THREADS) || install(CLONE3.into(), allow, unknown, arch)?);
    Ok(if whole { Level::Whole } else { Level::Nothing })
}

/// Adds a filter; false if the kernel has none.
fn install(
    rules: Rules,
    otherwise: SeccompAction,
    matched: SeccompAction,
    arch: TargetArch,
) -> io::Result<bool> {
    let filter = SeccompFilter::new(rules, otherwise, matched, arch).map_err(io::Error::other)?;
    let program: seccompiler::BpfProgram = filter.try_into().map_err(io::Error::other)?;
    match seccompiler::apply_filter_all_threads(&program) {
        Ok(()) => Ok(true),
        Err(Error::Seccomp(error) | Error::Prctl(error))
            if matches!(error.raw_os_error(), Some(libc::ENOSYS | libc::EINVAL)) =>
        {
            Ok(false)
        }
        Err(Error::Seccomp(error) | Error::Prctl(error)) => Err(error),
        Err(error) => Err(io::Error::other(error)),
    }
}

/// The calls that are kept.
fn allowed(calls: Calls) -> Result<Rules, BackendError> {
    let mut rules = Rules::new();
    let sets = SETS.iter().filter(|(set, _)| calls.has(*set));
    for (_, numbers) in sets {
        rules.extend(numbers.iter().map(|&number| (number, Vec::new())));
    }
    rules.insert(libc::SYS_socketpair, one_of(&[libc::AF_UNIX])?);
    let families: Vec<_> =
        [(Calls::UNIX, libc::AF_UNIX), (Calls::INET, libc::AF_INET), (Calls::INET, libc::AF_INET6)]
            .iter()
            .filter(|(set, _)| calls.has(*set))
            .map(|(_, family)| *family)
            .collect();
    if !families.is_empty() {
        rules.insert(libc::SYS_socket, one_of(&families)?);
    }
    if calls.has(Calls::FORK) {
        rules.insert(libc::SYS_clone, vec![masked(0, NAMESPACES, 0)?]);
    } else if calls.has(Calls::THREADS) {
        rules.insert(libc::SYS_clone, vec![masked(0, libc::CLONE_THREAD, libc::CLONE_THREAD)?]);
    }
    // Memory is never made executable; a program that is run may have to load its libraries.
    for number in [libc::SYS_mmap, libc::SYS_mprotect] {
        let rule =
            if calls.has(Calls::EXEC) { Vec::new() } else { vec![masked(2, libc::PROT_EXEC, 0)?] };
        rules.insert(number, rule);
    }
    Ok(rules)
}

/// The first argument is one of these.
fn one_of(numbers: &[i32]) -> Result<Vec<SeccompRule>, BackendError> {
    let rule = |&number: &i32| {
        let (word, eq) = (SeccompCmpArgLen::Dword, SeccompCmpOp::Eq);
        SeccompRule::new(vec![SeccompCondition::new(
            0,
            word,
            eq,
            u64::from(number.unsigned_abs()),
        )?])
    };
    numbers.iter().map(rule).collect()
}

/// Of these bits the argument has just those that are wanted.
fn masked(argument: u8, bits: i32, wanted: i32) -> Result<SeccompRule, BackendError> {
    let [bits, wanted] = [bits, wanted].map(|bits| u64::from(bits.unsigned_abs()));
    let masked = SeccompCmpOp::MaskedEq(bits);
    let word = SeccompCmpArgLen::Dword;
    SeccompRule::new(vec![SeccompCondition::new(argument, word, masked, wanted)?])
}
