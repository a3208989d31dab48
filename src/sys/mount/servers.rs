//! Who serves a FUSE connection.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::retry_on_intr;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

use super::FUSE_DEVICE;
use super::connection::CONNECTION;

/// The processes that have a FUSE connection open.
#[derive(Debug)]
pub struct Servers(Vec<OwnedFd>);

impl Servers {
    /// Those of the filesystem with device number 0:`minor`, as far as we may look into them. None on kernels that do not tell
    /// what connection a descriptor of `/dev/fuse` belongs to (`fuse_dev_show_fdinfo` in fs/fuse/dev.c; 6.18 has it).
    ///
    /// # Errors
    /// Those of listing `/proc`. What cannot be seen of a single process is left out.
    pub fn of(minor: u32) -> io::Result<Self> {
        let line = format!("{CONNECTION}{minor}");
        let own = rustix::process::getpid();
        let mut found = Vec::new();
        for process in fs::read_dir("/proc")? {
            let process = process?;
            let number = process.file_name().to_str().and_then(|name| name.parse().ok());
            let Some(pid) = number.and_then(Pid::from_raw).filter(|pid| *pid != own) else { continue };
            // Should the number pass to another process now, this one has ended, which is what we wait for.
            let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { continue };
            if has_open(&process.path(), &line).unwrap_or(false) {
                found.push(handle);
            }
        }
        Ok(Self(found))
    }

    /// Waits until all have ended, for at most `limit`. Returns whether they have.
    ///
    /// # Errors
    /// Those of poll(2).
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        let end = Instant::now() + limit;
        for server in &self.0 {
            let ended = retry_on_intr(|| {
                let left = end.saturating_duration_since(Instant::now());
                let left = Timespec::try_from(left).map_err(|_| rustix::io::Errno::INVAL)?;
                poll(&mut [PollFd::new(server, PollFlags::IN)], Some(&left))
            })?;
            if ended == 0 {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

fn has_open(process: &Path, line: &str) -> io::Result<bool> {
    for fd in fs::read_dir(process.join("fd"))? {
        let fd = fd?;
        // One may be closed while we look.
        let is_device = fs::read_link(fd.path())
            .is_ok_and(|target| target.as_os_str().as_bytes() == FUSE_DEVICE.as_bytes());
        if !is_device {
            continue;
        }
        let info = fs::read_to_string(process.join("fdinfo").join(fd.file_name())).unwrap_or_default();
        if info.lines().any(|said| said == line) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_serves_what_is_no_fuse_connection() {
        let servers = Servers::of(u32::MAX).unwrap();
        assert!(servers.0.is_empty());
        assert!(servers.wait(Duration::ZERO).unwrap());
    }

    #[test]
    fn waiting_for_a_process_ends_with_it_or_in_time() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let pid = Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
        let servers = Servers(vec![pidfd_open(pid, PidfdFlags::empty()).unwrap()]);
        assert!(!servers.wait(Duration::from_millis(10)).unwrap());
        child.kill().unwrap();
        assert!(servers.wait(Duration::from_secs(20)).unwrap());
        child.wait().unwrap();
    }
}
