//! The machine's filesystems, with somebody looking on: every call is announced, and every file that is opened is shown.

use std::ffi::{OsStr, OsString};
use std::fmt::Debug;
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{IFlags, OFlags, RenameFlags};
use unionfuse::testing::RawEntry;
use unionfuse::testing::{At, Result};
use unionfuse::testing::{Disk, Store};
use unionfuse::types::FileHandle;
use unionfuse::types::{FsUsage, Kind, NewTime, Stat};

/// Looks on. Panicking is allowed: some tests are about just that.
pub trait Watch: Debug + Send + Sync {
    /// A call is about to be made, on these names.
    fn before(&self, call: &'static str, names: &[&OsStr]);
    /// A file was opened.
    fn opened(&self, _flags: OFlags, _file: BorrowedFd<'_>) {}
}

#[derive(Debug)]
pub struct Watched<W>(pub W);

/// Each line is a method of [`Store`]; the names it works on stand in brackets.
macro_rules! forward {
    ($($call:ident [$($at:ident),*] ($($arg:ident: $type:ty),*) -> $answer:ty;)*) => {
        $(fn $call(&self, $($arg: $type),*) -> Result<$answer> {
            self.0.before(stringify!($call), &[$($at.name),*]);
            Disk.$call($($arg),*)
        })*
    };
}

impl<W: Watch> Store for Watched<W> {
    fn open(&self, at: At<'_>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        self.0.before("open", &[at.name]);
        let fd = Disk.open(at, flags, mode)?;
        self.0.opened(flags, fd.as_fd());
        Ok(fd)
    }

    fn open_beneath(&self, dir: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd> {
        let names: Vec<&OsStr> = path.as_bytes().split(|&byte| byte == b'/').map(OsStr::from_bytes).collect();
        self.0.before("open_beneath", &names);
        let fd = Disk.open_beneath(dir, path)?;
        self.0.opened(OFlags::PATH, fd.as_fd());
        Ok(fd)
    }

    forward! {
        stat [at] (at: At<'_>) -> Option<Stat>;
        stat_fd [] (fd: BorrowedFd<'_>) -> Stat;
        read_link [at] (at: At<'_>) -> OsString;
        mkdir [at] (at: At<'_>, mode: u32) -> ();
        mknod [at] (at: At<'_>, kind: Kind, mode: u32, rdev: u64) -> ();
        symlink [at] (target: &OsStr, at: At<'_>) -> ();
        link [from, to] (from: At<'_>, to: At<'_>) -> ();
        unlink [at] (at: At<'_>) -> ();
        rmdir [at] (at: At<'_>) -> ();
        rename [from, to] (from: At<'_>, to: At<'_>, flags: RenameFlags) -> ();
        chmod [at] (at: At<'_>, mode: u32) -> ();
        chown [at] (at: At<'_>, uid: Option<u32>, gid: Option<u32>) -> ();
        set_times [at] (at: At<'_>, atime: Option<NewTime>, mtime: Option<NewTime>) -> ();
        tmpfile [] (dir: BorrowedFd<'_>, mode: u32) -> OwnedFd;
        get_xattr [at] (at: At<'_>, name: &OsStr) -> Option<Vec<u8>>;
        list_xattr [at] (at: At<'_>) -> Vec<u8>;
        set_xattr [at] (at: At<'_>, name: &OsStr, value: &[u8], flags: i32) -> ();
        remove_xattr [at] (at: At<'_>, name: &OsStr) -> ();
        read_dir [] (
            dir: BorrowedFd<'_>,
            start: u64,
            visit: &mut dyn FnMut(RawEntry<'_>) -> ControlFlow<()>
        ) -> ();
        read [] (fd: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> usize;
        write [] (fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> usize;
        truncate [] (fd: BorrowedFd<'_>, size: u64) -> ();
        allocate [] (fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> ();
        sync [] (fd: BorrowedFd<'_>, data_only: bool) -> ();
        seek_data [] (fd: BorrowedFd<'_>, offset: u64, hole: bool) -> Option<u64>;
        copy_range [] (
            from: BorrowedFd<'_>,
            from_offset: u64,
            to: BorrowedFd<'_>,
            to_offset: u64,
            len: usize
        ) -> usize;
        clone_data [] (from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> ();
        handle [at] (at: At<'_>) -> Option<FileHandle>;
        open_handle [] (mount: BorrowedFd<'_>, kind: u8, bytes: &[u8]) -> OwnedFd;
        flags [] (fd: BorrowedFd<'_>) -> IFlags;
        set_flags [] (fd: BorrowedFd<'_>, flags: IFlags) -> ();
        usage [] (fd: BorrowedFd<'_>) -> FsUsage;
    }
}
