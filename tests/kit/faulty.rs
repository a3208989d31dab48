//! The machine's filesystems, with one call failing, or all calls after some moment, or some calls slow.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, RandomState};
use std::ops::ControlFlow;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::Mutex;
use std::time::Duration;

use rustix::fs::{IFlags, OFlags, RenameFlags};
use rustix::io::Errno;
use unionfuse::testing::RawEntry;
use unionfuse::testing::{At, Error, Result};
use unionfuse::testing::{Disk, Store};
use unionfuse::types::FileHandle;
use unionfuse::types::{FsUsage, Kind, NewTime, Stat};

/// What goes wrong, counted in calls since [`Faulty::arm`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The N-th call (from 0) fails.
    Fail(usize, Errno),
    /// From the N-th call on nothing is done any more: the daemon was killed.
    Stop(usize),
    /// Nothing fails, but now and then a thread is stopped for a while before or after a call.
    Pauses,
    /// These calls never work: a filesystem that lacks them.
    Lack(Calls),
}

/// Calls, and what they answer.
pub type Calls = &'static [(&'static str, Errno)];

#[derive(Debug)]
struct State {
    fault: Fault,
    calls: Vec<&'static str>,
}

/// Is told of calls that have just been made.
struct Watch(Box<dyn Fn(&'static str) + Send + Sync>);

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Watch")
    }
}

#[derive(Debug)]
pub struct Faulty {
    state: Mutex<State>,
    watch: Option<Watch>,
    boundary: Option<u64>,
    /// These never work, whatever else goes wrong.
    lacking: Calls,
}

impl Faulty {
    pub fn new() -> Self {
        let state = Mutex::new(State { fault: Fault::None, calls: Vec::new() });
        Self { state, watch: None, boundary: None, lacking: &[] }
    }

    /// A filesystem that lacks calls, on which other things can go wrong too.
    pub fn lacking(lacking: Calls) -> Self {
        Self { lacking, ..Self::new() }
    }

    /// The directory with this inode number is on another device than what it is in, as subvolumes are.
    pub fn with_boundary_at(ino: u64) -> Self {
        Self { boundary: Some(ino), ..Self::new() }
    }

    fn moved(&self, mut stat: Stat) -> Stat {
        stat.dev += u64::from(self.boundary == Some(stat.ino));
        stat
    }

    /// Nothing fails, but `watch` is called after each `stat`, `rename`, `rmdir` and `get_xattr`, before the last, and before
    /// `open` and `write`; it may take its time.
    pub fn watched(watch: impl Fn(&'static str) + Send + Sync + 'static) -> Self {
        Self { watch: Some(Watch(Box::new(watch))), ..Self::new() }
    }

    pub fn arm(&self, fault: Fault) {
        *self.state.lock().unwrap() = State { fault, calls: Vec::new() };
    }

    /// The calls made since [`Faulty::arm`], which no longer counts.
    pub fn disarm(&self) -> Vec<&'static str> {
        let mut state = self.state.lock().unwrap();
        state.fault = Fault::None;
        std::mem::take(&mut state.calls)
    }

    /// What others do within the length of a pause meets what is half looked at, or done but not recorded yet.
    fn pause(&self) {
        if self.state.lock().unwrap().fault != Fault::Pauses {
            return;
        }
        let micros = match RandomState::new().hash_one(()) % 1000 {
            0..2 => 5_000,
            2..20 => 500,
            20..100 => 50,
            _ => return,
        };
        std::thread::sleep(Duration::from_micros(micros));
    }

    fn after(&self, call: &'static str) {
        self.pause();
        if let Some(Watch(watch)) = &self.watch {
            watch(call);
        }
    }

    fn step(&self, call: &'static str) -> Result<()> {
        self.pause();
        let mut state = self.state.lock().unwrap();
        if state.fault == Fault::Pauses {
            return Ok(());
        }
        let now = state.calls.len();
        state.calls.push(call);
        let lacking = match state.fault {
            Fault::Fail(at, errno) if at == now => return Err(Error::new(call, errno)),
            Fault::Stop(at) if at <= now => return Err(Error::new(call, Errno::IO)),
            Fault::Lack(calls) => calls,
            _ => self.lacking,
        };
        let lacking = lacking.iter().find(|(name, _)| *name == call);
        lacking.map_or(Ok(()), |&(_, errno)| Err(Error::new(call, errno)))
    }
}

impl Store for Faulty {
    fn open(&self, at: At<'_>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
        self.step("open")?;
        self.after("before open");
        Disk.open(at, flags, mode)
    }

