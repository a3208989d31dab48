//! A directory of one layer.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::RwLock;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::fd_cache::FdCache;
use super::stack::{LayerInfo, Offsets};
use super::store::Store;
use crate::format::marks::Marks;
use crate::sys::{At, Error, Result};
use crate::types::RealId;

static NEXT_KEY: AtomicU64 = AtomicU64::new(1);

/// So many directories above are opened one by one, each to be found open by others.
const ONE_BY_ONE: usize = 16;
/// Bytes of a path that one call takes (`PATH_MAX`, with its end).
const LONGEST_PATH: usize = 4000;

/// How often a directory that moved while it was being opened is looked for again.
const MOVES: usize = 128;

/// A directory of one layer, known by its parent and name, never by a path. A lower directory's place never changes; an
/// upper one's changes only through [`RealDir::moved`] and [`RealDir::detach`].
#[derive(Debug)]
pub struct RealDir {
    key: u64,
    layer: Arc<LayerInfo>,
    ino: u64,
    place: RwLock<Reached>,
    /// Set once a full listing has shown that no AUFS mark (`.wh.…`) lies in it.
    no_aufs_marks: AtomicBool,
    /// Names that begin with `.wh.` are ordinary ones, also in a lowerdir.
    plain_names: AtomicBool,
    /// `overlay.opaque` is `x`: zero-size files with `overlay.whiteout` in it are whiteouts.
    xattr_whiteouts: AtomicBool,
    /// `overlay.impure`: it was in an upperdir once, and files that were copied up may lie in it.
    impure: AtomicBool,
    /// What its offsets are like, once that is known.
    offsets: OnceLock<Offsets>,
}

#[derive(Debug, Clone)]
enum Reached {
    Held(Arc<OwnedFd>),
    Child {
        parent: Arc<RealDir>,
        name: Arc<OsStr>,
    },
    /// Only while it is dropped.
    Gone,
}

impl Drop for RealDir {
    /// Parents that only their child referred to go one by one: directories can be nested deeper than a stack is high.
    fn drop(&mut self) {
        let parent_of = |place: &mut RwLock<Reached>| match std::mem::replace(place.get_mut(), Reached::Gone)
        {
            Reached::Child { parent, .. } => Some(parent),
            Reached::Held(_) | Reached::Gone => None,
        };
        let mut next = parent_of(&mut self.place);
        while let Some(parent) = next {
            next = Arc::into_inner(parent).and_then(|mut parent| parent_of(&mut parent.place));
        }
    }
}

impl RealDir {
    /// A directory that stays open: the root of a layer, or one without a name.
    pub fn held(layer: Arc<LayerInfo>, ino: u64, fd: Arc<OwnedFd>) -> Arc<Self> {
        Self::at(layer, ino, Reached::Held(fd))
    }

    /// The directory `name` in `parent`, which has inode number `ino` in its layer.
    pub fn child(parent: &Arc<Self>, name: Arc<OsStr>, ino: u64) -> Arc<Self> {
        Self::at(parent.layer.clone(), ino, Reached::Child { parent: parent.clone(), name })
    }

    fn at(layer: Arc<LayerInfo>, ino: u64, place: Reached) -> Arc<Self> {
        Arc::new(Self {
            key: NEXT_KEY.fetch_add(1, Ordering::Relaxed),
            layer,
            ino,
            place: RwLock::new(place),
            no_aufs_marks: AtomicBool::new(false),
            plain_names: AtomicBool::new(false),
            xattr_whiteouts: AtomicBool::new(false),
            impure: AtomicBool::new(false),
            offsets: OnceLock::new(),
        })
    }

    fn parent(&self) -> Option<Arc<Self>> {
        match &*self.place.read() {
            Reached::Child { parent, .. } => Some(parent.clone()),
            Reached::Held(_) | Reached::Gone => None,
        }
    }

    /// Whether it is known by this place.
    pub fn is_at(&self, parent: &Arc<Self>, name: &OsStr) -> bool {
        match &*self.place.read() {
            Reached::Child { parent: own, name: known } => Arc::ptr_eq(own, parent) && **known == *name,
            Reached::Held(_) | Reached::Gone => false,
        }
    }

    /// The layer it is in.
    pub fn layer(&self) -> &Arc<LayerInfo> {
        &self.layer
    }

    /// Its inode number in the layer.
    pub fn ino(&self) -> u64 {
        self.ino
    }

    /// Its identity, if it is on the filesystem of its layer's root.
    pub fn real_id(&self) -> RealId {
        RealId { dev: self.layer.dev, ino: self.ino }
    }

