//! Calls on names: look, make, remove, rename.

use std::ffi::{CString, OsStr, OsString};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::{
    self, AtFlags, FileType, Mode, OFlags, RenameFlags, ResolveFlags, StatxFlags, Timespec, Timestamps,
    UTIME_NOW, UTIME_OMIT,
};
use rustix::io::Errno;

use super::error::last_errno;
use super::{At, Error, Result};
use crate::types::{Birth, Kind, NewTime, Stat, Time};

/// Opens a file without following a symlink in the last component. `O_CLOEXEC` is always set.
pub fn open(at: At<'_>, flags: OFlags, mode: u32) -> Result<OwnedFd> {
    let flags = flags | OFlags::CLOEXEC;
    let opened = if at.is_self() {
        // Only the magic link reopens a file, named or not, with other rights than the descriptor's.
        fs::open(at.proc_path().as_slice(), flags, Mode::from_raw_mode(mode))
    } else {
        fs::openat(at.dir, at.name, flags | OFlags::NOFOLLOW, Mode::from_raw_mode(mode))
    };
    opened.map_err(|errno| at.fail("openat", errno))
}

/// An `O_PATH` descriptor of a directory several levels below another one. No symlink is followed, and nothing leads out again.
///
/// # Errors
/// `ENOSYS` before Linux 5.6.
pub fn open_beneath(dir: BorrowedFd<'_>, path: &OsStr) -> Result<OwnedFd> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    fs::openat2(dir, path, flags, Mode::empty(), resolve).map_err(|errno| Error::new("openat2", errno))
}

/// Opens a directory (or file) given by the user: relative to the current directory, symlinks followed.
pub fn open_path(path: &std::path::Path, flags: OFlags) -> Result<OwnedFd> {
    fs::open(path, flags | OFlags::CLOEXEC, Mode::empty())
        .map_err(|errno| Error::on("open", path.as_os_str(), errno))
}

