//! What a process does to become a daemon.
#![allow(unsafe_code)]

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};

use rustix::fs::Mode;
use rustix::io::{Errno, retry_on_intr};
use rustix::pipe::{PipeFlags, pipe_with};
use rustix::process::{Pid, WaitOptions};

const READY: u8 = b'R';

/// The two sides of [`fork_daemon`].
#[derive(Debug)]
pub enum Forked {
    /// The process that was called, which waits for the daemon.
    Parent(Starting),
    /// The daemon to be.
    Daemon(Ready),
}

/// A daemon that has not said yet whether it started.
#[derive(Debug)]
pub struct Starting {
    daemon: Pid,
    ready: OwnedFd,
}

/// What became of a starting daemon.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Started {
    /// It is ready.
    Ready,
    /// It ended with this exit code.
    Exited(u8),
    /// It was ended by this signal.
    Killed(i32),
}

/// The daemon's promise to its parent. Dropped without [`Ready::announce`], it tells the parent that the start failed.
#[derive(Debug)]
pub struct Ready(OwnedFd);

/// Forks. The daemon closes every descriptor it inherited but stdio and `keep`: a caller may wait for the end of a pipe it
/// forgot to close.
///
/// To be called while the process has one thread: only that one lives on in the daemon.
///
/// # Errors
/// Those of pipe(2) and fork(2).
pub fn fork_daemon(keep: Option<RawFd>) -> io::Result<Forked> {
    let (receiver, sender) = pipe_with(PipeFlags::CLOEXEC)?;
    // SAFETY: with a single thread, as the caller promises, the child is a full copy that may do anything. With more, it
    // could find a lock taken for ever, which is not unsound.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            drop(receiver);
            close_inherited(&mut [Some(sender.as_raw_fd()), keep]);
            Ok(Forked::Daemon(Ready(sender)))
        }
        pid => {
            let daemon = Pid::from_raw(pid).ok_or(Errno::CHILD)?;
            Ok(Forked::Parent(Starting { daemon, ready: receiver }))
        }
    }
}

fn close_inherited(keep: &mut [Option<RawFd>]) {
    keep.sort_unstable();
    let mut first = libc::STDERR_FILENO.unsigned_abs() + 1;
    for kept in
        keep.iter().flatten().map(|fd| fd.unsigned_abs()).filter(|fd| *fd >= first).collect::<Vec<_>>()
    {
        close_range(first, kept.saturating_sub(1));
        first = kept + 1;
    }
    close_range(first, libc::c_uint::MAX);
}

/// Failure (kernels before 5.9) only leaves a caller's descriptors open, so it is not reported.
fn close_range(first: libc::c_uint, last: libc::c_uint) {
    if first <= last {
        // SAFETY: right after fork, nothing in this process owns these descriptors: the caller left out all it owns.
        unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) };
    }
}

impl Starting {
    /// Waits until the daemon is ready or has ended.
    ///
    /// # Errors
    /// Those of read(2) and waitpid(2).
    pub fn wait(self) -> io::Result<Started> {
        let mut byte = [0];
        if retry_on_intr(|| rustix::io::read(&self.ready, &mut byte))? == 1 {
            return Ok(Started::Ready);
        }
        let ended = retry_on_intr(|| rustix::process::waitpid(Some(self.daemon), WaitOptions::empty()))?;
        let status = ended.map(|(_, status)| status).ok_or(Errno::CHILD)?;
        match status.terminating_signal() {
            Some(signal) => Ok(Started::Killed(signal)),
            None => Ok(Started::Exited(
                status.exit_status().and_then(|code| u8::try_from(code).ok()).unwrap_or(1),
            )),
        }
    }
}

impl Ready {
    /// Tells the parent that the daemon is ready.
    ///
    /// # Errors
    /// `EPIPE` when the parent is gone.
    pub fn announce(self) -> io::Result<()> {
        retry_on_intr(|| rustix::io::write(&self.0, &[READY]))?;
        Ok(())
    }
}

/// Leaves the caller's session, directory and stdio. Whoever waits for the end of our stdout or stderr sees it now.
///
/// Stdin and stdout become `null`; stderr becomes `log`, if given.
///
/// # Errors
/// Those of setsid(2), chdir(2) and dup2(2).
pub fn detach(null: &File, log: Option<&File>) -> io::Result<()> {
    rustix::process::setsid()?;
    rustix::process::chdir("/")?;
    replace(null, libc::STDIN_FILENO)?;
    replace(null, libc::STDOUT_FILENO)?;
    replace(log.unwrap_or(null), libc::STDERR_FILENO)
}

/// Lets the descriptor `place` refer to what `file` does, for whoever uses it by its number.
///
/// # Errors
/// Those of dup3(2).
pub fn replace_descriptor(file: BorrowedFd<'_>, place: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: both are open. Who owns `place` goes on owning a descriptor of that number, and what it referred to is closed once.
    match unsafe { libc::dup3(file.as_raw_fd(), place.as_raw_fd(), libc::O_CLOEXEC) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

fn replace(file: impl AsFd, stdio: RawFd) -> io::Result<()> {
    // SAFETY: the standard streams are no one's `OwnedFd`; std uses them by number, whatever they refer to.
    match unsafe { libc::dup2(file.as_fd().as_raw_fd(), stdio) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Leaves the caller's directory, so that it can be unmounted or removed.
///
/// # Errors
/// Those of chdir(2).
pub fn leave_directory() -> io::Result<()> {
    Ok(rustix::process::chdir("/")?)
}

/// Lets modes reach the layers as they are: the kernel has already applied the caller's umask.
pub fn clear_umask() {
    rustix::process::umask(Mode::empty());
}

/// Whether the effective user is root, in whatever user namespace.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How many files this process has open.
///
/// # Errors
/// Those of reading `/proc/self/fd`.
pub fn open_files() -> io::Result<usize> {
    // One of them is the one that they are read by.
    Ok(std::fs::read_dir("/proc/self/fd")?.count().saturating_sub(1))
}

/// How many files this process may have open.
pub fn fd_limit() -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    limit.current.map_or(usize::MAX, |current| usize::try_from(current).unwrap_or(usize::MAX))
}

/// Lets the allocator take what is large from the system each time, so that it is given back when it is freed, and not touched before
/// it is used. By itself it stops doing so after the first such piece was freed (mallopt(3), dynamic threshold): buffers of 16 MiB, of
/// which each thread uses a few KiB, are then cleared from the first byte to the last.
pub fn keep_large_memory_apart() {
    #[cfg(target_env = "gnu")]
    // SAFETY: mallopt only sets a parameter.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, 4 << 20);
    }
}

/// Gives freed memory back to the system. The allocator keeps what was freed between things still in use until it is told.
pub fn release_free_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: malloc_trim only releases memory that nobody uses.
    unsafe {
        libc::malloc_trim(0);
    }
}
