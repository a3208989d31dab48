//! Where and how eagerly a thread runs.
#![allow(unsafe_code)]

use std::io;
use std::time::Duration;

use rustix::process::getpriority_process;
pub use rustix::thread::CpuSet;
use rustix::thread::{Pid, gettid, sched_getaffinity, sched_setaffinity};

/// The longest time slice that a thread may ask for (sched_setattr(2)).
const LONG: Duration = Duration::from_millis(100);

/// How often a thread has left its processor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Switches {
    /// Of itself, to wait for something.
    pub waits: i64,
    /// Because another one had to run.
    pub preemptions: i64,
}

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

    /// Whether its class is `SCHED_OTHER`.
    pub fn is_ordinary(self) -> bool {
        // SAFETY: any thread number is safe to pass.
        unsafe { libc::sched_getscheduler(self.0.as_raw_nonzero().get()) == libc::SCHED_OTHER }
    }

    /// The processors it may run on.
    ///
    /// # Errors
    /// EINVAL on a machine with more than [`CpuSet::MAX_CPU`] processors.
    pub fn processors(self) -> io::Result<CpuSet> {
        Ok(sched_getaffinity(Some(self.0))?)
    }

    /// How often the calling thread has left its processor (getrusage(2)); `None` where that is not to be had.
    pub fn own_switches() -> Option<Switches> {
        // SAFETY: zeroes are a valid rusage.
        let mut usage: libc::rusage = unsafe { std::mem::zeroed() };
        // SAFETY: `usage` may be written to until the call returns.
        match unsafe { libc::getrusage(libc::RUSAGE_THREAD, &raw mut usage) } {
            0 => Some(Switches { waits: usage.ru_nvcsw, preemptions: usage.ru_nivcsw }),
            _ => None,
        }
    }

    /// Lets it run on `processors` only.
    ///
    /// # Errors
    /// EINVAL when none of them is online or in the thread's cpuset.
    pub fn keep_to(self, processors: &CpuSet) -> io::Result<()> {
        Ok(sched_setaffinity(Some(self.0), processors)?)
    }

    /// Gives it the class `SCHED_IDLE`, and long time slices: anything else on its processor runs first and at once, also what it
    /// has woken itself. Everyone may do this.
    ///
    /// The class alone is not enough where threads of different sessions have their own groups (sched(7), autogroup), for then
    /// groups are compared and not threads; but who asks for shorter slices than another takes its place when woken (EEVDF,
    /// `PREEMPT_SHORT`, Linux 6.12).
    ///
    /// # Errors
    /// Those of sched_setattr(2).
    pub fn yield_to_all(self) -> io::Result<()> {
        match self.set_class(libc::SCHED_OTHER, LONG) {
            // It has had that class before, and was not allowed to leave it: so it has the long slices, too.
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => {}
            other => other?,
        }
        self.set_class(libc::SCHED_IDLE, Duration::ZERO)
    }

    /// Takes it back to the class `SCHED_OTHER` and slices of the usual length.
    ///
    /// # Errors
    /// EPERM without CAP_SYS_NICE or a `RLIMIT_NICE` of 20.
    pub fn run_normally(self) -> io::Result<()> {
        self.set_class(libc::SCHED_OTHER, Duration::ZERO)
    }

    /// A `slice` of zero is the usual one.
    fn set_class(self, class: libc::c_int, slice: Duration) -> io::Result<()> {
        let attr = libc::sched_attr {
            size: u32::try_from(size_of::<libc::sched_attr>()).unwrap_or(0),
            sched_policy: class.cast_unsigned(),
            sched_flags: 0,
            sched_nice: getpriority_process(Some(self.0))?,
            sched_priority: 0,
            sched_runtime: u64::try_from(slice.as_nanos()).unwrap_or(u64::MAX),
            sched_deadline: 0,
            sched_period: 0,
        };
        let thread = self.0.as_raw_nonzero().get();
        // SAFETY: `attr` is a valid sched_attr of the size it names, and lives until the call returns; any thread number is safe to
        // pass.
        match unsafe { libc::syscall(libc::SYS_sched_setattr, thread, &raw const attr, 0) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}
