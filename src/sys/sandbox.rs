//! What the threads that serve requests may do at all: no path outside the layers (landlock(7)).
//!
//! Landlock binds single threads, and those that they start. So the daemon's other threads can still unmount, for which it leaves no
//! way, and start fusermount3, which has to gain rights.
//!
//! Not by seccomp(2), too: it costs each system call some 100 ns, and random reads through the union 5 % (measured on Linux 6.18).

use std::fmt;
use std::os::fd::BorrowedFd;
use std::path::Path;

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus,
};

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

/// Confines the calling thread and all that it starts, for good.
///
/// # Errors
/// Where the kernel lacks the means (Linux 6.2 has them). The thread may be confined in part then.
pub fn confine<'a>(dirs: impl IntoIterator<Item = (BorrowedFd<'a>, Allowed)>) -> Result<(), Unconfined> {
    let failed = |error: &dyn fmt::Display| Unconfined(format!("landlock: {error}"));
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
                    kind(std::net::TcpListener::bind("127.0.0.1:0").map(drop)),
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
