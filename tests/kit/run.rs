//! Runs scripts with raw system calls.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::Command;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;
use rustix::process::{Gid, Uid};
use rustix::thread::UnshareFlags;

use super::op::{Name, Op, Outcome, show};

/// What every step of a script answered.
pub type Transcript = Vec<(String, Outcome)>;

/// Runs `script` with `root` as working directory and umask 022. The script has a thread of its own, detached from the process'
/// working directory and umask, so that tests may run side by side.
pub fn run_script(root: &Path, script: &[Op]) -> Transcript {
    in_directory(root, || {
        let mut runner = Runner::default();
        script.iter().map(|op| (format!("{op:?}"), runner.step(op))).collect()
    })
}

/// Runs `body` in a thread whose working directory is `root` and whose umask is 022.
pub fn in_directory<T: Send>(root: &Path, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            unshare_fs();
            rustix::process::chdir(root).unwrap_or_else(|e| panic!("chdir {}: {e}", root.display()));
            rustix::process::umask(Mode::from_raw_mode(0o022));
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[allow(unsafe_code)]
fn unshare_fs() {
    // SAFETY: CLONE_FS only gives this thread its own working directory and umask.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::FS) }.expect("unshare(CLONE_FS) needs no rights");
}

/// Runs `body` in a thread with the given ids, no supplementary groups and hence no capabilities.
pub fn as_ids<T: Send>(uid: u32, gid: u32, body: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            rustix::thread::set_thread_groups(&[]).expect("root may drop groups");
            rustix::thread::set_thread_res_gid(gid, gid, gid).expect("root may change its gid");
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root may change its uid");
            body()
        });
        thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

#[derive(Default)]
struct Runner {
    files: BTreeMap<&'static str, OwnedFd>,
}

impl Runner {
    fn step(&mut self, op: &Op) -> Outcome {
        match op {
            Op::As(uid, gid, op) => as_ids(*uid, *gid, || self.step(op)),
            Op::Call(_, step) => step(),
            Op::List(..) | Op::Read(_) | Op::Stat(_) | Op::GetXattr(..) => inspect(op),
            Op::Open(tag, path, flags, mode) => {
                let file = rustix::fs::openat(CWD, &path.0[..], *flags | OFlags::CLOEXEC, bits(*mode))?;
                self.files.insert(tag, file);
                ok()
            }
            Op::Close(tag) => {
                self.files.remove(tag).expect("the script opened it");
                ok()
            }
            Op::FdWrite(..)
            | Op::FdPwrite(..)
            | Op::FdPread(..)
            | Op::FdTruncate(..)
            | Op::FdChmod(..)
            | Op::FdStat(_)
            | Op::FdSeek(..)
            | Op::FdSync(_) => self.on_open_file(op),
            Op::Put(..)
            | Op::Write(..)
            | Op::Append(..)
            | Op::Truncate(..)
            | Op::Fallocate(..)
            | Op::CopyRange(..) => change_data(op),
            Op::Chmod(..)
            | Op::Chown(..)
            | Op::Utimens(..)
            | Op::SetXattr(..)
            | Op::RemoveXattr(..)
            | Op::SetAcl(..)
            | Op::Umask(_) => change_attributes(op),
            _ => change_names(op),
        }
    }

    fn on_open_file(&mut self, op: &Op) -> Outcome {
        let fd = |tag: &str| self.files.get(tag).unwrap_or_else(|| panic!("{tag} is not open"));
        match op {
            Op::FdWrite(tag, data) => count(rustix::io::write(fd(tag), data)?),
            Op::FdPwrite(tag, at, data) => count(rustix::io::pwrite(fd(tag), data, *at)?),
            Op::FdPread(tag, at, len) => {
                let mut data = vec![0; *len];
                let n = rustix::io::pread(fd(tag), &mut data[..], *at)?;
                Ok(show(&data[..n]))
            }
            Op::FdTruncate(tag, len) => done(rustix::fs::ftruncate(fd(tag), *len)),
            Op::FdChmod(tag, mode) => done(rustix::fs::fchmod(fd(tag), bits(*mode))),
            Op::FdStat(tag) => Ok(describe(&rustix::fs::fstat(fd(tag))?)),
            Op::FdSeek(tag, to) => Ok(rustix::fs::seek(fd(tag), *to)?.to_string()),
            Op::FdSync(tag) => done(rustix::fs::fsync(fd(tag))),
            other => panic!("{other:?} is not on an open file"),
        }
    }
}

