//! Directories that were made for a mount, and are removed again when there is none after all: where they were made, whatever the path
//! leads to by then.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::store::{Store, names_in};
use crate::sys::{At, Error, Result};

/// What we make is not deeper; what somebody else has put there stays.
const DEPTH: u32 = 16;

/// A directory, by the one that it is in.
#[derive(Debug)]
pub struct Made {
    parent: OwnedFd,
    name: OsString,
}

impl Made {
    /// `name` in `parent`.
    pub fn new(parent: OwnedFd, name: impl Into<OsString>) -> Self {
        Self { parent, name: name.into() }
    }

    /// Removes it, with what is in it. What cannot be removed is in the log.
    pub fn undo(&self, store: &dyn Store) {
        if let Err(error) = remove_tree(store, At::new(self.parent.as_fd(), &self.name)) {
            log::warn!("cannot remove {:?} again, which was made for the mount: {error}", self.name);
        }
    }
}

/// Removes a directory with all that is in it; nothing when it is not there. No symlink is followed.
///
/// # Errors
/// Those of the calls; `ENOTEMPTY` for a tree deeper than any that we make.
pub(super) fn remove_tree(store: &dyn Store, at: At<'_>) -> Result<()> {
    remove(store, at, DEPTH)
}

fn remove(store: &dyn Store, at: At<'_>, depth: u32) -> Result<()> {
    match store.rmdir(at) {
        Err(error) if error.errno() == Errno::NOENT => return Ok(()),
        Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST) && depth > 0 => {}
        other => return other,
    }
    let dir = store.open(at, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    for name in names_in(store, dir.as_fd())? {
        let entry = At::new(dir.as_fd(), &name);
        match store.unlink(entry) {
            Err(error) if matches!(error.errno(), Errno::ISDIR | Errno::PERM) => {
                remove(store, entry, depth - 1)?
            }
            Err(error) if error.errno() == Errno::NOENT => {}
            other => other?,
        }
    }
    store.rmdir(at)
}

/// The parent directory of a path, open, and the last name.
///
/// # Errors
/// Those of open(2); `EINVAL` for a path without a name.
pub(super) fn parent_of(path: &std::path::Path) -> Result<(OwnedFd, OsString)> {
    let (parent, name) = path.parent().zip(path.file_name()).ok_or(Error::new("openat", Errno::INVAL))?;
    let parent = if parent.as_os_str().is_empty() { std::path::Path::new(".") } else { parent };
    let opened = crate::sys::namei::open_path(parent, super::opened::DIRECTORY)?;
    Ok((opened, OsStr::to_owned(name)))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::layer::store::Disk;

    #[test]
    fn what_was_made_is_removed_and_nothing_else() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        fs::create_dir_all(path("work/made/deep/er")).unwrap();
        fs::create_dir_all(path("victim/made")).unwrap();
        fs::write(path("victim/made/precious"), "").unwrap();
        std::os::unix::fs::symlink(path("victim"), path("work/made/link")).unwrap();
        let (parent, _) = parent_of(&path("work/made")).unwrap();
        let made = Made::new(parent, "made");
        fs::rename(path("work"), path("moved")).unwrap();
        std::os::unix::fs::symlink("victim", path("work")).unwrap();
        made.undo(&Disk);
        assert!(path("victim/made/precious").exists() && path("moved").exists());
        assert!(!path("moved/made").exists());
        // Nor what a symlink in its place leads to.
        std::os::unix::fs::symlink("../victim/made", path("moved/made")).unwrap();
        made.undo(&Disk);
        assert!(path("victim/made/precious").exists());
    }

    #[test]
    fn a_tree_that_is_too_deep_stays() {
        let home = tempfile::tempdir().unwrap();
        fs::create_dir_all(home.path().join("made").join("d/".repeat(40))).unwrap();
        let (parent, name) = parent_of(&home.path().join("made")).unwrap();
        let removed = remove_tree(&Disk, At::new(parent.as_fd(), &name));
        assert_eq!(removed.unwrap_err().errno(), Errno::NOTEMPTY);
    }
}
