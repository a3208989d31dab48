//! System calls that this process must not wait in itself.
//!
//! A thread that waits for an answer of its own process's FUSE connection cannot be killed when the process is: it keeps the
//! connection open, so nobody ever ends its waiting. A child without the connection can wait; when the daemon ends, the
//! kernel ends the connection and the child's waiting with it.
#![allow(unsafe_code)]

use std::io;
use std::os::fd::BorrowedFd;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use rustix::time::Timespec;

/// Runs `calls` in a child that has no descriptor of ours, and `dir` as its working directory; waits for its end, but not
/// longer than `patience`.
///
/// `calls` may make system calls and nothing else: other threads may have held locks (of the allocator, say) at the moment of
/// the fork, which nobody will release in the child.
///
/// # Errors
/// That of `calls`; `ETIMEDOUT` when patience ended, and the child was sent SIGKILL; those of fork(2).
pub fn run(
    dir: BorrowedFd<'_>,
    patience: Duration,
    calls: impl FnOnce() -> Result<(), Errno>,
) -> io::Result<()> {
    // SAFETY: the child makes system calls only, as the caller promises, and ends without unwinding or running handlers.
    let child = match unsafe { libc::fork() } {
        -1 => return Err(io::Error::last_os_error()),
        0 => unsafe {
            let entered = rustix::process::fchdir(dir);
            libc::syscall(libc::SYS_close_range, 0, libc::c_uint::MAX, 0);
            let errno = entered.and_then(|()| calls()).err().map_or(0, Errno::raw_os_error);
            libc::_exit(errno)
        },
        pid => Pid::from_raw(pid).ok_or(Errno::CHILD)?,
    };
    if !ends_within(child, patience)? {
        // A child that cannot end yet will when the connection does; pid 1 reaps it.
        kill_process(child, Signal::KILL)?;
        return Err(Errno::TIMEDOUT.into());
    }
    let ended = waitpid(Some(child), WaitOptions::empty())?.and_then(|(_, status)| status.exit_status());
    match ended {
        Some(0) => Ok(()),
        Some(errno) => Err(io::Error::from_raw_os_error(errno)),
        None => Err(Errno::CHILD.into()),
    }
}

fn ends_within(child: Pid, patience: Duration) -> io::Result<bool> {
    let process = pidfd_open(child, PidfdFlags::empty())?;
    let patience = Timespec::try_from(patience).map_err(|_| Errno::INVAL)?;
    loop {
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&patience)) {
            Err(Errno::INTR) => {}
            ended => return Ok(ended? > 0),
        }
    }
}
