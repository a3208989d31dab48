//! Mounting and unmounting: directly where we may, else through fusermount3.
#![allow(unsafe_code)]

mod connection;
mod direct;
mod fusermount;
mod mounted;
mod servers;
mod table;

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, StatxFlags};
use rustix::io::Errno;
use rustix::mount::{MountFlags as KernelFlags, UnmountFlags};

pub use connection::{Connection, served_by};
pub use mounted::Mounted;
pub use servers::Servers;
pub use table::{MountEntry, is_mounted, kernel_overlays, mountpoint_of};

use super::creds::in_initial_user_namespace;
use super::process::is_root;
use crate::config::MountFlags;

/// The device every FUSE connection starts with.
const FUSE_DEVICE: &str = "/dev/fuse";
/// Its device number (Linux: Documentation/admin-guide/devices.txt, misc devices).
const FUSE_DEVICE_NUMBER: u64 = libc::makedev(10, 229);
/// What mount(8), findmnt and /proc/mounts show; also the type to write into fstab.
pub const FS_TYPE: &str = "fuse.unionfuse";
/// The part of [`FS_TYPE`] after the dot.
const SUBTYPE: &str = "unionfuse";
/// `STATX_MNT_ID_UNIQUE` (Linux 6.8): like `STATX_MNT_ID`, but never used twice.
const STATX_MNT_ID_UNIQUE: StatxFlags = StatxFlags::from_bits_retain(0x4000);

/// How to mount.
#[derive(Debug, Clone)]
pub struct FuseMountOptions {
    /// What findmnt shows as the source.
    pub source: OsString,
    /// Everything else.
    pub flags: MountFlags,
}

/// Why mounting failed.
#[derive(Debug, thiserror::Error)]
pub enum MountError {
    /// There is no usable FUSE device.
    #[error("open {FUSE_DEVICE}: {0}")]
    Device(#[source] io::Error),
    /// The kernel refuses for a reason fusermount3 cannot change.
    #[error("mount: {0}")]
    Kernel(#[source] io::Error),
    /// We may not mount, and fusermount3, which may, is not installed.
    #[error("{0}; and fusermount3, which mounts for users, is not found")]
    NoFusermount(#[source] Box<MountError>),
    /// fusermount3 refuses.
    #[error("{0}")]
    Fusermount(String),
    /// The descriptor given as `/dev/fd/N` is not a FUSE connection.
    #[error("descriptor {0}: {1}")]
    Inherited(RawFd, #[source] io::Error),
}

impl MountError {
    /// What can be done about it.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Device(_) => "load the module with 'modprobe fuse'; give a container '--device /dev/fuse'",
            Self::Kernel(_) => "see the kernel's log (dmesg)",
            Self::NoFusermount(_) => "install fuse3, or mount as root",
            Self::Fusermount(said) if said.contains("user_allow_other") => {
                "add that line to /etc/fuse.conf, or do without allow_other"
            }
            Self::Fusermount(said) if said.contains("write access") => "mount on a directory of your own",
            Self::Fusermount(_) => "see fusermount3(1)",
            Self::Inherited(..) => "give a directory to mount on",
        }
    }

    fn is_lack_of_rights(&self) -> bool {
        match self {
            Self::Device(error) | Self::Kernel(error) => error.kind() == io::ErrorKind::PermissionDenied,
            _ => false,
        }
    }
}

/// Whether a mount could work at all, found out before anything is touched.
///
/// # Errors
/// [`MountError::Device`] or [`MountError::NoFusermount`].
pub fn check_available() -> Result<(), MountError> {
    match open_device() {
        Err(error) if error.is_lack_of_rights() && fusermount::program().is_some() => Ok(()),
        Err(error) if error.is_lack_of_rights() => Err(MountError::NoFusermount(Box::new(error))),
        other => other.map(drop),
    }
}

/// A directory to mount on: as it was found when it was looked at first.
#[derive(Debug)]
pub struct Mountpoint {
    dir: OwnedFd,
    path: PathBuf,
}

impl Mountpoint {
    /// Opens a directory.
    ///
    /// # Errors
    /// Those of open(2); `ENOTDIR`.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let dir = rustix::fs::open(path, flags, Mode::empty())?;
        // One that has lost its name has a path that leads nowhere, and cannot be mounted on.
        let path = PathBuf::from(super::namei::path_of(dir.as_fd()).map_err(|error| error.errno())?);
        Ok(Self { dir, path })
    }

    /// Where it was then, without symbolic links.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The directory.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }
}

/// Mounts on a directory. Returns the connection, and what was mounted, where that can be told.
///
/// # Errors
/// See [`MountError`].
pub fn mount_fuse(
    mountpoint: &Mountpoint,
    options: &FuseMountOptions,
) -> Result<(OwnedFd, Option<MountId>), MountError> {
    let options = Resolved::new(options);
    match direct::mount(mountpoint.dir(), &options) {
        Err(error) if error.is_lack_of_rights() => match fusermount::program() {
            // It looks for itself whether its user may mount there, and is at that place then.
            Some(program) => Ok((fusermount::mount(&program, mountpoint.path(), &options)?, None)),
            None => Err(MountError::NoFusermount(Box::new(error))),
        },
        other => other,
    }
}

/// The connection that somebody else has mounted, see [`inherited_device`].
///
/// # Errors
/// [`MountError::Inherited`].
pub fn adopt_device(number: RawFd) -> Result<OwnedFd, MountError> {
    adopt(number).map_err(|error| MountError::Inherited(number, error))
}

/// The options with every default decided.
#[derive(Debug)]
struct Resolved<'a> {
    source: &'a OsString,
    flags: MountFlags,
    allow_other: bool,
    dev: bool,
    suid: bool,
}