/// What is under the name, symlinks not followed; `None` when nothing is.
pub fn stat(at: At<'_>) -> Result<Option<Stat>> {
    let flags = if at.is_self() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    match fs::statx(at.dir, at.name, flags, WANTED) {
        Ok(stat) => Ok(Some(from_raw(&stat))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(at.fail("statx", errno)),
    }
}

/// What an open file is.
pub fn stat_fd(fd: impl AsFd) -> Result<Stat> {
    fs::statx(fd, "", AtFlags::EMPTY_PATH, WANTED)
        .map(|stat| from_raw(&stat))
        .map_err(|errno| Error::new("statx", errno))
}

const WANTED: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

fn from_raw(stat: &fs::Statx) -> Stat {
    let time = |stamp: fs::StatxTimestamp| Time { sec: stamp.tv_sec, nsec: stamp.tv_nsec };
    let has_birth = stat.stx_mask & StatxFlags::BTIME.bits() != 0;
    Stat {
        dev: fs::makedev(stat.stx_dev_major, stat.stx_dev_minor),
        ino: stat.stx_ino,
        mode: stat.stx_mode.into(),
        nlink: stat.stx_nlink,
        uid: stat.stx_uid,
        gid: stat.stx_gid,
        rdev: fs::makedev(stat.stx_rdev_major, stat.stx_rdev_minor),
        size: stat.stx_size,
        blocks: stat.stx_blocks,
        blksize: stat.stx_blksize,
        atime: time(stat.stx_atime),
        mtime: time(stat.stx_mtime),
        ctime: time(stat.stx_ctime),
        birth: if has_birth { Birth::at(time(stat.stx_btime)) } else { Birth::default() },
    }
}

/// The path of an open file, as `/proc` shows it: where it is in our mount namespace, now.
pub fn path_of(fd: BorrowedFd<'_>) -> Result<OsString> {
    let at = At::this(fd);
    fs::readlink(at.proc_path().as_slice(), Vec::with_capacity(256))
        .map(|path: CString| OsString::from_vec(path.into_bytes()))
        .map_err(|errno| at.fail("readlink", errno))
}

/// The target of a symlink.
pub fn read_link(at: At<'_>) -> Result<OsString> {
    fs::readlinkat(at.dir, at.name, Vec::with_capacity(256))
        .map(|target: CString| OsString::from_vec(target.into_bytes()))
        .map_err(|errno| at.fail("readlinkat", errno))
}

/// Makes a directory; the process's umask must be 0 for `mode` to be taken as it is.
pub fn mkdir(at: At<'_>, mode: u32) -> Result<()> {
    fs::mkdirat(at.dir, at.name, Mode::from_raw_mode(mode)).map_err(|errno| at.fail("mkdirat", errno))
}

/// Makes a file, FIFO, socket or device.
pub fn mknod(at: At<'_>, kind: Kind, mode: u32, rdev: u64) -> Result<()> {
    let file_type = FileType::from_raw_mode(kind.mode_bits());
    fs::mknodat(at.dir, at.name, file_type, Mode::from_raw_mode(mode), rdev)
        .map_err(|errno| at.fail("mknodat", errno))
}

/// Makes a symlink.
pub fn symlink(target: &OsStr, at: At<'_>) -> Result<()> {
    fs::symlinkat(target, at.dir, at.name).map_err(|errno| at.fail("symlinkat", errno))
}

/// Makes another name for a file; `from` may be a descriptor's own file (an `O_TMPFILE` included).
pub fn link(from: At<'_>, to: At<'_>) -> Result<()> {
    let linked = if from.is_self() {
        match fs::linkat(from.dir, from.name, to.dir, to.name, AtFlags::EMPTY_PATH) {
            // AT_EMPTY_PATH wants CAP_DAC_READ_SEARCH before Linux 6.10; the magic link does not (open(2), O_TMPFILE).
            Err(Errno::NOENT | Errno::PERM) => {
                fs::linkat(fs::CWD, from.proc_path().as_slice(), to.dir, to.name, AtFlags::SYMLINK_FOLLOW)
            }
            other => other,
        }
    } else {
        fs::linkat(from.dir, from.name, to.dir, to.name, AtFlags::empty())
    };
    linked.map_err(|errno| to.fail("linkat", errno))
}

/// Removes a name that is not a directory.
pub fn unlink(at: At<'_>) -> Result<()> {
    fs::unlinkat(at.dir, at.name, AtFlags::empty()).map_err(|errno| at.fail("unlinkat", errno))
}

/// Removes an empty directory.
pub fn rmdir(at: At<'_>) -> Result<()> {
    fs::unlinkat(at.dir, at.name, AtFlags::REMOVEDIR).map_err(|errno| at.fail("rmdir", errno))
}

/// Renames with the flags of `renameat2(2)`.
pub fn rename(from: At<'_>, to: At<'_>, flags: RenameFlags) -> Result<()> {
    fs::renameat_with(from.dir, from.name, to.dir, to.name, flags)
        .map_err(|errno| to.fail("renameat2", errno))
}

/// Whether this process may make files in a directory, by the mode of that and the mount.
///
/// # Errors
/// `EACCES`, `EROFS` when it may not.
pub fn may_write(dir: &OwnedFd) -> Result<()> {
    let access = fs::Access::WRITE_OK | fs::Access::EXEC_OK;
    fs::accessat(dir, ".", access, fs::AtFlags::EACCESS).map_err(|errno| Error::new("faccessat2", errno))
}

/// Changes permission bits. A symlink, which has none of its own, is not followed.
///
/// # Errors
/// `EOPNOTSUPP` for a symlink.
pub fn chmod(at: At<'_>, mode: u32) -> Result<()> {
    chmod_at(at, mode).map_err(|errno| at.fail("fchmodat", errno))
}

/// `fchmodat(2)` follows symlinks, and whoever owns a layer can put one where a file was; `fchmodat2(2)` need not (Linux 6.6).
fn chmod_at(at: At<'_>, mode: u32) -> std::result::Result<(), Errno> {
    match fchmodat2(at, mode) {
        // Container runtimes that do not know the call answer EPERM for the kernel.
        Err(Errno::NOSYS | Errno::PERM) => {}
        other => return other,
    }
    let by_descriptor = |at: At<'_>| fs::chmod(at.proc_path().as_slice(), Mode::from_raw_mode(mode));
    if at.is_self() {
        return by_descriptor(at);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = fs::openat(at.dir, at.name, flags, Mode::empty())?;
    if FileType::from_raw_mode(fs::fstat(&file)?.st_mode).is_symlink() {
        return Err(Errno::OPNOTSUPP);
    }
    by_descriptor(At::this(file.as_fd()))
}

const SYS_FCHMODAT2: libc::c_long = 452;

#[allow(unsafe_code, reason = "neither libc nor rustix has the call")]
fn fchmodat2(at: At<'_>, mode: u32) -> std::result::Result<(), Errno> {
    let name = CString::new(at.name.as_bytes()).map_err(|_| Errno::INVAL)?;
    let dir = at.dir.as_raw_fd();
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    // SAFETY: `name` is NUL-terminated and outlives the call, which only reads it.
    match unsafe { libc::syscall(SYS_FCHMODAT2, dir, name.as_ptr(), mode, flags) } {
        -1 => Err(last_errno()),
        _ => Ok(()),
    }
}

/// Changes the owner; `None` leaves one as it is. Clears set-id bits of files, as `chown(2)` does.
pub fn chown(at: At<'_>, uid: Option<u32>, gid: Option<u32>) -> Result<()> {
    let uid = uid.map(fs::Uid::from_raw);
    let gid = gid.map(fs::Gid::from_raw);
    fs::chownat(at.dir, at.name, uid, gid, AtFlags::SYMLINK_NOFOLLOW | AtFlags::EMPTY_PATH)
        .map_err(|errno| at.fail("fchownat", errno))
}

/// Sets access and modification time; `None` leaves one as it is.
pub fn set_times(at: At<'_>, atime: Option<NewTime>, mtime: Option<NewTime>) -> Result<()> {
    let times = Timestamps { last_access: timespec(atime), last_modification: timespec(mtime) };
    let flags = if at.is_self() { AtFlags::EMPTY_PATH } else { AtFlags::SYMLINK_NOFOLLOW };
    let set = match fs::utimensat(at.dir, at.name, &times, flags) {
        // Before Linux 5.8 a descriptor's own file could not be named so.
        Err(Errno::INVAL) if at.is_self() => {
            fs::utimensat(fs::CWD, at.proc_path().as_slice(), &times, AtFlags::empty())
        }
        other => other,
    };
    set.map_err(|errno| at.fail("utimensat", errno))
}

fn timespec(time: Option<NewTime>) -> Timespec {
    match time {
        None => Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
        Some(NewTime::Now) => Timespec { tv_sec: 0, tv_nsec: UTIME_NOW },
        Some(NewTime::At(time)) => Timespec { tv_sec: time.sec, tv_nsec: time.nsec.into() },
    }
}

/// An unnamed file in the filesystem of `dir`, open for reading and writing.
pub fn tmpfile(dir: BorrowedFd<'_>, mode: u32) -> Result<OwnedFd> {
    fs::openat(dir, ".", OFlags::TMPFILE | OFlags::RDWR | OFlags::CLOEXEC, Mode::from_raw_mode(mode))
        .map_err(|errno| Error::on("openat(O_TMPFILE)", OsStr::from_bytes(b"."), errno))
}