    /// The key of its descriptor in the cache.
    pub fn key(&self) -> u64 {
        self.key
    }

    /// Records a rename of the directory itself.
    pub fn moved(&self, parent: &Arc<Self>, name: Arc<OsStr>) {
        let old =
            std::mem::replace(&mut *self.place.write(), Reached::Child { parent: parent.clone(), name });
        drop(old);
    }

    /// Records that the directory has no name any more; `fd` keeps it reachable.
    pub fn detach(&self, fd: Arc<OwnedFd>) {
        let old = std::mem::replace(&mut *self.place.write(), Reached::Held(fd));
        drop(old);
    }

    /// Whether names in it that begin with `.wh.` are AUFS marks: in lowerdirs, where a union has not said otherwise.
    pub fn reads_aufs_marks(&self) -> bool {
        !self.layer.is_upper() && !self.has_plain_names()
    }

    /// Whether AUFS marks may lie in it.
    pub fn may_have_aufs_marks(&self) -> bool {
        self.reads_aufs_marks() && !self.no_aufs_marks.load(Ordering::Relaxed)
    }

    /// Whether it is marked as one whose names that begin with `.wh.` are ordinary ones.
    pub fn has_plain_names(&self) -> bool {
        self.plain_names.load(Ordering::Relaxed)
    }

    /// Records that mark.
    pub fn set_plain_names(&self) {
        self.plain_names.store(true, Ordering::Relaxed);
    }

    /// Records that a full listing showed no AUFS mark.
    pub fn has_no_aufs_marks(&self) {
        self.no_aufs_marks.store(true, Ordering::Relaxed);
    }

    /// Records which filesystem it is on.
    pub fn note_device(&self, dev: u64) {
        if dev == self.layer.dev {
            // Whoever was earlier has found the same.
            self.offsets.set(self.layer.offsets).ok();
        }
    }

    /// Whether files that were copied up may lie in it.
    pub fn is_impure(&self) -> bool {
        self.impure.load(Ordering::Relaxed)
    }

    /// Records what of its marks says something about what lies in it.
    pub fn note_marks(&self, marks: &Marks) {
        if marks.xattr_whiteouts {
            self.set_xattr_whiteouts();
        }
        if marks.plain_names {
            self.set_plain_names();
        }
        if marks.impure {
            self.impure.store(true, Ordering::Relaxed);
        }
    }

    /// Whether zero-size files marked `overlay.whiteout` in it are whiteouts.
    pub fn has_xattr_whiteouts(&self) -> bool {
        self.xattr_whiteouts.load(Ordering::Relaxed)
    }

    /// Records an `overlay.opaque` of `x`.
    pub fn set_xattr_whiteouts(&self) {
        self.xattr_whiteouts.store(true, Ordering::Relaxed);
    }
}

/// Opens directories of layers, keeping a bounded number of them open.
#[derive(Debug)]
pub struct DirOpener {
    store: Arc<dyn Store>,
    cache: FdCache<OwnedFd>,
}

impl DirOpener {
    /// Keeps about `capacity` directories open.
    pub fn new(store: Arc<dyn Store>, capacity: usize) -> Self {
        Self { store, cache: FdCache::new(capacity) }
    }

    /// An `O_PATH` descriptor of the directory.
    ///
    /// # Errors
    /// `ESTALE` when the layer was changed behind our back and something else has the name; `ETIMEDOUT` when it does not answer.
    pub fn open(&self, dir: &RealDir) -> Result<Arc<OwnedFd>> {
        dir.layer.enter()?;
        if let Some(fd) = self.cache.get(dir.key) {
            return Ok(fd);
        }
        self.open_above(dir)?;
        self.open_in_parent(dir)
    }

    /// Opens the directories above, top-most first, as far as they are not open: nesting is deeper than a stack is high.
    fn open_above(&self, dir: &RealDir) -> Result<()> {
        let mut closed = Vec::new();
        let mut above = dir.parent();
        while let Some(parent) = above.filter(|parent| self.cache.get(parent.key).is_none()) {
            above = parent.parent();
            closed.push(parent);
        }
        if closed.len() > ONE_BY_ONE && self.open_deep(&closed) {
            return Ok(());
        }
        while let Some(next) = closed.pop() {
            self.open_in_parent(&next)?;
        }
        Ok(())
    }

