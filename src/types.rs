//! Values that travel between the layers of the engine. No file descriptors, no `fuser` types.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use crate::error::{Error, Result};

/// The number of a node: what the kernel calls `nodeid` and what users see as `st_ino`. 1 is the root.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeId(pub u64);

impl NodeId {
    /// The root of the union.
    pub const ROOT: Self = Self(1);
}

/// The kind of a file, as in the type bits of `st_mode`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Regular file.
    File,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// FIFO.
    Fifo,
    /// Socket.
    Socket,
    /// Character device.
    CharDevice,
    /// Block device.
    BlockDevice,
}

impl Kind {
    /// From the type bits of `st_mode`. Unknown bits (no Linux filesystem reports any) count as a regular file.
    pub fn from_mode(mode: u32) -> Self {
        match mode & libc::S_IFMT {
            libc::S_IFDIR => Self::Directory,
            libc::S_IFLNK => Self::Symlink,
            libc::S_IFIFO => Self::Fifo,
            libc::S_IFSOCK => Self::Socket,
            libc::S_IFCHR => Self::CharDevice,
            libc::S_IFBLK => Self::BlockDevice,
            _ => Self::File,
        }
    }

    /// The type bits of `st_mode`.
    pub fn mode_bits(self) -> u32 {
        match self {
            Self::File => libc::S_IFREG,
            Self::Directory => libc::S_IFDIR,
            Self::Symlink => libc::S_IFLNK,
            Self::Fifo => libc::S_IFIFO,
            Self::Socket => libc::S_IFSOCK,
            Self::CharDevice => libc::S_IFCHR,
            Self::BlockDevice => libc::S_IFBLK,
        }
    }
}

/// A point in time: seconds since the epoch (may be negative) and nanoseconds (0..1_000_000_000).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Time {
    /// Seconds since the epoch.
    pub sec: i64,
    /// Nanoseconds within the second.
    pub nsec: u32,
}

/// What `stat` says of a file in one layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stat {
    /// Device number of the filesystem.
    pub dev: u64,
    /// Inode number on that filesystem.
    pub ino: u64,
    /// Type and permission bits.
    pub mode: u32,
    /// Number of hard links.
    pub nlink: u32,
    /// Owner, as stored in the layer.
    pub uid: u32,
    /// Group, as stored in the layer.
    pub gid: u32,
    /// Device number of a device node.
    pub rdev: u64,
    /// Size in bytes.
    pub size: u64,
    /// Allocated 512-byte blocks.
    pub blocks: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last modification.
    pub mtime: Time,
    /// Last change.
    pub ctime: Time,
    /// When the file was made.
    pub birth: Birth,
}

/// When a file was made, in few bits: two files that have had the same inode number one after the other differ in it. There is nobody
/// who can set it (statx(2), `STATX_BTIME`); the default is not to know.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Birth(u32);

impl Birth {
    /// Of a file that was made then.
    pub fn at(time: Time) -> Self {
        let seconds = u32::from_ne_bytes((time.sec as i32).to_ne_bytes());
        Self((seconds.wrapping_mul(0x9E37_79B1) ^ time.nsec).max(1))
    }

    /// Whether it may be that of the same file.
    pub fn may_be(self, other: Self) -> bool {
        self == other || self.0 == 0 || other.0 == 0
    }
}

/// What a file is known by, when it is seen again under a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Its number.
    pub real: RealId,
    /// When it was made.
    pub birth: Birth,
}

impl Identity {
    /// Whether this is the file.
    pub fn is_of(&self, stat: &Stat) -> bool {
        self.real == stat.real_id() && self.birth.may_be(stat.birth)
    }
}

impl Stat {
    /// The kind of the file.
    pub fn kind(&self) -> Kind {
        Kind::from_mode(self.mode)
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind() == Kind::Directory
    }

    /// Whether this is the kernel's whiteout: a character device 0/0.
    pub fn is_whiteout_device(&self) -> bool {
        self.kind() == Kind::CharDevice && self.rdev == 0
    }

    /// What identifies the file on this machine while it exists.
    pub fn real_id(&self) -> RealId {
        RealId { dev: self.dev, ino: self.ino }
    }
}

/// The identity of a file in a layer: unique on this machine while the file exists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RealId {
    /// Device number of the filesystem.
    pub dev: u64,
    /// Inode number on that filesystem.
    pub ino: u64,
}

/// A file handle as the filesystem encodes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct FileHandle {
    /// How the filesystem encoded it.
    pub kind: u8,
    /// The encoding, `MAX_HANDLE_SZ` (128) bytes at most.
    pub bytes: Vec<u8>,
}

