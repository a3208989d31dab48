//! File handles (`name_to_handle_at(2)`) and filesystem identifiers.
#![allow(unsafe_code)]

use std::ffi::CString;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::error::last_errno;
use super::{At, Error, Result};
use crate::types::FileHandle;

const MAX_HANDLE: usize = 128;

#[repr(C)]
struct RawHandle {
    len: u32,
    kind: i32,
    bytes: [u8; MAX_HANDLE],
}

/// The handle of a file; `None` where the filesystem gives none.
pub fn of(at: At<'_>) -> Result<Option<FileHandle>> {
    let Ok(name) = CString::new(at.name.as_bytes()) else {
        return Err(at.fail("name_to_handle_at", Errno::INVAL));
    };
    let mut raw = RawHandle { len: MAX_HANDLE as u32, kind: 0, bytes: [0; MAX_HANDLE] };
    let mut mount_id = 0;
    let flags = if at.is_self() { libc::AT_EMPTY_PATH } else { 0 };
    // SAFETY: `name` is NUL-terminated, `raw` has the layout of `struct file_handle` with room for `len` bytes, and both
    // outlive the call.
    let result = unsafe {
        libc::name_to_handle_at(
            at.dir.as_raw_fd(),
            name.as_ptr(),
            (&raw mut raw).cast::<libc::file_handle>(),
            &raw mut mount_id,
            flags,
        )
    };
    if result == 0 {
        let bytes = raw.bytes.get(..raw.len as usize).unwrap_or_default().to_vec();
        return Ok(u8::try_from(raw.kind).ok().map(|kind| FileHandle { kind, bytes }));
    }
    match last_errno() {
        Errno::OPNOTSUPP | Errno::OVERFLOW | Errno::NOSYS | Errno::PERM => Ok(None),
        errno => Err(at.fail("name_to_handle_at", errno)),
    }
}

/// Opens the file a handle stands for, as `O_PATH`; `mount` is any open file of its filesystem (not `O_PATH`).
///
/// # Errors
/// `EPERM` without `CAP_DAC_READ_SEARCH`, `ESTALE` when the file is gone.
pub fn open(mount: BorrowedFd<'_>, kind: u8, bytes: &[u8]) -> Result<OwnedFd> {
    let fail = |errno| Error::new("open_by_handle_at", errno);
    let len = u32::try_from(bytes.len()).map_err(|_| fail(Errno::OVERFLOW))?;
    let mut raw = RawHandle { len, kind: kind.into(), bytes: [0; MAX_HANDLE] };
    raw.bytes.get_mut(..bytes.len()).ok_or_else(|| fail(Errno::OVERFLOW))?.copy_from_slice(bytes);
    // SAFETY: `raw` has the layout of `struct file_handle` with `len` bytes behind its head; the call only reads it.
    let result = unsafe {
        libc::open_by_handle_at(
            mount.as_raw_fd(),
            (&raw mut raw).cast::<libc::file_handle>(),
            libc::O_PATH | libc::O_CLOEXEC,
        )
    };
    if result < 0 {
        return Err(fail(last_errno()));
    }
    // SAFETY: a non-negative result is a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(result) })
}

#[repr(C)]
struct FsUuid {
    len: u8,
    uuid: [u8; 16],
}

/// `FS_IOC_GETFSUUID`, `_IOR(0x15, 0, struct fsuuid2)`, Linux 6.9.
const FS_IOC_GETFSUUID: libc::c_ulong = 0x8011_1500;

/// The UUID of the filesystem of an open directory, which may be zeros; `None` where it has or tells none.
pub fn fs_uuid(dir: BorrowedFd<'_>) -> Option<[u8; 16]> {
    let mut raw = FsUuid { len: 0, uuid: [0; 16] };
    // SAFETY: the ioctl writes one `struct fsuuid2`, whose layout `raw` has.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), FS_IOC_GETFSUUID as _, &raw mut raw) };
    if result == 0 && raw.len == 16 { Some(raw.uuid) } else { btrfs_fsid(dir) }
}

/// `BTRFS_IOC_FS_INFO`, `_IOR(0x94, 31, struct btrfs_ioctl_fs_info_args)`: btrfs does not answer the general call.
const BTRFS_IOC_FS_INFO: libc::c_ulong = 0x8400_941f;

#[repr(C)]
struct BtrfsFsInfo {
    max_id: u64,
    num_devices: u64,
    fsid: [u8; 16],
    rest: [u8; 1024 - 32],
}

fn btrfs_fsid(dir: BorrowedFd<'_>) -> Option<[u8; 16]> {
    let mut raw = BtrfsFsInfo { max_id: 0, num_devices: 0, fsid: [0; 16], rest: [0; 1024 - 32] };
    // SAFETY: the ioctl writes one `struct btrfs_ioctl_fs_info_args`, whose size `raw` has and whose first fields it names.
    let result = unsafe { libc::ioctl(dir.as_raw_fd(), BTRFS_IOC_FS_INFO as _, &raw mut raw) };
    (result == 0).then_some(raw.fsid)
}
