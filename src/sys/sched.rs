//! Where and how eagerly a thread runs.
#![allow(unsafe_code)]

use std::io;

pub use rustix::thread::CpuSet;
use rustix::thread::{Pid, gettid, sched_getaffinity, sched_setaffinity};

/// A thread of this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thread(Pid);

impl Thread {
    /// The calling one.
    pub fn current() -> Self {
        Self(gettid())
    }

    /// Its number, as in `/proc`.
    pub fn number(self) -> u32 {
        self.0.as_raw_nonzero().get().unsigned_abs()
    }

    /// The processors it may run on.
    ///
    /// # Errors
    /// EINVAL on a machine with more than [`CpuSet::MAX_CPU`] processors.
    pub fn processors(self) -> io::Result<CpuSet> {
        Ok(sched_getaffinity(Some(self.0))?)
    }

    /// Lets it run on `processors` only.
    ///
    /// # Errors
    /// EINVAL when none of them is online or in the thread's cpuset.
    pub fn keep_to(self, processors: &CpuSet) -> io::Result<()> {
        Ok(sched_setaffinity(Some(self.0), processors)?)
    }

    /// Gives it the class `SCHED_IDLE`: anything else on its processor runs first. Everyone may do this.
    ///
    /// # Errors
    /// Those of sched_setscheduler(2).
    pub fn yield_to_all(self) -> io::Result<()> {
        self.set_class(libc::SCHED_IDLE)
    }

    /// Takes it back to the class `SCHED_OTHER`.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_NICE or a `RLIMIT_NICE` of 20.
    pub fn run_normally(self) -> io::Result<()> {
        self.set_class(libc::SCHED_OTHER)
    }

    fn set_class(self, class: libc::c_int) -> io::Result<()> {
        let param = libc::sched_param { sched_priority: 0 };
        // SAFETY: `param` is a valid sched_param that lives until the call returns; any thread number is safe to pass.
        match unsafe { libc::sched_setscheduler(self.0.as_raw_nonzero().get(), class, &param) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