/// Attributes of a node as users of the union see them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attr {
    /// Number of the node (`st_ino`).
    pub node: NodeId,
    /// Kind of file.
    pub kind: Kind,
    /// Permission bits, 0o7777 at most.
    pub perm: u16,
    /// Number of hard links; 1 for a merged directory, as with the kernel's overlayfs.
    pub nlink: u32,
    /// Owner in the union.
    pub uid: u32,
    /// Group in the union.
    pub gid: u32,
    /// Device number of a device node, in the kernel's 32-bit encoding (`new_encode_dev`).
    pub rdev: u32,
    /// Size in bytes.
    pub size: u64,
    /// Allocated 512-byte blocks.
    pub blocks: u64,
    /// Preferred I/O size in bytes.
    pub blksize: u32,
    /// Last access.
    pub atime: Time,
    /// Last modification.
    pub mtime: Time,
    /// Last change.
    pub ctime: Time,
}

/// One entry of a directory listing.
#[derive(Debug, Clone)]
pub struct DirEntry {
    /// Name in the directory.
    pub name: OsString,
    /// Where the listing goes on after this entry.
    pub cookie: u64,
    /// Number of the node.
    pub node: NodeId,
    /// Kind of file.
    pub kind: Kind,
    /// Attributes, when the listing was asked for them; the node is then referenced once more until `forget`.
    /// Never given for `.` and `..`, nor for entries with broken marks.
    pub attr: Option<Attr>,
}

/// Who asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Caller {
    /// Effective user, as the union shows users.
    pub uid: u32,
    /// Effective group.
    pub gid: u32,
    /// Process, 0 when unknown (another pid namespace).
    pub pid: u32,
    /// File mode creation mask.
    pub umask: u32,
}

impl Caller {
    /// The calling process itself, with no creation mask.
    pub fn current() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            pid: std::process::id(),
            umask: 0,
        }
    }
}

/// A new time stamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NewTime {
    /// The present.
    Now,
    /// A given time.
    At(Time),
}

/// The attributes to change; `None` leaves one as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SetAttr {
    /// Permission bits.
    pub perm: Option<u32>,
    /// Owner, as the union shows it.
    pub uid: Option<u32>,
    /// Group, as the union shows it.
    pub gid: Option<u32>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Last access.
    pub atime: Option<NewTime>,
    /// Last modification.
    pub mtime: Option<NewTime>,
}

/// The three ways to rename, after `renameat2(2)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RenameMode {
    /// Replace what is there.
    Replace,
    /// Fail with `EEXIST` when something is there.
    NoReplace,
    /// Swap the two.
    Exchange,
}

/// Usage of the filesystem that takes the writes, after `statvfs(3)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FsUsage {
    /// Blocks, in `fragment` units.
    pub blocks: u64,
    /// Free blocks.
    pub blocks_free: u64,
    /// Free blocks for unprivileged users.
    pub blocks_available: u64,
    /// Inodes.
    pub files: u64,
    /// Free inodes.
    pub files_free: u64,
    /// Block size in bytes.
    pub block: u32,
    /// Fragment size in bytes.
    pub fragment: u32,
    /// Longest name in bytes.
    pub name_max: u32,
    /// Reading a file may change its access time.
    pub access_times: bool,
}

/// A name in a directory: bytes, never empty, without `/` and NUL, not `.` or `..`. So it leads nowhere but to an entry of the
/// very directory it is used in. How long it may be is for the layers' filesystems to say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Name<'a>(&'a OsStr);

impl<'a> Name<'a> {
    /// Checks a name.
    ///
    /// # Errors
    /// `EINVAL` for what is no name of an entry.
    pub fn new(name: &'a OsStr) -> Result<Self> {
        let bytes = name.as_bytes();
        if matches!(bytes, b"" | b"." | b"..") || bytes.iter().any(|byte| matches!(byte, b'/' | 0)) {
            return Err(Error::refused(Errno::INVAL, "not the name of an entry"));
        }
        Ok(Self(name))
    }

    /// The name's bytes, as the system takes them.
    pub fn as_os_str(self) -> &'a OsStr {
        self.0
    }
}

impl<'a> TryFrom<&'a str> for Name<'a> {
    type Error = Error;

    fn try_from(name: &'a str) -> Result<Self> {
        Self::new(OsStr::new(name))
    }
}

impl AsRef<OsStr> for Name<'_> {
    fn as_ref(&self) -> &OsStr {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_nowhere_else() {
        for bad in ["", ".", "..", "/", "a/b", "../x", "/a", "a/", "a\0b", "\0"] {
            let refused = Name::try_from(bad).map_err(|error| error.errno());
            assert_eq!(refused, Err(Errno::INVAL), "{bad:?}");
        }
        for good in ["a", "...", ".a", "..a", " ", "\n"] {
            assert_eq!(Name::try_from(good).unwrap().as_os_str(), good);
        }
        let bytes = OsStr::from_bytes(b"\xff");
        assert_eq!(Name::new(bytes).unwrap().as_os_str(), bytes);
    }
}
