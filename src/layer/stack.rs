//! The stack of layers a union is made of.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::claim::Claim;
use super::dir::RealDir;
use super::made::Made;
use super::staging::Staging;
use super::store::Store;
use super::waiting::Whereabouts;
use crate::format::namespace::MarkNamespace;
use crate::format::origin::HandleDecoder;
use crate::sys::{At, Error, Result};
use crate::types::RealId;

/// The number of a layer in the stack: 0 is the upperdir, lowerdirs count from 1, top-most first.
pub type LayerIndex = u16;

/// What is known of a layer as a whole.
#[derive(Debug)]
pub struct LayerInfo {
    /// Its number in the stack.
    pub index: LayerIndex,
    /// As the user named it, for messages.
    pub path: PathBuf,
    /// Device number of its filesystem.
    pub dev: u64,
    /// The number of its filesystem among those of the stack.
    pub filesystem: u16,
    /// Where the union's own mountpoint lies in this layer, when it does.
    pub mountpoint: Option<Covered>,
    /// What directory offsets of its root are like.
    pub offsets: Offsets,
    /// Whether its filesystem is served by a program or another machine (`is_served`).
    pub served: bool,
    /// Whether its inode numbers stay with its files (`keeps_numbers`).
    pub keeps_numbers: bool,
    /// Whether reading is to leave access times alone: lowers', and with `noatime` the upperdir's. Cleared once the kernel
    /// refused `O_NOATIME` here (open(2): owner or `CAP_FOWNER` only).
    pub no_atime: AtomicBool,
    /// Whether so many requests wait for it that no more are to: it does not answer.
    pub given_up: AtomicBool,
}

/// Whether a filesystem, by its magic number (linux/magic.h), is served by a program (FUSE) or another machine. Many of those know
/// files by their names alone: one that has lost its name cannot be opened again through `/proc`, and a truncation that changes
/// nothing leaves the times as they are (gocryptfs).
pub fn is_served(magic: u64) -> bool {
    const FUSE: u64 = 0x6573_5546;
    const NFS: u64 = 0x6969;
    const SMB: [u64; 2] = [0xFF53_4D42, 0xFE53_4D42];
    const V9FS: u64 = 0x0102_1997;
    const CEPH: u64 = 0x00C3_6400;
    const AFS: [u64; 2] = [0x5346_414F, 0x6B41_4653];
    [FUSE, NFS, V9FS, CEPH].contains(&magic) || SMB.contains(&magic) || AFS.contains(&magic)
}

/// Whether the inode numbers of a filesystem, by its magic number, stay with its files: not where a server may give others, nor where
/// the kernel makes them up for as long as it remembers the file (FAT, exFAT, proc).
pub fn keeps_numbers(magic: u64) -> bool {
    const FAT: u64 = 0x4D44;
    const EXFAT: u64 = 0x2011_BAB0;
    const PROC: u64 = 0x9FA0;
    !is_served(magic) && ![FAT, EXFAT, PROC].contains(&magic)
}

/// What directory offsets (`d_off`) are like on a filesystem.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offsets {
    /// 63-bit hashes; from the first bits of one a listing can be resumed, at what has the same (ext4).
    Hashes,
    /// Counted: small but in very old or very large directories, and all ones behind the last entry (xfs, btrfs, tmpfs, …).
    Small,
    /// Not known to be either.
    Unknown,
}

impl Offsets {
    /// By the magic number of the filesystem (statfs(2)).
    pub fn of(magic: u64) -> Self {
        match magic {
            0xEF53 => Self::Hashes,
            0x5846_5342 | 0x9123_683E | 0x0102_1994 | 0x7371_7368 | 0xE0F5_E1E2 => Self::Small,
            _ => Self::Unknown,
        }
    }
}

/// A directory of a layer that the union is mounted on: reached through a descriptor from before the mount, because its name
/// leads into the union itself.
#[derive(Debug)]
pub struct Covered {
    /// Inode number of its parent in the layer.
    pub parent: u64,
    /// Its name.
    pub name: OsString,
    /// Itself, opened before the mount.
    pub fd: Arc<OwnedFd>,
}

