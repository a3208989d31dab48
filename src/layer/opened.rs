//! Directories as the user named them, opened.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::stack::Covered;
use crate::error::SetupError;
use crate::sys::{self, At, mount};
use crate::types::Stat;

pub(super) const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// A directory named by the user.
pub(super) struct Opened {
    pub(super) fd: OwnedFd,
    pub(super) stat: Stat,
}

impl Opened {
    pub(super) fn directory(option: &'static str, path: &Path) -> Result<Self, SetupError> {
        let opened = sys::namei::open_path(path, DIRECTORY).and_then(|fd| {
            let stat = sys::namei::stat_fd(&fd)?;
            Ok(Self { fd, stat })
        });
        opened.map_err(|error| {
            let remedy = match error.errno() {
                Errno::NOENT => "create it, or correct the path; ':' in a path is written '\\:'",
                Errno::NOTDIR => "name a directory",
                Errno::LOOP => "its symbolic links lead round in a circle",
                Errno::NAMETOOLONG => "name it by a shorter path, e.g. relative to the current directory",
                Errno::MFILE => "each layer needs an open file: raise the limit ('ulimit -n')",
                Errno::ACCESS => "its parents must be searchable for the user that runs unionfuse",
                _ => "",
            };
            SetupError::new(option, Some(path), error, remedy)
        })
    }
}

/// Where the union will be mounted, and the directories above it.
pub(super) struct Mountpoint {
    fd: Arc<OwnedFd>,
    name: OsString,
    parent: u64,
    /// Identities of all directories above it.
    above: Vec<(u64, u64)>,
}

impl Mountpoint {
    pub(super) fn of(mountpoint: &mount::Mountpoint) -> Result<Self, SetupError> {
        let failed =
            |error: std::io::Error| SetupError::new("mountpoint", Some(mountpoint.path()), error, "");
        let fd = mountpoint.dir().try_clone_to_owned().map_err(failed)?;
        let name = mountpoint.path().file_name().map(OsStr::to_owned).unwrap_or_default();
        let mut above: Vec<(u64, u64)> = Vec::new();
        let mut at = Self::parent_of(fd.as_fd());
        while let Some((fd, stat)) = at {
            let id = (stat.dev, stat.ino);
            if above.last() == Some(&id) {
                break;
            }
            above.push(id);
            at = Self::parent_of(fd.as_fd());
        }
        let parent = above.first().map_or(0, |&(_, ino)| ino);
        Ok(Self { fd: Arc::new(fd), name, parent, above })
    }

    pub(super) fn parent_of(fd: BorrowedFd<'_>) -> Option<(OwnedFd, Stat)> {
        let parent = sys::namei::open(At::new(fd, OsStr::new("..")), DIRECTORY, 0).ok()?;
        let stat = sys::namei::stat_fd(&parent).ok()?;
        Some((parent, stat))
    }

    pub(super) fn covers(&self, root: &Stat) -> Option<Covered> {
        let inside = self.above.contains(&(root.dev, root.ino));
        inside.then(|| Covered { parent: self.parent, name: self.name.clone(), fd: self.fd.clone() })
    }
}
