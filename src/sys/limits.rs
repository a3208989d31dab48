//! What a daemon inherits from whoever starts it, and must not be bound by: resource limits and signals.
#![allow(unsafe_code)]

use std::io;
use std::ptr;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// As many open files as a process may have at most, where we may say so (`fs.nr_open` is larger).
const OPEN_FILES: u64 = 1 << 20;

/// Limits of whoever mounts that would end the daemon, or fail its users' requests, in the midst of its life, each with the most
/// that is asked for (`None`: no limit).
const LIMITS: [(Resource, Option<u64>); 6] = [
    (Resource::Fsize, None),
    (Resource::Cpu, None),
    (Resource::Nofile, Some(OPEN_FILES)),
    (Resource::As, None),
    (Resource::Data, None),
    (Resource::Nproc, None),
];

/// Raises the limits as far as this process may: without bound with `CAP_SYS_RESOURCE`, else to the hard limits.
///
/// # Errors
/// Those of setrlimit(2); the other limits are raised all the same.
pub fn raise() -> io::Result<()> {
    let mut outcome = Ok(());
    for (resource, most) in LIMITS {
        let now = getrlimit(resource);
        let wider = most.and_then(|most| now.maximum.map(|hard| hard.max(most)));
        if setrlimit(resource, Rlimit { current: wider, maximum: wider }).is_ok() {
            continue;
        }
        // Not ours to raise beyond what we were given.
        if let Err(errno) = setrlimit(resource, Rlimit { current: now.maximum, maximum: now.maximum }) {
            outcome = Err(errno.into());
        }
    }
    outcome
}

/// Lets signals reach this process as if nobody had blocked or ignored them. A write beyond the limit of file sizes is an error
/// (`EFBIG`) and not the end.
///
/// To be called while the process has one thread, before it handles signals.
pub fn adopt_signals() {
    // SAFETY: the set is initialised before it is used; an empty one is valid for the call.
    unsafe {
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
        // Its children could not be waited for.
        libc::signal(libc::SIGCHLD, libc::SIG_DFL);
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        libc::signal(libc::SIGXCPU, libc::SIG_IGN);
    }
}

/// Whether whoever started us wants us to live on when his terminal is gone (`nohup`).
pub fn outlives_terminal() -> bool {
    // SAFETY: with no new action the call only fills in the old one.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(libc::SIGHUP, ptr::null(), &raw mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}
