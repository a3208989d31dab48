//! The storage that layers lie on: every system call the engine makes on a layer, behind one small trait.
//!
//! There is one real implementation, [`Disk`]. Tests put a decorator in front of it that fails, or stops the engine, at the
//! N-th call; that is how crash safety is shown.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{IFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use super::fd_cache;
use crate::sys::dirent::RawEntry;
use crate::sys::{self, At, Result};
use crate::types::FileHandle;
use crate::types::{FsUsage, Kind, NewTime, Stat};

/// Directory-relative calls on a layer. Errors carry the errno of the failed call; see the functions of `sys` of
/// the same name for details.
#[allow(missing_docs, reason = "each method is the system call it is named after, documented in `sys`")]
pub trait Store: Debug + Send + Sync {
    fn open(&self, at: At<'_>, flags: OFlags, mode: u32) -> Result<OwnedFd>;
    fn open_beneath(&self, dir: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd>;
    fn stat(&self, at: At<'_>) -> Result<Option<Stat>>;
    fn stat_fd(&self, fd: BorrowedFd<'_>) -> Result<Stat>;
    fn read_link(&self, at: At<'_>) -> Result<OsString>;
    fn mkdir(&self, at: At<'_>, mode: u32) -> Result<()>;
    fn mknod(&self, at: At<'_>, kind: Kind, mode: u32, rdev: u64) -> Result<()>;
    fn symlink(&self, target: &OsStr, at: At<'_>) -> Result<()>;
    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()>;
    fn unlink(&self, at: At<'_>) -> Result<()>;
    fn rmdir(&self, at: At<'_>) -> Result<()>;
    fn rename(&self, from: At<'_>, to: At<'_>, flags: RenameFlags) -> Result<()>;
    fn chmod(&self, at: At<'_>, mode: u32) -> Result<()>;
    fn chown(&self, at: At<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()>;
    fn set_times(&self, at: At<'_>, atime: Option<NewTime>, mtime: Option<NewTime>) -> Result<()>;
    fn tmpfile(&self, dir: BorrowedFd<'_>, mode: u32) -> Result<OwnedFd>;
    fn get_xattr(&self, at: At<'_>, name: &OsStr) -> Result<Option<Vec<u8>>>;
    fn list_xattr(&self, at: At<'_>) -> Result<Vec<u8>>;
    fn set_xattr(&self, at: At<'_>, name: &OsStr, value: &[u8], flags: i32) -> Result<()>;
    fn remove_xattr(&self, at: At<'_>, name: &OsStr) -> Result<()>;
    fn read_dir(
        &self,
        dir: BorrowedFd<'_>,
        start: u64,
        visit: &mut dyn FnMut(RawEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()>;
    fn read(&self, fd: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize>;
    fn write(&self, fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<usize>;
    fn truncate(&self, fd: BorrowedFd<'_>, size: u64) -> Result<()>;
    fn allocate(&self, fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()>;
    fn sync(&self, fd: BorrowedFd<'_>, data_only: bool) -> Result<()>;
    fn seek_data(&self, fd: BorrowedFd<'_>, offset: u64, hole: bool) -> Result<Option<u64>>;
    fn copy_range(
        &self,
        from: BorrowedFd<'_>,
        from_offset: u64,
        to: BorrowedFd<'_>,
        to_offset: u64,
        len: usize,
    ) -> Result<usize>;
    fn clone_data(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()>;
    fn handle(&self, at: At<'_>) -> Result<Option<FileHandle>>;
    fn open_handle(&self, mount: BorrowedFd<'_>, kind: u8, bytes: &[u8]) -> Result<OwnedFd>;
    fn flags(&self, fd: BorrowedFd<'_>) -> Result<IFlags>;
    fn set_flags(&self, fd: BorrowedFd<'_>, flags: IFlags) -> Result<()>;
    fn usage(&self, fd: BorrowedFd<'_>) -> Result<FsUsage>;
    fn fs_id(&self, fd: BorrowedFd<'_>) -> Result<u64> {
        sys::file::fs_id(fd)
    }
    fn fs_magic(&self, fd: BorrowedFd<'_>) -> Result<u64> {
        sys::file::fs_magic(fd)
    }
}

/// The machine's own filesystems.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

/// The names in a directory, but for `.` and `..`: of a descriptor that was opened to be listed.
pub fn names_in(store: &dyn Store, dir: BorrowedFd<'_>) -> Result<Vec<OsString>> {
    let mut names = Vec::new();
    store.read_dir(dir, 0, &mut |entry| {
        if entry.name != "." && entry.name != ".." {
            names.push(entry.name.to_owned());
        }
        ControlFlow::Continue(())
    })?;
    Ok(names)
}

/// When descriptors have run out, those that are merely kept are given up for the one that is needed.
fn with_a_descriptor<T>(open: impl Fn() -> Result<T>) -> Result<T> {
    match open() {
        Err(error) if matches!(error.errno(), Errno::MFILE | Errno::NFILE) => {
            fd_cache::release_all();
            open()
        }
        other => other,
    }
}

impl Store for Disk {
    fn open(&self, at: At<'_>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        with_a_descriptor(|| sys::namei::open(at, flags, mode))
    }

    fn open_beneath(&self, dir: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd> {
        with_a_descriptor(|| sys::namei::open_beneath(dir, path))
    }

    fn stat(&self, at: At<'_>) -> Result<Option<Stat>> {
        sys::namei::stat(at)
    }

    fn stat_fd(&self, fd: BorrowedFd<'_>) -> Result<Stat> {
        sys::namei::stat_fd(fd)
    }

    fn read_link(&self, at: At<'_>) -> Result<OsString> {
        sys::namei::read_link(at)
    }

    fn mkdir(&self, at: At<'_>, mode: u32) -> Result<()> {
        sys::namei::mkdir(at, mode)
    }

    fn mknod(&self, at: At<'_>, kind: Kind, mode: u32, rdev: u64) -> Result<()> {
        sys::namei::mknod(at, kind, mode, rdev)
    }

    fn symlink(&self, target: &OsStr, at: At<'_>) -> Result<()> {
        sys::namei::symlink(target, at)
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        sys::namei::link(from, to)
    }

    fn unlink(&self, at: At<'_>) -> Result<()> {
        sys::namei::unlink(at)
    }

    fn rmdir(&self, at: At<'_>) -> Result<()> {
        sys::namei::rmdir(at)
    }

    fn rename(&self, from: At<'_>, to: At<'_>, flags: RenameFlags) -> Result<()> {
        sys::namei::rename(from, to, flags)
    }

    fn chmod(&self, at: At<'_>, mode: u32) -> Result<()> {
        sys::namei::chmod(at, mode)
    }

    fn chown(&self, at: At<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        sys::namei::chown(at, uid, gid)
    }

    fn set_times(&self, at: At<'_>, atime: Option<NewTime>, mtime: Option<NewTime>) -> Result<()> {
        sys::namei::set_times(at, atime, mtime)
    }

    fn tmpfile(&self, dir: BorrowedFd<'_>, mode: u32) -> Result<OwnedFd> {
        with_a_descriptor(|| sys::namei::tmpfile(dir, mode))
    }

    fn get_xattr(&self, at: At<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
        sys::xattr::get(at, name)
    }

    fn list_xattr(&self, at: At<'_>) -> Result<Vec<u8>> {
        sys::xattr::list(at)
    }

    fn set_xattr(&self, at: At<'_>, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
        sys::xattr::set(at, name, value, flags)
    }

    fn remove_xattr(&self, at: At<'_>, name: &OsStr) -> Result<()> {
        sys::xattr::remove(at, name)
    }

    fn read_dir(
        &self,
        dir: BorrowedFd<'_>,
        start: u64,
        visit: &mut dyn FnMut(RawEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        sys::dirent::read(dir, start, visit)
    }

    fn read(&self, fd: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
        sys::file::read_at(fd, buf, offset)
    }

    fn write(&self, fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<usize> {
        sys::file::write_at(fd, data, offset)
    }

    fn truncate(&self, fd: BorrowedFd<'_>, size: u64) -> Result<()> {
        sys::file::truncate(fd, size)
    }

    fn allocate(&self, fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()> {
        sys::file::allocate(fd, mode, offset, len)
    }

    fn sync(&self, fd: BorrowedFd<'_>, data_only: bool) -> Result<()> {
        sys::file::sync(fd, data_only)
    }

    fn seek_data(&self, fd: BorrowedFd<'_>, offset: u64, hole: bool) -> Result<Option<u64>> {
        sys::file::seek_data(fd, offset, hole)
    }

    fn copy_range(
        &self,
        from: BorrowedFd<'_>,
        from_offset: u64,
        to: BorrowedFd<'_>,
        to_offset: u64,
        len: usize,
    ) -> Result<usize> {
        sys::file::copy_range(from, from_offset, to, to_offset, len)
    }

    fn clone_data(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        sys::file::clone_data(from, to)
    }

    fn handle(&self, at: At<'_>) -> Result<Option<FileHandle>> {
        sys::handle::of(at)
    }

    fn open_handle(&self, mount: BorrowedFd<'_>, kind: u8, bytes: &[u8]) -> Result<OwnedFd> {
        sys::handle::open(mount, kind, bytes)
    }

    fn flags(&self, fd: BorrowedFd<'_>) -> Result<IFlags> {
        sys::ioctl::flags(fd)
    }

    fn set_flags(&self, fd: BorrowedFd<'_>, flags: IFlags) -> Result<()> {
        sys::ioctl::set_flags(fd, flags)
    }

    fn usage(&self, fd: BorrowedFd<'_>) -> Result<FsUsage> {
        sys::file::usage(fd)
    }
}
