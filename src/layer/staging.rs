//! The work directory: where every change is prepared before one rename or link publishes it.
//!
//! Whatever a crash leaves here was never visible; the next mount sweeps it.

use std::ffi::{OsStr, OsString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use rustix::fs::{OFlags, RenameFlags};
use rustix::io::Errno;

use super::store::{Store, names_in};
use crate::sys::{At, Result};
use crate::types::Kind;

/// The directory for prepared objects, as in the kernel's overlayfs: `work` in the workdir.
pub const WORK: &str = "work";
/// The directory of copied-up hard links: `index` in the workdir.
pub const INDEX: &str = "index";

/// The directories of a workdir, opened.
#[derive(Debug)]
pub struct Workplace {
    /// Where objects are prepared: `work`.
    pub dir: OwnedFd,
    /// The index of copied-up hard links, where it is kept.
    pub index: Option<OwnedFd>,
}

/// Makes a workplace that there was no room for.
type Later = Box<dyn Fn() -> Result<Workplace> + Send + Sync>;

/// The place where changes are prepared.
pub struct Staging {
    store: Arc<dyn Store>,
    place: OnceLock<Workplace>,
    /// What makes the place when it is needed; `None` where it was there from the beginning.
    later: Option<Mutex<Later>>,
    /// The index of a union that nothing is changed in.
    read_index: Option<OwnedFd>,
    /// Whether the index may have entries; while it has none, lower files need not be looked up in it.
    index_used: AtomicBool,
    /// Another one for each mount: what an earlier one may still prepare here, after it was swept, never gets into ours.
    prefix: u32,
    next: AtomicU64,
    /// A whiteout that further ones are linked to.
    shared_whiteout: Mutex<Option<OsString>>,
}

impl std::fmt::Debug for Staging {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Staging").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Staging {
    /// Takes over `dir`, removing what an earlier mount left in it.
    pub fn open(store: Arc<dyn Store>, dir: OwnedFd) -> Result<Self> {
        let staging = Self::new(store, OnceLock::from(Workplace { dir, index: None }), None);
        staging.disinherit()?;
        staging.empty(staging.dir()?)?;
        Ok(staging)
    }

    /// A place that there is no room for yet: `make` is tried each time something is to be prepared, and its error is that
    /// of the operation.
    pub fn later(
        store: Arc<dyn Store>,
        make: impl Fn() -> Result<Workplace> + Send + Sync + 'static,
    ) -> Self {
        Self::new(store, OnceLock::new(), Some(Box::new(make)))
    }

    /// No place, in a union that changes nothing: EROFS for whoever wants to prepare something. `index` is that of the union
    /// that does.
    pub fn read_only(store: Arc<dyn Store>, index: Option<OwnedFd>) -> Self {
        let refuse = || Err(crate::sys::Error::new("mkdirat", Errno::ROFS));
        let mut staging = Self::new(store, OnceLock::new(), Some(Box::new(refuse)));
        staging.index_used = AtomicBool::new(index.is_some());
        staging.read_index = index;
        staging
    }

    fn new(store: Arc<dyn Store>, place: OnceLock<Workplace>, later: Option<Later>) -> Self {
        // Hashers of the standard library are seeded at random.
        let seed = RandomState::new().build_hasher().finish();
        Self {
            store,
            place,
            later: later.map(Mutex::new),
            read_index: None,
            index_used: AtomicBool::new(false),
            prefix: (seed >> 32) as u32,
            next: AtomicU64::new(0),
            shared_whiteout: Mutex::new(None),
        }
    }

    /// The same directory with an index.
    pub fn with_index(mut self, index: OwnedFd) -> Result<Self> {
        let mut entries = 0;
        self.store.read_dir(index.as_fd(), 0, &mut |_| {
            entries += 1;
            ControlFlow::Continue(())
        })?;
        // `.` and `..` are there always.
        self.index_used.store(entries > 2, Ordering::Relaxed);
        if let Some(place) = self.place.get_mut() {
            place.index = Some(index);
        }
        Ok(self)
    }

    /// Its directories, for somebody else to use.
    pub fn into_workplace(self) -> Option<Workplace> {
        self.place.into_inner()
    }

    fn place(&self) -> Result<&Workplace> {
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        let Some(later) = &self.later else {
            return Err(crate::sys::Error::new("openat", Errno::STALE));
        };
        let make = later.lock();
        if let Some(place) = self.place.get() {
            return Ok(place);
        }
        let made = make()?;
        Ok(self.place.get_or_init(|| made))
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
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT` while there is no room for it.
    pub fn dir(&self) -> Result<BorrowedFd<'_>> {
        Ok(self.place()?.dir.as_fd())
    }

    /// The index directory, where it is kept.
    pub fn index(&self) -> Option<BorrowedFd<'_>> {
        let index = self.read_index.as_ref().or_else(|| self.place().ok()?.index.as_ref());
        index.map(AsFd::as_fd)
    }

    /// A name nobody uses.
    pub fn fresh_name(&self) -> OsString {
        OsString::from(format!("#{:08x}.{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed)))
    }

    /// A file of this directory.
    ///
    /// # Errors
    /// As [`Staging::dir`].
    pub fn at<'a>(&'a self, name: &'a OsStr) -> Result<At<'a>> {
        Ok(At::new(self.dir()?, name))
    }

    /// A name for an object about to be prepared; what is under it when the guard is dropped is removed.
    ///
    /// # Errors
    /// As [`Staging::dir`].
    pub fn prepare(&self) -> Result<Prepared<'_>> {
        Ok(Prepared { staging: self, dir: self.dir()?, name: self.fresh_name() })
    }

    /// Makes a whiteout device under a name that is free. Whiteouts share one inode for as long as the filesystem lets
    /// them, so deleting 100,000 files costs links, not inodes.
    pub fn make_whiteout(&self, to: At<'_>) -> Result<()> {
        let shared = self.shared_whiteout.lock().clone();
        if let Some(name) = shared {
            match self.store.link(self.at(&name)?, to) {
                // The filesystem's limit of links is reached (ext4: 65,000), or it has no hard links at all; or another thread
                // has found that first and put a new one in its place.
                Err(error)
                    if matches!(
                        error.errno(),
                        Errno::MLINK | Errno::PERM | Errno::OPNOTSUPP | Errno::NOENT
                    ) => {}
                other => return other,
            }
        }
        let name = self.fresh_name();
        self.store.mknod(self.at(&name)?, Kind::CharDevice, 0, 0)?;
        match self.store.link(self.at(&name)?, to) {
            Ok(()) => {
                let old = self.shared_whiteout.lock().replace(name);
                old.iter().for_each(|old| self.discard(old));
                Ok(())
            }
            Err(error) if matches!(error.errno(), Errno::PERM | Errno::OPNOTSUPP | Errno::MLINK) => {
                self.store.rename(self.at(&name)?, to, RenameFlags::NOREPLACE)
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
        if let Err(error) = self.at(name).and_then(|at| self.remove(at)) {
            log::warn!("work directory: cannot remove {name:?}, the next mount will: {error}");
        }
    }

    /// What is prepared here must not inherit a default ACL or group from the work directory (kernel:
    /// `ovl_workdir_create`).
    fn disinherit(&self) -> Result<()> {
        let this = At::this(self.dir()?);
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

    /// Trees are nested deeper than a stack is high, and than there are descriptors: each directory in one is moved up here first.
    fn remove(&self, at: At<'_>) -> Result<()> {
        let mut inner = Vec::new();
        self.remove_outer(at, &mut inner)?;
        while let Some(name) = inner.pop() {
            self.remove_outer(self.at(&name)?, &mut inner)?;
        }
        Ok(())
    }

    /// Removes a file, or a directory whose own ones become `inner`, in the directory of prepared objects.
    fn remove_outer(&self, at: At<'_>, inner: &mut Vec<OsString>) -> Result<()> {
        if self.remove_simply(at)? {
            return Ok(());
        }
        let emptied = match self.hollow(at, inner) {
            // A copied-up mode may deny its owner, who is not root, the access needed to empty it.
            Err(error) if error.errno() == Errno::ACCESS => {
                self.store.chmod(at, 0o700)?;
                self.hollow(at, inner)
            }
            other => other,
        };
        unless_gone(emptied.and_then(|()| self.store.rmdir(at)))
    }

    /// Removes what is no directory, or an empty one; `false` when it is another.
    fn remove_simply(&self, at: At<'_>) -> Result<bool> {
        match self.store.unlink(at) {
            Err(error) if matches!(error.errno(), Errno::ISDIR | Errno::PERM) => {}
            other => return unless_gone(other).map(|()| true),
        }
        match self.store.rmdir(at) {
            Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST) => Ok(false),
            other => unless_gone(other).map(|()| true),
        }
    }

    fn hollow(&self, at: At<'_>, inner: &mut Vec<OsString>) -> Result<()> {
        let dir = self.store.open(at, OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        for name in names_in(&*self.store, dir.as_fd())? {
            let entry = At::new(dir.as_fd(), &name);
            if !self.remove_simply(entry)? {
                inner.push(self.move_up(entry)?);
            }
        }
        Ok(())
    }

    /// Moves a directory to a name of its own in the directory of prepared objects.
    fn move_up(&self, at: At<'_>) -> Result<OsString> {
        let name = self.fresh_name();
        let to = self.at(&name)?;
        match self.store.rename(at, to, RenameFlags::NOREPLACE) {
            // Only who may write to a directory may move it.
            Err(error) if error.errno() == Errno::ACCESS => {
                self.store.chmod(at, 0o700)?;
                self.store.rename(at, to, RenameFlags::NOREPLACE)?;
            }
            other => other?,
        }
        Ok(name)
    }

    /// Removes everything in a directory.
    pub(super) fn empty(&self, dir: BorrowedFd<'_>) -> Result<()> {
        let readable =
            self.store.open(At::new(dir, OsStr::new(".")), OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
        names_in(&*self.store, readable.as_fd())?.iter().try_for_each(|name| self.remove(At::new(dir, name)))
    }
}

/// A daemon that is about to end may remove what it had prepared, too.
fn unless_gone(removed: Result<()>) -> Result<()> {
    match removed {
        Err(error) if error.errno() == Errno::NOENT => Ok(()),
        other => other,
    }
}

/// The name of an object being prepared; whatever is left under it on drop is removed.
#[derive(Debug)]
pub struct Prepared<'a> {
    staging: &'a Staging,
    dir: BorrowedFd<'a>,
    name: OsString,
}

impl Prepared<'_> {
    /// Where the object is.
    pub fn at(&self) -> At<'_> {
        At::new(self.dir, &self.name)
    }

    /// Its name in the work directory.
    pub fn name(&self) -> &OsStr {
        &self.name
    }

    /// What is under the name stays there, until it is discarded.
    pub fn keep(mut self) -> OsString {
        std::mem::take(&mut self.name)
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