#[cfg(test)]
impl LayerInfo {
    /// The upperdir on the first filesystem.
    pub(crate) fn for_tests(dev: u64) -> Self {
        Self {
            index: 0,
            path: PathBuf::new(),
            dev,
            filesystem: 0,
            mountpoint: None,
            offsets: Offsets::Unknown,
            served: false,
            keeps_numbers: true,
            no_atime: AtomicBool::new(false),
            given_up: AtomicBool::new(false),
        }
    }
}

impl LayerInfo {
    /// Whether this is the upperdir.
    pub fn is_upper(&self) -> bool {
        self.index == 0
    }

    /// To be called before calls on it that may wait for its filesystem.
    ///
    /// # Errors
    /// ETIMEDOUT, as a network filesystem has it (`softerr`, nfs(5)), while it does not answer.
    pub fn enter(&self) -> Result<()> {
        Whereabouts::enter(self.index);
        match self.given_up.load(Ordering::Relaxed) {
            true => Err(Error::new("a layer that does not answer", Errno::TIMEDOUT)),
            false => Ok(()),
        }
    }

    /// The descriptor to use instead of `name` in the directory with inode number `parent`, if the mountpoint is there.
    pub fn covered(&self, parent: u64, name: &OsStr) -> Option<Arc<OwnedFd>> {
        let covered = self.mountpoint.as_ref()?;
        (covered.parent == parent && covered.name == name).then(|| covered.fd.clone())
    }

    /// Opens; access times that are to stay as they are do so wherever the kernel lets us.
    pub fn open_untouched(&self, store: &dyn Store, at: At<'_>, flags: OFlags) -> Result<OwnedFd> {
        self.enter()?;
        if self.no_atime.load(Ordering::Relaxed) {
            match store.open(at, flags | OFlags::NOATIME, 0) {
                Err(error) if error.errno() == Errno::PERM => {}
                other => return other,
            }
            let opened = store.open(at, flags, 0)?;
            self.no_atime.store(false, Ordering::Relaxed);
            return Ok(opened);
        }
        store.open(at, flags, 0)
    }
}

/// One filesystem that layers lie on.
#[derive(Debug, Clone)]
pub struct Filesystem {
    /// Its device number.
    pub dev: u64,
    /// Its UUID; zeros when it has none.
    pub uuid: [u8; 16],
    /// How its file handles carry inode numbers, when that is known.
    pub decoder: Option<HandleDecoder>,
    /// Whether it gives file handles at all.
    pub handles: bool,
    /// The subvolume that its handles say the root of the layer is in (btrfs).
    pub subvolume: Option<[u8; 8]>,
}

/// The writable layer.
#[derive(Debug)]
pub struct Upper {
    /// Its root.
    pub root: Arc<RealDir>,
    /// Where changes are prepared.
    pub staging: Arc<Staging>,
    /// How marks are written.
    pub format: super::probe::Format,
    /// Directories that were made for this mount: the work directory, or what is in it.
    pub made: Vec<Made>,
    /// The workdir, which no union shows, wherever it lies.
    pub work: Option<RealId>,
    /// Tells other mounts that upperdir and workdir are in use.
    pub claim: Option<Mutex<Claim>>,
    /// Nothing is written here, while somebody else may change it: what was seen of it may have changed since.
    pub read_only: bool,
}

/// All layers, opened.
#[derive(Debug)]
pub struct Stack {
    /// The writable layer, if any.
    pub upper: Option<Upper>,
    /// The roots of the lowerdirs, top-most first.
    pub lowers: Arc<[Arc<RealDir>]>,
    /// The filesystems they lie on.
    pub filesystems: Vec<Filesystem>,
    /// Where marks are looked for in all of them.
    pub marks: MarkNamespace,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filesystems_whose_numbers_change_by_themselves_are_known() {
        for (magic, served, keeps) in [
            (0xEF53, false, true),
            (0x0102_1994, false, true),
            (0x6573_5546, true, false),
            (0x6969, true, false),
            (0x4D44, false, false),
            (0x2011_BAB0, false, false),
        ] {
            assert_eq!((is_served(magic), keeps_numbers(magic)), (served, keeps), "{magic:x}");
        }
    }
}
