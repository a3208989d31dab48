//! Whether a FUSE filesystem still exists.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};

/// Where the kernel lists FUSE connections by the minor numbers of their filesystems
/// (Documentation/filesystems/fuse/fuse.rst, "Control filesystem").
const CONTROL: &str = "/sys/fs/fuse/connections";
/// What a descriptor of `/dev/fuse` says about itself (`fuse_dev_show_fdinfo` in fs/fuse/dev.c).
pub(super) const CONNECTION: &str = "fuse_connection:\t";
/// `FUSE_CTL_SUPER_MAGIC` (fs/fuse/control.c).
const CONTROL_MAGIC: i128 = 0x6573_5543;

/// What is known of a FUSE filesystem that is not mounted where we could see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connection {
    /// It exists: another mount namespace has it mounted, or somebody has a file of it open.
    Lives,
    /// It does not exist any more.
    Gone,
    /// The kernel does not tell us.
    Unknown,
}

impl Connection {
    /// That of the filesystem with device number 0:`minor`.
    pub fn of(minor: u32) -> Self {
        if fs::exists(format!("{CONTROL}/{minor}")).unwrap_or(false) {
            return Self::Lives;
        }
        match rustix::fs::statfs(CONTROL) {
            Ok(control) if i128::from(control.f_type) == CONTROL_MAGIC => Self::Gone,
            _ => Self::Unknown,
        }
    }

    /// Ends the connection of the filesystem with device number 0:`minor`, whatever is under way.
    ///
    /// # Errors
    /// `ENOENT` when there is none, or the control filesystem is not mounted; `EACCES`.
    pub fn abort(minor: u32) -> io::Result<()> {
        fs::write(format!("{CONTROL}/{minor}/abort"), "1")
    }
}

/// The device number of the filesystem that is served by `device`, where the kernel tells (Linux 6.18).
pub fn served_by(device: &OwnedFd) -> Option<(u32, u32)> {
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{}", device.as_raw_fd())).ok()?;
    let minor = info.lines().find_map(|line| line.strip_prefix(CONNECTION))?;
    Some((0, minor.parse().ok()?))
}