impl<'a> Resolved<'a> {
    fn new(options: &'a FuseMountOptions) -> Self {
        let flags = options.flags;
        let full_rights = is_root() && in_initial_user_namespace();
        Self {
            source: &options.source,
            flags,
            allow_other: flags.allow_other.unwrap_or_else(is_root),
            dev: flags.dev.unwrap_or(full_rights),
            // In a user namespace the kernel lets the bits give ids of that namespace only.
            suid: flags.suid.unwrap_or_else(is_root),
        }
    }

    fn kernel_flags(&self) -> KernelFlags {
        let wanted = [
            (self.flags.read_only, KernelFlags::RDONLY),
            (!self.dev, KernelFlags::NODEV),
            (!self.suid, KernelFlags::NOSUID),
            (self.flags.no_exec, KernelFlags::NOEXEC),
            (self.flags.no_atime, KernelFlags::NOATIME),
            (self.flags.sync, KernelFlags::SYNCHRONOUS),
            (self.flags.dir_sync, KernelFlags::DIRSYNC),
        ];
        wanted.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).collect()
    }
}

fn open_device() -> Result<OwnedFd, MountError> {
    let opened = File::options().read(true).write(true).open(FUSE_DEVICE);
    opened.map(OwnedFd::from).map_err(MountError::Device)
}

/// The N of a mountpoint `/dev/fd/N`: mount.fuse3 with `drop_privileges` has mounted already and hands the connection over
/// as that descriptor (mount.fuse3(8)).
pub fn inherited_device(mountpoint: &Path) -> Option<RawFd> {
    let number = mountpoint.strip_prefix("/dev/fd").ok()?.to_str()?;
    number.parse().ok().filter(|number: &RawFd| *number > libc::STDERR_FILENO)
}

fn adopt(number: RawFd) -> io::Result<OwnedFd> {
    // SAFETY: fcntl on a number that is not open answers EBADF and does nothing.
    let device = match unsafe { libc::fcntl(number, libc::F_DUPFD_CLOEXEC, libc::STDERR_FILENO + 1) } {
        -1 => return Err(io::Error::last_os_error()),
        // SAFETY: the kernel has just made this descriptor, for us alone.
        copy => unsafe { File::from(OwnedFd::from_raw_fd(copy)) },
    };
    let metadata = device.metadata()?;
    if !metadata.file_type().is_char_device() || metadata.rdev() != FUSE_DEVICE_NUMBER {
        return Err(Errno::NODEV.into());
    }
    Ok(device.into())
}

fn unmount_flags(lazy: bool) -> UnmountFlags {
    UnmountFlags::NOFOLLOW | if lazy { UnmountFlags::DETACH } else { UnmountFlags::empty() }
}

fn unmount_by_helper(mountpoint: &Path, lazy: bool) -> io::Result<()> {
    match fusermount::program() {
        Some(program) => fusermount::unmount(&program, mountpoint, lazy),
        None => Err(Errno::PERM.into()),
    }
}

/// Which mount a path leads to. Two of the same value are the same mount, also after it was unmounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MountId {
    id: u64,
    /// That of the mount table, which is given to another mount when this one is gone.
    number: u64,
    device: (u32, u32),
}

impl MountId {
    /// The mount at `path`. Asks only the kernel, never the filesystem, so it cannot hang on a daemon that does not answer.
    ///
    /// # Errors
    /// Those of statx(2).
    pub fn of(path: &Path) -> io::Result<Self> {
        Ok(Self::ask(CWD, path.as_os_str(), AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The mount that a name in a directory leads to.
    ///
    /// # Errors
    /// Those of statx(2).
    pub fn of_name(dir: BorrowedFd<'_>, name: &OsStr) -> io::Result<Self> {
        Ok(Self::ask(dir, name, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// The mount that a file is open in.
    ///
    /// # Errors
    /// Those of statx(2).
    pub fn of_descriptor(fd: BorrowedFd<'_>) -> Result<Self, Errno> {
        Self::ask(fd, OsStr::new(""), AtFlags::EMPTY_PATH)
    }

    fn ask(dir: BorrowedFd<'_>, name: &OsStr, flags: AtFlags) -> Result<Self, Errno> {
        let flags = flags | AtFlags::STATX_DONT_SYNC | AtFlags::NO_AUTOMOUNT;
        let number = rustix::fs::statx(dir, name, flags, StatxFlags::MNT_ID)?;
        // Older kernels ignore the first and answer the second.
        let stat = rustix::fs::statx(dir, name, flags, STATX_MNT_ID_UNIQUE | StatxFlags::MNT_ID)?;
        Ok(Self {
            id: stat.stx_mnt_id,
            number: number.stx_mnt_id,
            device: (stat.stx_dev_major, stat.stx_dev_minor),
        })
    }

    /// The device number of what is mounted there.
    pub fn device(&self) -> (u32, u32) {
        self.device
    }
}

/// The absolute path of a mountpoint, without symbolic links, even if what is mounted there no longer answers.
///
/// # Errors
/// Those of realpath(3) on its parent directory.
pub fn resolve_mountpoint(mountpoint: &Path) -> io::Result<PathBuf> {
    let error = match mountpoint.canonicalize() {
        Ok(path) => return Ok(path),
        Err(error) => error,
    };
    match (mountpoint.parent(), mountpoint.file_name()) {
        (Some(parent), Some(name)) => {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            Ok(parent.canonicalize()?.join(name))
        }
        _ => Err(error),
    }
}
