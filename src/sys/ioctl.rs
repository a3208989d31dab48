//! File attributes (`chattr(1)`) and private copies of mounts.
#![allow(unsafe_code)]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};

use super::{Error, Result};

/// The inode flags of an open file (`FS_IOC_GETFLAGS`).
pub fn flags(fd: BorrowedFd<'_>) -> Result<IFlags> {
    ioctl_getflags(fd).map_err(|errno| Error::new("ioctl(FS_IOC_GETFLAGS)", errno))
}

/// Sets the inode flags of an open file (`FS_IOC_SETFLAGS`).
pub fn set_flags(fd: BorrowedFd<'_>, flags: IFlags) -> Result<()> {
    ioctl_setflags(fd, flags).map_err(|errno| Error::new("ioctl(FS_IOC_SETFLAGS)", errno))
}

/// A private copy of the mount below `dir`, without the mounts on top of it (`open_tree(2)`), so that walking a layer never
/// crosses into another mount, our own included. Wants `CAP_SYS_ADMIN`.
pub fn clone_tree(dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    const OPEN_TREE_CLONE: libc::c_uint = 1;
    let flags = OPEN_TREE_CLONE | libc::O_CLOEXEC.cast_unsigned() | libc::AT_EMPTY_PATH.cast_unsigned();
    // SAFETY: the path is a NUL-terminated literal; the call returns a new descriptor or -1.
    let result = unsafe { libc::syscall(libc::SYS_open_tree, dir.as_raw_fd(), c"".as_ptr(), flags) };
    match i32::try_from(result) {
        // SAFETY: a non-negative result is a descriptor that nobody else owns.
        Ok(fd) if fd >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(Error::last("open_tree")),
    }
}