    fn open_beneath(&self, dir: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd> {
        self.step("open_beneath")?;
        Disk.open_beneath(dir, path)
    }

    fn stat(&self, at: At<'_>) -> Result<Option<Stat>> {
        self.step("stat")?;
        let done = Disk.stat(at).map(|stat| stat.map(|stat| self.moved(stat)));
        self.after("stat");
        done
    }

    fn stat_fd(&self, fd: BorrowedFd<'_>) -> Result<Stat> {
        self.step("stat_fd")?;
        Disk.stat_fd(fd).map(|stat| self.moved(stat))
    }

    fn read_link(&self, at: At<'_>) -> Result<OsString> {
        self.step("read_link")?;
        Disk.read_link(at)
    }

    fn mkdir(&self, at: At<'_>, mode: u32) -> Result<()> {
        self.step("mkdir")?;
        Disk.mkdir(at, mode)
    }

    fn mknod(&self, at: At<'_>, kind: Kind, mode: u32, rdev: u64) -> Result<()> {
        self.step(if kind == Kind::CharDevice { "mknod device" } else { "mknod" })?;
        Disk.mknod(at, kind, mode, rdev)
    }

    fn symlink(&self, target: &OsStr, at: At<'_>) -> Result<()> {
        self.step("symlink")?;
        Disk.symlink(target, at)
    }

    fn link(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        self.step("link")?;
        Disk.link(from, to)
    }

    fn unlink(&self, at: At<'_>) -> Result<()> {
        self.step("unlink")?;
        Disk.unlink(at)
    }

    fn rmdir(&self, at: At<'_>) -> Result<()> {
        self.step("rmdir")?;
        let done = Disk.rmdir(at);
        self.after("rmdir");
        done
    }

    fn rename(&self, from: At<'_>, to: At<'_>, flags: RenameFlags) -> Result<()> {
        self.step("rename")?;
        let done = Disk.rename(from, to, flags);
        self.after("rename");
        done
    }

    fn chmod(&self, at: At<'_>, mode: u32) -> Result<()> {
        self.step("chmod")?;
        Disk.chmod(at, mode)
    }

    fn chown(&self, at: At<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
        self.step("chown")?;
        Disk.chown(at, uid, gid)
    }

    fn set_times(&self, at: At<'_>, atime: Option<NewTime>, mtime: Option<NewTime>) -> Result<()> {
        self.step("set_times")?;
        Disk.set_times(at, atime, mtime)
    }

    fn tmpfile(&self, dir: BorrowedFd<'_>, mode: u32) -> Result<OwnedFd> {
        self.step("tmpfile")?;
        Disk.tmpfile(dir, mode)
    }

    fn get_xattr(&self, at: At<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
        self.after("before get_xattr");
        self.step("get_xattr")?;
        let done = Disk.get_xattr(at, name);
        self.after("get_xattr");
        done
    }

    fn list_xattr(&self, at: At<'_>) -> Result<Vec<u8>> {
        self.step("list_xattr")?;
        Disk.list_xattr(at)
    }

    fn set_xattr(&self, at: At<'_>, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
        let is_redirect = name.as_encoded_bytes().ends_with(b"overlay.redirect");
        self.step(if is_redirect { "set_xattr redirect" } else { "set_xattr" })?;
        Disk.set_xattr(at, name, value, flags)
    }

    fn remove_xattr(&self, at: At<'_>, name: &OsStr) -> Result<()> {
        self.step("remove_xattr")?;
        Disk.remove_xattr(at, name)
    }

    fn read_dir(
        &self,
        dir: BorrowedFd<'_>,
        start: u64,
        visit: &mut dyn FnMut(RawEntry<'_>) -> ControlFlow<()>,
    ) -> Result<()> {
        self.step("read_dir")?;
        Disk.read_dir(dir, start, visit)
    }

    fn read(&self, fd: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
        self.step("read")?;
        Disk.read(fd, buf, offset)
    }

    fn write(&self, fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<usize> {
        self.step("write")?;
        self.after("before write");
        Disk.write(fd, data, offset)
    }

    fn truncate(&self, fd: BorrowedFd<'_>, size: u64) -> Result<()> {
        self.step("truncate")?;
        Disk.truncate(fd, size)
    }

    fn allocate(&self, fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()> {
        self.step("allocate")?;
        Disk.allocate(fd, mode, offset, len)
    }

    fn sync(&self, fd: BorrowedFd<'_>, data_only: bool) -> Result<()> {
        self.step("sync")?;
        Disk.sync(fd, data_only)
    }

    fn seek_data(&self, fd: BorrowedFd<'_>, offset: u64, hole: bool) -> Result<Option<u64>> {
        self.step("seek_data")?;
        Disk.seek_data(fd, offset, hole)
    }

    fn copy_range(
        &self,
        from: BorrowedFd<'_>,
        from_offset: u64,
        to: BorrowedFd<'_>,
        to_offset: u64,
        len: usize,
    ) -> Result<usize> {
        self.step("copy_range")?;
        Disk.copy_range(from, from_offset, to, to_offset, len)
    }

    fn clone_data(&self, from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
        self.step("clone_data")?;
        Disk.clone_data(from, to)
    }

    fn handle(&self, at: At<'_>) -> Result<Option<FileHandle>> {
        match self.step("handle") {
            // What lacks handles says so without an error.
            Err(error) if error.errno() == Errno::OPNOTSUPP => Ok(None),
            other => other.and_then(|()| Disk.handle(at)),
        }
    }

    fn open_handle(&self, mount: BorrowedFd<'_>, kind: u8, bytes: &[u8]) -> Result<OwnedFd> {
        self.step("open_handle")?;
        Disk.open_handle(mount, kind, bytes)
    }

    fn flags(&self, fd: BorrowedFd<'_>) -> Result<IFlags> {
        self.step("flags")?;
        Disk.flags(fd)
    }

    fn set_flags(&self, fd: BorrowedFd<'_>, flags: IFlags) -> Result<()> {
        self.step("set_flags")?;
        Disk.set_flags(fd, flags)
    }

    fn fs_id(&self, fd: BorrowedFd<'_>) -> Result<u64> {
        self.step("fs_id")?;
        Disk.fs_id(fd)
    }

    fn fs_magic(&self, fd: BorrowedFd<'_>) -> Result<u64> {
        self.step("fs_magic")?;
        Disk.fs_magic(fd)
    }

    fn usage(&self, fd: BorrowedFd<'_>) -> Result<FsUsage> {
        self.step("usage")?;
        Disk.usage(fd)
    }
}