    /// Opens the first of directories that lie in each other, given from the inside, by as few calls as paths are long: a chain
    /// deeper than descriptors are kept must not cost each request a call for each level. Whether that has worked; if not, opening
    /// one by one tells why.
    fn open_deep(&self, closed: &[Arc<RealDir>]) -> bool {
        let Some((innermost, outermost)) = closed.first().zip(closed.last()) else { return false };
        let mut base = match outermost.parent() {
            Some(parent) => self.cache.get(parent.key),
            None => None,
        };
        let mut path: Vec<u8> = Vec::new();
        for dir in closed.iter().rev() {
            let (parent, name) = match &*dir.place.read() {
                Reached::Held(fd) => {
                    base = Some(fd.clone());
                    continue;
                }
                Reached::Child { parent, name } => (parent.clone(), name.clone()),
                Reached::Gone => return false,
            };
            if let Some(fd) = dir.layer.covered(parent.ino, &name) {
                base = Some(fd);
                path.clear();
                continue;
            }
            if path.len() + name.len() >= LONGEST_PATH {
                base = base.and_then(|base| self.open_below(&base, &path));
                path.clear();
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(name.as_bytes());
        }
        let opened =
            base.and_then(|base| if path.is_empty() { Some(base) } else { self.open_below(&base, &path) });
        match opened {
            Some(fd) if self.is_it(innermost, &fd).unwrap_or(false) => {
                self.cache.insert(innermost.key, fd);
                true
            }
            _ => false,
        }
    }

    fn open_below(&self, base: &OwnedFd, path: &[u8]) -> Option<Arc<OwnedFd>> {
        self.store.open_beneath(base.as_fd(), OsStr::from_bytes(path)).ok().map(Arc::new)
    }

    fn open_in_parent(&self, dir: &RealDir) -> Result<Arc<OwnedFd>> {
        let mut last = Errno::STALE;
        for attempt in 0..MOVES {
            if attempt > 2 {
                // Whoever renames it has changed the layer already and is about to tell us.
                std::thread::sleep(Duration::from_millis(1));
            }
            if attempt > 0
                && let Some(fd) = self.cache.get(dir.key)
            {
                return Ok(fd);
            }
            let (parent, name) = match &*dir.place.read() {
                Reached::Held(fd) => return Ok(fd.clone()),
                Reached::Child { parent, name } => (parent.clone(), name.clone()),
                Reached::Gone => return Err(Error::new("openat", Errno::STALE)),
            };
            if let Some(fd) = dir.layer.covered(parent.ino, &name) {
                return Ok(fd);
            }
            let parent_fd = self.open(&parent)?;
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            match self.store.open(At::new(parent_fd.as_fd(), &name), flags, 0) {
                Ok(fd) if self.is_it(dir, &fd)? => {
                    let fd = Arc::new(fd);
                    self.cache.insert(dir.key, fd.clone());
                    return Ok(fd);
                }
                Ok(_) if !dir.layer.is_upper() => return Err(Error::new("openat", Errno::STALE)),
                Ok(_) => last = Errno::STALE,
                Err(error)
                    if dir.layer.is_upper() && matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) =>
                {
                    last = error.errno();
                }
                Err(error) => return Err(error),
            }
        }
        Err(Error::new("openat", last))
    }

    /// Whether what has the directory's name is the directory. In some lowerdirs numbers change by themselves.
    fn is_it(&self, dir: &RealDir, opened: &OwnedFd) -> Result<bool> {
        if !dir.layer.is_upper() && !dir.layer.keeps_numbers {
            return Ok(true);
        }
        Ok(self.store.stat_fd(opened.as_fd())?.ino == dir.ino)
    }

    /// Keeps a descriptor that was opened otherwise.
    pub fn adopt(&self, dir: &RealDir, fd: Arc<OwnedFd>) {
        self.cache.insert(dir.key, fd);
    }

    /// Closes the descriptor of a directory that is no longer used.
    pub fn close(&self, dir: &RealDir) {
        self.cache.remove(dir.key);
    }

    /// What the offsets of a directory are like: another filesystem may be mounted on it, or above it in the layer.
    pub fn offsets(&self, dir: &RealDir) -> Result<Offsets> {
        if let Some(known) = dir.offsets.get() {
            return Ok(*known);
        }
        let fd = self.open(dir)?;
        let offsets = Offsets::of(self.store.fs_magic(fd.as_fd())?);
        Ok(*dir.offsets.get_or_init(|| offsets))
    }

    /// A descriptor whose entries can be read, at the directory's beginning.
    pub fn open_for_reading(&self, dir: &RealDir) -> Result<OwnedFd> {
        let fd = self.open(dir)?;
        open_readable(&*self.store, &dir.layer, fd.as_fd())
    }
}

fn open_readable(store: &dyn Store, layer: &LayerInfo, dir: BorrowedFd<'_>) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    layer.open_untouched(store, At::new(dir, OsStr::new(".")), flags)
}