fn inspect(op: &Op) -> Outcome {
    match op {
        Op::List(path) => {
            let mut names = names_in(path)?;
            names.sort();
            Ok(names.iter().map(|n| show(n)).collect::<Vec<_>>().join(" "))
        }
        Op::Read(path) => {
            let file = open_at(path, OFlags::RDONLY, 0)?;
            let mut data = Vec::new();
            io::Read::read_to_end(&mut std::fs::File::from(file), &mut data).map_err(errno)?;
            Ok(show(&data))
        }
        Op::Stat(path) => Ok(describe(&rustix::fs::statat(CWD, &path.0[..], AtFlags::SYMLINK_NOFOLLOW)?)),
        Op::GetXattr(path, name) => {
            let mut value = vec![0; 65536];
            let n = rustix::fs::lgetxattr(&path.0[..], *name, &mut value[..])?;
            Ok(show(&value[..n]))
        }
        other => panic!("{other:?} changes something"),
    }
}

fn change_data(op: &Op) -> Outcome {
    match op {
        Op::Put(path, data) => {
            write_all(open_at(path, OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC, 0o644)?, data)
        }
        Op::Write(path, at, data) => {
            let file = open_at(path, OFlags::WRONLY, 0)?;
            count(rustix::io::pwrite(&file, data, *at)?)
        }
        Op::Append(path, data) => write_all(open_at(path, OFlags::WRONLY | OFlags::APPEND, 0)?, data),
        Op::Truncate(path, len) => truncate(path, *len),
        Op::Fallocate(path, mode, at, len) => {
            let file = open_at(path, OFlags::RDWR, 0)?;
            done(rustix::fs::fallocate(&file, *mode, *at, *len))
        }
        Op::CopyRange(from, to, len) => {
            let (from, to) = (open_at(from, OFlags::RDONLY, 0)?, open_at(to, OFlags::WRONLY, 0)?);
            let mut left = *len;
            while left > 0 {
                match rustix::fs::copy_file_range(&from, None, &to, None, left)? {
                    0 => break,
                    n => left -= n,
                }
            }
            count(*len - left)
        }
        other => panic!("{other:?} does not change data"),
    }
}

fn change_attributes(op: &Op) -> Outcome {
    match op {
        Op::Chmod(path, mode) => done(rustix::fs::chmodat(CWD, &path.0[..], bits(*mode), AtFlags::empty())),
        Op::Chown(path, uid, gid) => {
            let uid = (*uid != u32::MAX).then(|| Uid::from_raw(*uid));
            let gid = (*gid != u32::MAX).then(|| Gid::from_raw(*gid));
            done(rustix::fs::chownat(CWD, &path.0[..], uid, gid, AtFlags::SYMLINK_NOFOLLOW))
        }
        Op::Utimens(path, seconds) => {
            let at = Timespec { tv_sec: *seconds, tv_nsec: 123_456_789 };
            let times = Timestamps { last_access: at, last_modification: at };
            done(rustix::fs::utimensat(CWD, &path.0[..], &times, AtFlags::SYMLINK_NOFOLLOW))
        }
        Op::SetXattr(path, name, value) => {
            done(rustix::fs::lsetxattr(&path.0[..], *name, value, XattrFlags::empty()))
        }
        Op::RemoveXattr(path, name) => done(rustix::fs::lremovexattr(&path.0[..], *name)),
        Op::SetAcl(path, spec) => {
            let path = std::str::from_utf8(&path.0).expect("setfacl steps use plain names");
            let done = Command::new("setfacl").args(["-m", spec, path]).output().map_err(errno)?;
            Ok(if done.status.success() {
                "ok".into()
            } else {
                String::from_utf8_lossy(&done.stderr).into_owned()
            })
        }
        Op::Umask(mask) => {
            rustix::process::umask(bits(*mask));
            ok()
        }
        other => panic!("{other:?} does not change attributes"),
    }
}

