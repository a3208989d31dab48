//! What the threads that serve requests may do at all: no path outside the layers, and no system call but those that serving takes.
//!
//! Landlock (landlock(7)) and seccomp (seccomp(2)) bind single threads, and those that they start. So the daemon's other threads can
//! still unmount, for which Landlock leaves no way, and start fusermount3, which has to gain rights.

use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};
use seccompiler::{BpfProgram, SeccompAction, SeccompFilter, TargetArch};

/// From this one on names may be moved between directories, and truncation is ruled (Linux 6.2): with less, a union could not do its
/// work, or somebody else's.
const LEAST: ABI = ABI::V3;
/// The latest that was tried.
const LATEST: ABI = ABI::V6;

/// What is allowed in a directory, and below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// To read.
    Reading,
    /// Anything.
    Changes,
}

/// What keeps a thread from being confined.
#[derive(Debug)]
pub struct Unconfined(String);

impl Unconfined {
    /// For a reason that has nothing to do with the kernel.
    pub fn new(reason: &dyn fmt::Display) -> Self {
        Self(reason.to_string())
    }
}

impl fmt::Display for Unconfined {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unconfined {}

fn unconfined(what: &str) -> impl Fn(&dyn fmt::Display) -> Unconfined {
    let what = what.to_owned();
    move |error| Unconfined(format!("{what}: {error}"))
}

/// Confines the calling thread and all that it starts, for good.
///
/// # Errors
/// Where the kernel lacks the means (Linux 6.2 has them). The thread may be confined in part then.
pub fn confine<'a>(dirs: impl IntoIterator<Item = (BorrowedFd<'a>, Allowed)>) -> Result<(), Unconfined> {
    confine_paths(dirs)?;
    confine_calls()
}

fn confine_paths<'a>(dirs: impl IntoIterator<Item = (BorrowedFd<'a>, Allowed)>) -> Result<(), Unconfined> {
    let failed = unconfined("landlock");
    let handled = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(LEAST))
        .map_err(|error| failed(&error))?
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(LATEST))
        .and_then(|rules| rules.handle_access(AccessNet::from_all(LATEST)))
        .and_then(Ruleset::create);
    let mut rules = handled.map_err(|error| failed(&error))?;
    let reading: BitFlags<AccessFs> = AccessFs::ReadFile | AccessFs::ReadDir;
    for (dir, allowed) in dirs {
        let access = match allowed {
            // With passthrough the kernel opens what a client runs with the rights of the thread that has opened it.
            Allowed::Reading => reading | AccessFs::Execute,
            Allowed::Changes => AccessFs::from_all(LATEST),
        };
        rules = rules.add_rule(PathBeneath::new(dir, access)).map_err(|error| failed(&error))?;
    }
    // Where threads and clients are looked at.
    if let Ok(proc) = PathFd::new(Path::new("/proc")) {
        rules = rules.add_rule(PathBeneath::new(proc, reading)).map_err(|error| failed(&error))?;
    }
    let status = rules.restrict_self().map_err(|error| failed(&error))?;
    match status.ruleset {
        RulesetStatus::NotEnforced => Err(failed(&"the kernel does not enforce it")),
        RulesetStatus::PartiallyEnforced | RulesetStatus::FullyEnforced => Ok(()),
    }
}

fn confine_calls() -> Result<(), Unconfined> {
    let failed = unconfined("seccomp");
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(|error| failed(&error))?;
    let rules: BTreeMap<i64, _> = CALLS.iter().chain(OLD_CALLS).map(|call| (*call, Vec::new())).collect();
    // What a library tries that is newer than this list, it does otherwise where the kernel does not know it.
    let unknown = SeccompAction::Errno(libc::ENOSYS.cast_unsigned());
    let filter =
        SeccompFilter::new(rules, unknown, SeccompAction::Allow, arch).map_err(|error| failed(&error))?;
    let program: BpfProgram = filter.try_into().map_err(|error| failed(&error))?;
    seccompiler::apply_filter(&program).map_err(|error| failed(&error))
}

/// `setxattrat(2)` and its like (Linux 6.13), and `fchmodat2(2)` (6.6): the same on all machines.
const NEW_CALLS: [i64; 5] = [452, 463, 464, 465, 466];

