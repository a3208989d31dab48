//! The script language: one value per file operation, with short constructors.

use std::fmt;
use std::sync::Arc;

use rustix::fs::{FallocateFlags, FileType, OFlags, RenameFlags, SeekFrom};
use rustix::io::Errno;

/// A file name, path or symlink target: bytes, printed escaped and shortened.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub Vec<u8>);

impl<T: AsRef<[u8]> + ?Sized> From<&T> for Name {
    fn from(bytes: &T) -> Self {
        Name(bytes.as_ref().to_vec())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&show(&self.0))
    }
}

/// Bytes as a person reads them; long ones by their ends.
pub fn show(bytes: &[u8]) -> String {
    match bytes.len() {
        0..=80 => bytes.escape_ascii().to_string(),
        n => format!("{}…{}({n} bytes)", bytes[..30].escape_ascii(), bytes[n - 20..].escape_ascii()),
    }
}

/// What a step answers: something comparable between subjects, or the errno.
pub type Outcome = Result<String, Errno>;

/// A step that no variant covers; runs with the union's root as working directory.
pub type Custom = Arc<dyn Fn() -> Outcome + Send + Sync>;

/// One operation on the union, its paths relative to the union's root.
#[derive(Clone)]
pub enum Op {
    Mkdir(Name, u32),
    Rmdir(Name),
    Unlink(Name),
    /// `O_CREAT|O_EXCL`.
    Create(Name, u32),
    /// `O_CREAT|O_TRUNC` and write.
    Put(Name, Vec<u8>),
    /// Write at an offset into an existing file.
    Write(Name, u64, Vec<u8>),
    Append(Name, Vec<u8>),
    /// `truncate(2)`, by path.
    Truncate(Name, u64),
    Rename(Name, Name, RenameFlags),
    Link(Name, Name),
    /// Target, then path.
    Symlink(Name, Name),
    Mknod(Name, FileType, u32, (u32, u32)),
    Chmod(Name, u32),
    /// `lchown`; `u32::MAX` leaves the id as it is.
    Chown(Name, u32, u32),
    /// Modification and access time, not following symlinks.
    Utimens(Name, i64),
    SetXattr(Name, &'static str, Vec<u8>),
    RemoveXattr(Name, &'static str),
    GetXattr(Name, &'static str),
    Fallocate(Name, FallocateFlags, u64, u64),
    /// `setfacl -m SPEC`.
    SetAcl(Name, &'static str),
    Umask(u32),
    /// Readdir and delete at the same time, as `rm -rf` does.
    RemoveTree(Name),
    /// Sorted names.
    List(Name),
    Read(Name),
    Stat(Name),
    /// From, to, length: `copy_file_range` into an existing file.
    CopyRange(Name, Name, usize),
    /// A later step refers to the open file by this tag.
    Open(&'static str, Name, OFlags, u32),
    FdWrite(&'static str, Vec<u8>),
    FdPwrite(&'static str, u64, Vec<u8>),
    FdPread(&'static str, u64, usize),
    FdTruncate(&'static str, u64),
    FdChmod(&'static str, u32),
    FdStat(&'static str),
    FdSeek(&'static str, SeekFrom),
    FdSync(&'static str),
    Close(&'static str),
    /// Another user and group without any supplementary group.
    As(u32, u32, Box<Op>),
    Call(&'static str, Custom),
}

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Mkdir(p, m) => write!(f, "mkdir {p:?} {m:o}"),
            Op::Rmdir(p) => write!(f, "rmdir {p:?}"),
            Op::Unlink(p) => write!(f, "unlink {p:?}"),
            Op::Create(p, m) => write!(f, "create {p:?} {m:o}"),
            Op::Put(p, d) => write!(f, "put {p:?} {:?}", Name::from(d)),
            Op::Write(p, at, d) => write!(f, "write {p:?} at {at} {} bytes", d.len()),
            Op::Append(p, d) => write!(f, "append {p:?} {} bytes", d.len()),
            Op::Truncate(p, n) => write!(f, "truncate {p:?} {n}"),
            Op::Rename(a, b, fl) if fl.is_empty() => write!(f, "rename {a:?} {b:?}"),
            Op::Rename(a, b, fl) => write!(f, "rename {a:?} {b:?} {fl:?}"),
            Op::Link(a, b) => write!(f, "link {a:?} {b:?}"),
            Op::Symlink(t, p) => write!(f, "symlink {t:?} {p:?}"),
            Op::Mknod(p, t, m, d) => write!(f, "mknod {p:?} {t:?} {m:o} {d:?}"),
            Op::Chmod(p, m) => write!(f, "chmod {p:?} {m:o}"),
            Op::Chown(p, u, g) => write!(f, "chown {p:?} {u}:{g}"),
            Op::Utimens(p, t) => write!(f, "utimens {p:?} {t}"),
            Op::SetXattr(p, n, v) => write!(f, "setxattr {p:?} {n}={:?}", Name::from(v)),
            Op::RemoveXattr(p, n) => write!(f, "removexattr {p:?} {n}"),
            Op::GetXattr(p, n) => write!(f, "getxattr {p:?} {n}"),
            Op::Fallocate(p, m, at, n) => write!(f, "fallocate {p:?} {m:?} {at}+{n}"),
            Op::SetAcl(p, spec) => write!(f, "setfacl -m {spec} {p:?}"),
            Op::Umask(m) => write!(f, "umask {m:o}"),
            Op::RemoveTree(p) => write!(f, "rm -rf {p:?}"),
            Op::List(p) => write!(f, "ls {p:?}"),
            Op::Read(p) => write!(f, "cat {p:?}"),
            Op::Stat(p) => write!(f, "stat {p:?}"),
            Op::CopyRange(a, b, n) => write!(f, "copy_file_range {a:?} {b:?} {n}"),
            Op::Open(s, p, fl, m) => write!(f, "{s} = open {p:?} {fl:?} {m:o}"),
            Op::FdWrite(s, d) => write!(f, "write({s}) {} bytes", d.len()),
            Op::FdPwrite(s, at, d) => write!(f, "pwrite({s}) at {at} {} bytes", d.len()),
            Op::FdPread(s, at, n) => write!(f, "pread({s}) {at}+{n}"),
            Op::FdTruncate(s, n) => write!(f, "ftruncate({s}) {n}"),
            Op::FdChmod(s, m) => write!(f, "fchmod({s}) {m:o}"),
            Op::FdStat(s) => write!(f, "fstat({s})"),
            Op::FdSeek(s, to) => write!(f, "lseek({s}) {to:?}"),
            Op::FdSync(s) => write!(f, "fsync({s})"),
            Op::Close(s) => write!(f, "close({s})"),
            Op::As(u, g, op) => write!(f, "as {u}:{g} {op:?}"),
            Op::Call(what, _) => write!(f, "call {what}"),
        }
    }
}

pub fn mkdir(path: impl Into<Name>) -> Op {
    Op::Mkdir(path.into(), 0o755)
}
pub fn mkdir_mode(path: impl Into<Name>, mode: u32) -> Op {
    Op::Mkdir(path.into(), mode)
}
pub fn rmdir(path: impl Into<Name>) -> Op {
    Op::Rmdir(path.into())
}
pub fn unlink(path: impl Into<Name>) -> Op {
    Op::Unlink(path.into())
}
pub fn create(path: impl Into<Name>, mode: u32) -> Op {
    Op::Create(path.into(), mode)
}
pub fn put(path: impl Into<Name>, data: impl AsRef<[u8]>) -> Op {
    Op::Put(path.into(), data.as_ref().to_vec())
}
pub fn write(path: impl Into<Name>, at: u64, data: impl AsRef<[u8]>) -> Op {
    Op::Write(path.into(), at, data.as_ref().to_vec())
}
pub fn append(path: impl Into<Name>, data: impl AsRef<[u8]>) -> Op {
    Op::Append(path.into(), data.as_ref().to_vec())
}
pub fn truncate(path: impl Into<Name>, len: u64) -> Op {
    Op::Truncate(path.into(), len)
}
pub fn rename(from: impl Into<Name>, to: impl Into<Name>) -> Op {
    Op::Rename(from.into(), to.into(), RenameFlags::empty())
}
pub fn rename_noreplace(from: impl Into<Name>, to: impl Into<Name>) -> Op {
    Op::Rename(from.into(), to.into(), RenameFlags::NOREPLACE)
}
pub fn exchange(from: impl Into<Name>, to: impl Into<Name>) -> Op {
    Op::Rename(from.into(), to.into(), RenameFlags::EXCHANGE)
}
pub fn link(from: impl Into<Name>, to: impl Into<Name>) -> Op {
    Op::Link(from.into(), to.into())
}
pub fn symlink(target: impl Into<Name>, path: impl Into<Name>) -> Op {
    Op::Symlink(target.into(), path.into())
}
pub fn mknod(path: impl Into<Name>, kind: FileType, mode: u32, dev: (u32, u32)) -> Op {
    Op::Mknod(path.into(), kind, mode, dev)
}
pub fn fifo(path: impl Into<Name>) -> Op {
    mknod(path, FileType::Fifo, 0o644, (0, 0))
}
pub fn chmod(path: impl Into<Name>, mode: u32) -> Op {
    Op::Chmod(path.into(), mode)
}
pub fn chown(path: impl Into<Name>, uid: u32, gid: u32) -> Op {
    Op::Chown(path.into(), uid, gid)
}
pub fn utimens(path: impl Into<Name>, seconds: i64) -> Op {
    Op::Utimens(path.into(), seconds)
}
pub fn setxattr(path: impl Into<Name>, name: &'static str, value: impl AsRef<[u8]>) -> Op {
    Op::SetXattr(path.into(), name, value.as_ref().to_vec())
}
pub fn removexattr(path: impl Into<Name>, name: &'static str) -> Op {
    Op::RemoveXattr(path.into(), name)
}
pub fn getxattr(path: impl Into<Name>, name: &'static str) -> Op {
    Op::GetXattr(path.into(), name)
}
pub fn fallocate(path: impl Into<Name>, mode: FallocateFlags, at: u64, len: u64) -> Op {
    Op::Fallocate(path.into(), mode, at, len)
}
pub fn setacl(path: impl Into<Name>, spec: &'static str) -> Op {
    Op::SetAcl(path.into(), spec)
}
pub fn remove_tree(path: impl Into<Name>) -> Op {
    Op::RemoveTree(path.into())
}
pub fn list(path: impl Into<Name>) -> Op {
    Op::List(path.into())
}
pub fn read(path: impl Into<Name>) -> Op {
    Op::Read(path.into())
}
pub fn stat(path: impl Into<Name>) -> Op {
    Op::Stat(path.into())
}
pub fn copy_range(from: impl Into<Name>, to: impl Into<Name>, len: usize) -> Op {
    Op::CopyRange(from.into(), to.into(), len)
}
pub fn open(tag: &'static str, path: impl Into<Name>, flags: OFlags) -> Op {
    Op::Open(tag, path.into(), flags, 0o644)
}
/// The step as uid and gid `id`.
pub fn as_user(id: u32, op: Op) -> Op {
    Op::As(id, id, Box::new(op))
}
pub fn call(what: &'static str, step: impl Fn() -> Outcome + Send + Sync + 'static) -> Op {
    Op::Call(what, Arc::new(step))
}