fn change_names(op: &Op) -> Outcome {
    match op {
        Op::Mkdir(path, mode) => done(rustix::fs::mkdirat(CWD, &path.0[..], bits(*mode))),
        Op::Rmdir(path) => done(rustix::fs::unlinkat(CWD, &path.0[..], AtFlags::REMOVEDIR)),
        Op::Unlink(path) => done(rustix::fs::unlinkat(CWD, &path.0[..], AtFlags::empty())),
        Op::Create(path, mode) => {
            open_at(path, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL, *mode)?;
            ok()
        }
        Op::Rename(from, to, flags) => {
            done(rustix::fs::renameat_with(CWD, &from.0[..], CWD, &to.0[..], *flags))
        }
        Op::Link(from, to) => done(rustix::fs::linkat(CWD, &from.0[..], CWD, &to.0[..], AtFlags::empty())),
        Op::Symlink(target, path) => done(rustix::fs::symlinkat(&target.0[..], CWD, &path.0[..])),
        Op::Mknod(path, kind, mode, (major, minor)) => {
            let device = rustix::fs::makedev(*major, *minor);
            done(rustix::fs::mknodat(CWD, &path.0[..], *kind, bits(*mode), device))
        }
        Op::RemoveTree(path) => remove_tree(path),
        other => panic!("{other:?} does not change names"),
    }
}

/// Deletes while the directory stream is open, in the order the stream gives: what `rm -rf` does.
fn remove_tree(path: &Name) -> Outcome {
    let dir = rustix::fs::openat(
        CWD,
        &path.0[..],
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let mut removed = 0usize;
    for entry in Dir::read_from(&dir)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name == b"." || name == b".." {
            continue;
        }
        let child = Name([&path.0[..], b"/", name].concat());
        if entry.file_type() == FileType::Directory {
            remove_tree(&child)?;
        } else {
            rustix::fs::unlinkat(CWD, &child.0[..], AtFlags::empty())?;
        }
        removed += 1;
    }
    rustix::fs::unlinkat(CWD, &path.0[..], AtFlags::REMOVEDIR)?;
    count(removed)
}

fn names_in(path: &Name) -> Result<Vec<Vec<u8>>, Errno> {
    let dir = open_at(path, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    let mut names = Vec::new();
    for entry in Dir::read_from(&dir)? {
        names.push(entry?.file_name().to_bytes().to_vec());
    }
    Ok(names)
}

#[allow(unsafe_code)]
fn truncate(path: &Name, len: u64) -> Outcome {
    let path = CString::new(path.0.clone()).expect("paths hold no NUL");
    // SAFETY: `path` is a NUL-terminated string that lives until the call returns.
    match unsafe { libc::truncate(path.as_ptr(), len.try_into().expect("scripts use small lengths")) } {
        0 => ok(),
        _ => Err(errno(io::Error::last_os_error())),
    }
}

fn open_at(path: &Name, flags: OFlags, mode: u32) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(CWD, &path.0[..], flags | OFlags::CLOEXEC, bits(mode))
}

fn write_all(file: OwnedFd, data: &[u8]) -> Outcome {
    io::Write::write_all(&mut std::fs::File::from(file), data).map_err(errno)?;
    ok()
}

/// What a stat shows of a file that must be the same in every subject: no inode numbers, no times, no size or links of
/// directories (they are the backing filesystem's business).
pub fn describe(stat: &Stat) -> String {
    let kind = FileType::from_raw_mode(stat.st_mode);
    let head = format!("{kind:?} {:o} {}:{}", stat.st_mode & 0o7777, stat.st_uid, stat.st_gid);
    match kind {
        FileType::Directory => head,
        _ => format!("{head} links {} size {} rdev {}", stat.st_nlink, stat.st_size, stat.st_rdev),
    }
}

/// The errno behind a `std` error.
pub fn errno(error: io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::IO)
}

fn bits(mode: u32) -> Mode {
    Mode::from_raw_mode(mode)
}

fn ok() -> Outcome {
    Ok("ok".into())
}

fn done(result: Result<(), Errno>) -> Outcome {
    result.and_then(|()| ok())
}

fn count(n: usize) -> Outcome {
    Ok(n.to_string())
}
