//! What is mounted somewhere, found again and acted on without walking its path a second time.
//!
//! The directory it is mounted in stays open. Whoever may write there can rename what he likes, but no mountpoint, and a symlink in its
//! place is not followed: so what was looked at by its name is what is acted on by it.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{MountEntry, MountId, table, unmount_by_helper, unmount_flags};
use crate::config::MountFlags;
use crate::sys::apart;

/// What is mounted at a path.
#[derive(Debug)]
pub struct Mounted {
    path: PathBuf,
    parent: OwnedFd,
    name: CString,
    id: MountId,
}

impl Mounted {
    /// What an absolute path leads to now: a mount, or the one that the path is in.
    ///
    /// # Errors
    /// Those of open(2) on its parent directory, and of statx(2); `EINVAL` for `/`.
    pub fn at(path: &Path) -> io::Result<Self> {
        let (parent, name) = path.parent().zip(path.file_name()).ok_or(Errno::INVAL)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let parent = rustix::fs::open(parent, flags, Mode::empty())?;
        let id = MountId::of_name(parent.as_fd(), name)?;
        let name = CString::new(name.as_bytes())?;
        Ok(Self { path: path.to_path_buf(), parent, name, id })
    }

    /// Which mount it is.
    pub fn id(&self) -> MountId {
        self.id
    }

    /// Its line of the mount table; `None` when nothing is mounted there.
    ///
    /// # Errors
    /// Those of reading `/proc/self/mountinfo`.
    pub fn entry(&self) -> io::Result<Option<MountEntry>> {
        table::mount_at(&self.path, self.id.number)
    }

    /// Whether it is still the same that is mounted there.
    fn check(&self) -> Result<(), Errno> {
        let now = MountId::of_name(self.parent.as_fd(), OsStr::from_bytes(self.name.as_bytes()));
        if now.is_ok_and(|now| now == self.id) { Ok(()) } else { Err(Errno::STALE) }
    }

    /// Unmounts it; `lazy` detaches it even when it is busy. Users go through fusermount3.
    ///
    /// # Errors
    /// Those of umount2(2), or what fusermount3 says; `ESTALE` when another one is mounted there by now.
    pub fn unmount(&self, lazy: bool) -> io::Result<()> {
        self.check()?;
        let place = [self.parent_path().as_bytes(), b"/", self.name.as_bytes()].concat();
        match rustix::mount::unmount(place, unmount_flags(lazy)) {
            Err(Errno::PERM) => unmount_by_helper(&self.path, lazy),
            other => Ok(other?),
        }
    }

    /// [`Mounted::unmount`], for the daemon that serves it: the last unmounting of a filesystem waits until everything cached is
    /// written back to it.
    ///
    /// # Errors
    /// As [`Mounted::unmount`]; `ETIMEDOUT`.
    pub fn unmount_apart(&self, lazy: bool, patience: Duration) -> io::Result<()> {
        self.check()?;
        let unmount = || rustix::mount::unmount(self.name.as_c_str(), unmount_flags(lazy));
        match apart::run(self.parent.as_fd(), patience, unmount) {
            Err(error) if error.raw_os_error() == Some(libc::EPERM) => unmount_by_helper(&self.path, lazy),
            other => other,
        }
    }

    /// Writes everything cached for it back, for the daemon that serves it meanwhile.
    ///
    /// # Errors
    /// Those of open(2) and syncfs(2); `ETIMEDOUT`.
    pub fn flush_apart(&self, patience: Duration) -> io::Result<()> {
        self.check()?;
        apart::run(self.parent.as_fd(), patience, || {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW;
            let opened = rustix::fs::open(self.name.as_c_str(), flags, Mode::empty())?;
            rustix::fs::syncfs(&opened)
        })
    }

    /// Changes its flags; the daemon need not know.
    ///
    /// # Errors
    /// Those of mount(2): `EPERM` for users, `EBUSY` for read-only while files are open for writing; `ESTALE` when another one is
    /// mounted there by now.
    pub fn remount(&self, flags: MountFlags) -> io::Result<()> {
        let opened = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let root = rustix::fs::openat(self.parent.as_fd(), self.name.as_c_str(), opened, Mode::empty())?;
        if MountId::of_descriptor(root.as_fd())? != self.id {
            return Err(Errno::STALE.into());
        }
        let options = super::FuseMountOptions { source: Default::default(), flags };
        let flags = super::Resolved::new(&options).kernel_flags();
        let place = format!("/proc/self/fd/{}", root.as_raw_fd());
        Ok(rustix::mount::mount_remount(place, flags, c"")?)
    }

    fn parent_path(&self) -> String {
        format!("/proc/self/fd/{}", self.parent.as_raw_fd())
    }
}