/// What serving takes: files by descriptors, memory, threads and time, and to be a caller for a moment; nothing that starts a program,
/// connects, traces or mounts.
const CALLS: &[i64] = &[
    NEW_CALLS[0],
    NEW_CALLS[1],
    NEW_CALLS[2],
    NEW_CALLS[3],
    NEW_CALLS[4],
    libc::SYS_brk,
    libc::SYS_capget,
    libc::SYS_capset,
    libc::SYS_clock_gettime,
    libc::SYS_clock_nanosleep,
    libc::SYS_clone,
    libc::SYS_clone3,
    libc::SYS_close,
    libc::SYS_copy_file_range,
    libc::SYS_dup,
    libc::SYS_dup3,
    libc::SYS_exit,
    libc::SYS_exit_group,
    libc::SYS_faccessat,
    libc::SYS_faccessat2,
    libc::SYS_fallocate,
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_fcntl,
    libc::SYS_fdatasync,
    libc::SYS_fgetxattr,
    libc::SYS_flistxattr,
    libc::SYS_flock,
    libc::SYS_fremovexattr,
    libc::SYS_fsetxattr,
    libc::SYS_fstat,
    libc::SYS_fstatfs,
    libc::SYS_fsync,
    libc::SYS_ftruncate,
    libc::SYS_futex,
    libc::SYS_getcpu,
    libc::SYS_getdents64,
    libc::SYS_getegid,
    libc::SYS_geteuid,
    libc::SYS_getgid,
    libc::SYS_getpid,
    libc::SYS_getpriority,
    libc::SYS_getrandom,
    libc::SYS_getrusage,
    libc::SYS_gettid,
    libc::SYS_gettimeofday,
    libc::SYS_getuid,
    libc::SYS_getxattr,
    libc::SYS_ioctl,
    libc::SYS_lgetxattr,
    libc::SYS_linkat,
    libc::SYS_listxattr,
    libc::SYS_llistxattr,
    libc::SYS_lremovexattr,
    libc::SYS_lseek,
    libc::SYS_lsetxattr,
    libc::SYS_madvise,
    libc::SYS_membarrier,
    libc::SYS_mkdirat,
    libc::SYS_mknodat,
    libc::SYS_mmap,
    libc::SYS_mprotect,
    libc::SYS_mremap,
    libc::SYS_munmap,
    libc::SYS_name_to_handle_at,
    libc::SYS_nanosleep,
    libc::SYS_newfstatat,
    libc::SYS_open_by_handle_at,
    libc::SYS_openat,
    libc::SYS_openat2,
    libc::SYS_ppoll,
    libc::SYS_prctl,
    libc::SYS_pread64,
    libc::SYS_preadv,
    libc::SYS_prlimit64,
    libc::SYS_pwrite64,
    libc::SYS_pwritev,
    libc::SYS_read,
    libc::SYS_readlinkat,
    libc::SYS_readv,
    libc::SYS_removexattr,
    libc::SYS_renameat2,
    libc::SYS_restart_syscall,
    libc::SYS_rseq,
    libc::SYS_rt_sigaction,
    libc::SYS_rt_sigprocmask,
    libc::SYS_rt_sigreturn,
    libc::SYS_sched_getaffinity,
    libc::SYS_sched_getscheduler,
    libc::SYS_sched_setaffinity,
    libc::SYS_sched_setattr,
    libc::SYS_sched_yield,
    libc::SYS_sendfile,
    libc::SYS_set_robust_list,
    libc::SYS_setfsgid,
    libc::SYS_setfsuid,
    libc::SYS_setxattr,
    libc::SYS_sigaltstack,
    libc::SYS_socketpair,
    libc::SYS_splice,
    libc::SYS_statfs,
    libc::SYS_statx,
    libc::SYS_symlinkat,
    libc::SYS_syncfs,
    libc::SYS_sync_file_range,
    libc::SYS_tgkill,
    libc::SYS_timerfd_create,
    libc::SYS_timerfd_settime,
    libc::SYS_umask,
    libc::SYS_unlinkat,
    libc::SYS_utimensat,
    libc::SYS_write,
    libc::SYS_writev,
];

/// What newer machines have no more.
#[cfg(target_arch = "x86_64")]
const OLD_CALLS: &[i64] = &[
    libc::SYS_access,
    libc::SYS_open,
    libc::SYS_poll,
    libc::SYS_readlink,
    libc::SYS_renameat,
    libc::SYS_stat,
];
#[cfg(not(target_arch = "x86_64"))]
const OLD_CALLS: &[i64] = &[];

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::{self, Write};
    use std::os::fd::AsFd;
    use std::thread;

    use rustix::fs::{CWD, Mode, RenameFlags, mkdirat, renameat_with};

    use super::*;

    fn skip(reason: &dyn fmt::Display) {
        io::stderr().write_all(format!("SKIPPED: sys::sandbox: {reason}\n").as_bytes()).unwrap();
    }

    #[test]
    fn a_confined_thread_has_its_directories_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for name in ["lower", "upper", "elsewhere"] {
            fs::create_dir(path(name)).unwrap();
            fs::write(path(name).join("f"), name).unwrap();
        }
        let (lower, upper) = (File::open(path("lower")).unwrap(), File::open(path("upper")).unwrap());
        let outcome = thread::scope(|scope| {
            let confined = scope.spawn(|| {
                confine([(lower.as_fd(), Allowed::Reading), (upper.as_fd(), Allowed::Changes)])?;
                let kind = |outcome: io::Result<()>| outcome.map_err(|error| error.kind());
                let moved_down = || -> io::Result<()> {
                    mkdirat(CWD, path("upper/d"), Mode::RWXU)?;
                    let (from, to) = (path("upper/f"), path("upper/d/f"));
                    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
                };
                // A thread of its own is confined, too.
                let elsewhere = scope.spawn(|| fs::read(path("elsewhere/f")).map(drop)).join().unwrap();
                Ok::<_, Unconfined>([
                    kind(elsewhere),
                    kind(fs::write(path("elsewhere/f"), "changed")),
                    kind(fs::write(path("lower/f"), "changed")),
                    kind(fs::read(path("lower/f")).map(drop)),
                    kind(fs::write(path("upper/f"), "changed")),
                    kind(moved_down()),
                    kind(std::process::Command::new("true").status().map(drop)),
                    kind(std::net::UdpSocket::bind("127.0.0.1:0").map(drop)),
                    kind(fs::read("/proc/self/stat").map(drop)),
                ])
            });
            confined.join().unwrap()
        });
        let outcome = match outcome {
            Ok(outcome) => outcome,
            Err(unconfined) => return skip(&unconfined),
        };
        let denied = Err(io::ErrorKind::PermissionDenied);
        assert_eq!(outcome[..6], [denied, denied, denied, Ok(()), Ok(()), Ok(())]);
        assert!(outcome[6].is_err() && outcome[7].is_err(), "{outcome:?}");
        assert_eq!(outcome[8], Ok(()));
        // Others are not.
        assert_eq!(fs::read(path("elsewhere/f")).unwrap(), b"elsewhere");
    }
}
