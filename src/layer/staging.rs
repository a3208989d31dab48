//! The work directory: where every change is prepared before one rename or link publishes it.
//!
//! Whatever a crash leaves here was never visible; the next mount sweeps it.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::store::Store;
use crate::sys::{At, Result};
use crate::types::Kind;

/// The directory for prepared objects, as in the kernel's overlayfs: `work` in the workdir.
pub const WORK: &str = "work";
/// The directory of copied-up hard links: `index` in the workdir.
pub const INDEX: &str = "index";

/// The place where changes are prepared.
#[derive(Debug)]
pub struct Staging {
    store: Arc<dyn Store>,
    dir: OwnedFd,
    /// The index of copied-up hard links, where it is kept.
    index: Option<OwnedFd>,
    /// Whether the index may have entries; while it has none, lower files need not be looked up in it.
    index_used: AtomicBool,
    next: AtomicU64,
    /// A whiteout that further ones are linked to.
    shared_whiteout: Mutex<Option<OsString>>,
}

impl Staging {
    /// Takes over `dir`, removing what an earlier mount left in it.
    pub fn open(store: Arc<dyn Store>, dir: OwnedFd) -> Result<Self> {
        let staging = Self {
            store,
            dir,
            index: None,
            index_used: AtomicBool::new(false),
            next: AtomicU64::new(0),
            shared_whiteout: Mutex::new(None),
        };
        staging.disinherit()?;
        staging.empty(staging.dir.as_fd())?;
        Ok(staging)
    }

    /// The same directory with an index.
    pub fn with_index(self, index: OwnedFd) -> Result<Self> {
        let mut entries = 0;
        self.store.read_dir(index.as_fd(), 0, &mut |_| {
            entries += 1;
            ControlFlow::Continue(())
        })?;
        // `.` and `..` are there always.
        self.index_used.store(entries > 2, Ordering::Relaxed);
        Ok(Self { index: Some(index), ..self })
    }

    /// Whether the index may have entries.
    pub fn is_index_used(&self) -> bool {
        self.index_used.load(Ordering::Relaxed)
    }

    /// An entry of the index is about to be made.
    pub fn use_index(&self) {
        self.index_used.store(true, Ordering::Relaxed);
    }

    /// The directory prepared objects lie in.
    pub fn dir(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// The index directory, where it is kept.
    pub fn index(&self) -> Option<BorrowedFd<'_>> {
        self.index.as_ref().map(AsFd::as_fd)
    }

    /// A name nobody uses.
    pub fn fresh_name(&self) -> OsString {
        OsString::from(format!("#{:x}", self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A file of this directory.
    pub fn at<'a>(&'a self, name: &'a OsStr) -> At<'a> {
        At::new(self.dir.as_fd(), name)
    }

    /// A name for an object about to be prepared; what is under it when the guard is dropped is removed.
    pub fn prepare(&self) -> Prepared<'_> {
        Prepared { staging: self, name: self.fresh_name() }
    }

    /// Makes a whiteout device under a name that is free. Whiteouts share one inode for as long as the filesystem lets
    /// them, so deleting 100,000 files costs links, not inodes.
    pub fn make_whiteout(&self, to: At<'_>) -> Result<()> {
        let shared = self.shared_whiteout.lock().clone();
        if let Some(name) = shared {
            match self.store.link(self.at(&name), to) {
                // The filesystem's limit of links is reached (ext4: 65,000), or it has no hard links at all.
                Err(error) if matches!(error.errno(), Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP) => {}
                other => return other,
            }
        }
        let name = self.fresh_name();
        self.store.mknod(self.at(&name), Kind::CharDevice, 0, 0)?;
        match self.store.link(self.at(&name), to) {
            Ok(()) => {
                let old = self.shared_whiteout.lock().replace(name);
                old.map_or(Ok(()), |old| self.store.unlink(self.at(&old)))
            }
            Err(error) if matches!(error.errno(), Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                self.store.rename(self.at(&name), to, rustix::fs::RenameFlags::NOREPLACE)
            }
            Err(error) => {
                self.discard(&name);
                Err(error)
            }
        }
    }

    /// Removes a prepared object, a directory with all that is in it. Failure leaves garbage for the next sweep, so it is
    /// only logged.
    pub fn discard(&self, name: &OsStr) {
        if let Err(error) = self.remove(self.at(name)) {
            log::warn!("work directory: cannot remove {name:?}, the next mount will: {error}");
        }
    }

    /// What is prepared here must not inherit a default ACL or group from the work directory (kernel:
    /// `ovl_workdir_create`).
    fn disinherit(&self) -> Result<()> {
        let this = At::this(self.dir.as_fd());
        for acl in ["system.posix_acl_default", "system.posix_acl_access"] {
            match self.store.remove_xattr(this, OsStr::new(acl)) {
                Err(error) if !matches!(error.errno(), Errno::NODATA | Errno::OPNOTSUPP) => {
                    return Err(error);
                }
                _ => {}
            }
        }
        self.store.chmod(this, 0o700)
    }

    fn remove(&self, at: At<'_>) -> Result<()> {
        match self.store.unlink(at) {
            Err(error) if error.errno() == Errno::NOENT => Ok(()),
            Err(error) if matches!(error.errno(), Errno::ISDIR | Errno::PERM) => self.remove_dir(at),
            other => other,
        }
    }

    fn remove_dir(&self, at: At<'_>) -> Result<()> {
        match self.store.rmdir(at) {
            Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return other,
        }
        let emptied = match self.empty_dir(at) {
            // A copied-up mode may deny its owner, who is not root, the access needed to empty it.
            Err(error) if error.errno() == Errno::ACCESS => {
                self.store.chmod(at, 0o700)?;
                self.empty_dir(at)
            }
            other => other,
        };
        emptied?;
        self.store.rmdir(at)
    }

    fn empty_dir(&self, at: At<'_>) -> Result<()> {
        let dir = self.store.open(at, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        self.empty(dir.as_fd())
    }

    /// Removes everything in a directory.
    pub(super) fn empty(&self, dir: BorrowedFd<'_>) -> Result<()> {
        let readable =
            self.store.open(At::new(dir, OsStr::new(".")), OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        let mut names = Vec::new();
        self.store.read_dir(readable.as_fd(), 0, &mut |entry| {
            if entry.name != "." && entry.name != ".." {
                names.push(entry.name.to_owned());
            }
            ControlFlow::Continue(())
        })?;
        names.iter().try_for_each(|name| self.remove(At::new(dir, name)))
    }
}

/// The name of an object being prepared; whatever is left under it on drop is removed.
#[derive(Debug)]
pub struct Prepared<'a> {
    staging: &'a Staging,
    name: OsString,
}

impl Prepared<'_> {
    /// Where the object is.
    pub fn at(&self) -> At<'_> {
        self.staging.at(&self.name)
    }

    /// Its name in the work directory.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// The object has been published: nothing is left to remove.
    pub fn published(mut self) {
        self.name.clear();
    }
}

impl Drop for Prepared<'_> {
    fn drop(&mut self) {
        if !self.name.is_empty() {
            self.staging.discard(&self.name);
        }
    }
}
