//! Where a node's file is right now.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::dir::RealDir;
use crate::layer::stack::LayerInfo;
use crate::namespace::held::Parked;
use crate::namespace::locks;
use crate::namespace::node::{Body, Home, Link, LowerFile, Node};
use crate::namespace::open_files::OpenFile;
use crate::ops::lookup::Lookup;
use crate::ops::lookup::modes::Widening;
use crate::sys::At;
use crate::types::{Identity, Kind, Stat};

/// How often a file that is renamed while we look at it is looked for again.
const MOVES: usize = 16;

pub(in crate::ops) const REPLACED: &str =
    "the file is not where it was left; was a layer changed from outside?";

/// A file of a layer, ready for calls on it.
#[derive(Debug)]
pub(in crate::ops) struct Place {
    fd: Arc<OwnedFd>,
    name: Option<Arc<OsStr>>,
    /// Its identity, which another file at the same name does not have. `None`: cannot be mistaken.
    real: Option<Identity>,
    /// Its kind: numbers are given again to what is made later.
    kind: Kind,
    /// The directory whose changes can bring another file to the name.
    parent: Option<Arc<Node>>,
    /// The layer of a lower file; `None`: in the upperdir. The node may have been copied up since.
    pub(in crate::ops) lower: Option<Arc<LayerInfo>>,
}

impl Place {
    pub(in crate::ops) fn at(&self) -> At<'_> {
        match &self.name {
            Some(name) => At::new(self.fd.as_fd(), name),
            None => At::this(self.fd.as_fd()),
        }
    }

    /// Whether another file may be under its name.
    pub(in crate::ops) fn can_be_mistaken(&self) -> bool {
        self.real.is_some()
    }

    pub(in crate::ops) fn is_right(&self, stat: &Stat) -> bool {
        self.real.is_none_or(|real| real.is_of(stat) && self.kind == stat.kind())
    }
}

/// Copied out of the node's state, so that no lock is held while directories are opened.
enum Route {
    Dir(Arc<RealDir>),
    Lower(LowerFile),
    Named(Link, Identity),
    Indexed(OsString),
    Held(Arc<OwnedFd>),
    Parked(Arc<Parked>),
}

impl Lookup {
    /// Where the node's file is: in the upperdir when it has been copied up. Unless the node's gate is held it may have moved
    /// when the place is used, so check with [`Place::is_right`]. A file that is open is where its descriptor is, and no name
    /// has to be walked to.
    pub(in crate::ops) fn place(&self, node: &Node) -> Result<Place> {
        let kind = node.kind;
        if node.kind == Kind::File
            && let Some(file) = self.cached_file(node, false)
        {
            let (fd, lower) = (file.fd.clone(), file.lower.clone());
            return Ok(Place { fd, name: None, real: None, kind, parent: None, lower });
        }
        let route = {
            let state = node.state.read();
            match &state.body {
                Body::Lower(lower) => Route::Lower(lower.clone()),
                Body::Directory(directory) => match directory.stack.all().next() {
                    Some(dir) => Route::Dir(dir.clone()),
                    None => return Err(Error::refused(Errno::STALE, "directory in no layer")),
                },
                Body::Upper(upper) => match (&upper.home, state.links().first(), &upper.index) {
                    (Home::Named, Some(link), _) => {
                        Route::Named((**link).clone(), Identity { real: upper.real, birth: upper.birth })
                    }
                    (Home::Indexed, _, Some(entry)) => Route::Indexed(entry.name.clone()),
                    (Home::Held(held), _, _) => Route::Held(held.fd().clone()),
                    (Home::Parked(name), _, _) => Route::Parked(name.clone()),
                    (Home::Named | Home::Indexed, _, _) => {
                        return Err(Error::refused(Errno::STALE, "upper file without a name"));
                    }
                },
            }
        };
        Ok(match route {
            Route::Dir(dir) => {
                let lower = (!dir.layer().is_upper()).then(|| dir.layer().clone());
                Place { fd: self.nodes.dirs.open(&dir)?, name: None, real: None, kind, parent: None, lower }
            }
            Route::Lower(LowerFile { dir, name, real, birth, .. }) => {
                let lower = Some(dir.layer().clone());
                let real = dir.layer().keeps_numbers.then_some(Identity { real, birth });
                Place { fd: self.nodes.dirs.open(&dir)?, name: Some(name), real, kind, parent: None, lower }
            }
            Route::Named(link, real) => {
                let upper = link.parent.stack().and_then(|stack| stack.upper);
                let dir = upper.ok_or(Error::refused(Errno::STALE, "upper file in a lower directory"))?;
                Place {
                    fd: self.nodes.dirs.open(&dir)?,
                    name: Some(link.name),
                    real: Some(real),
                    kind,
                    parent: Some(link.parent),
                    lower: None,
                }
            }
            Route::Indexed(name) => {
                let upper = self.upper.as_ref();
                self.place_in(upper.and_then(|upper| upper.staging.index()), &name, kind)?
            }
            Route::Held(fd) => Place { fd, name: None, real: None, kind, parent: None, lower: None },
            Route::Parked(parked) => {
                self.place_in(Some(self.upper()?.staging.dir()?), parked.name(), kind)?
            }
        })
    }

    fn place_in(&self, dir: Option<std::os::fd::BorrowedFd<'_>>, name: &OsStr, kind: Kind) -> Result<Place> {
        let dir = dir.ok_or(Error::refused(Errno::STALE, "no index directory"))?;
        let fd = self.store.open(At::new(dir, OsStr::new(".")), rustix::fs::OFlags::PATH, 0)?;
        Ok(Place { fd: Arc::new(fd), name: Some(name.into()), real: None, kind, parent: None, lower: None })
    }

    pub(in crate::ops) fn cached_file(&self, node: &Node, write: bool) -> Option<Arc<OpenFile>> {
        let file = self.nodes.files.get(node.id)?;
        (file.lower.is_none() == node.is_upper() && (file.writable || !write)).then_some(file)
    }

    /// The node's file, held: whoever can write to the layer can put another one under its name, which the caller has no rights to.
    /// To be called with the node's gate held, so that none of us does.
    ///
    /// # Errors
    /// `ESTALE` when something else is under the name.
    pub(in crate::ops) fn held_place(&self, node: &Node) -> Result<Place> {
        let place = self.place(node)?;
        if place.name.is_none() || place.real.is_none() {
            return Ok(place);
        }
        let held = self.store.open(place.at(), OFlags::PATH, 0)?;
        if !place.is_right(&self.store.stat_fd(held.as_fd())?) {
            return Err(Error::refused(Errno::STALE, REPLACED));
        }
        Ok(Place { fd: Arc::new(held), name: None, ..place })
    }

    /// Runs `look` on the node's file, again when the file moved meanwhile. `look` answers `None` when what it found is not
    /// the file.
    pub(in crate::ops) fn at_place<T>(
        &self,
        node: &Node,
        mut look: impl FnMut(&Place) -> Result<Option<T>>,
    ) -> Result<T> {
        let mut last = Error::refused(Errno::STALE, REPLACED);
        for _ in 0..MOVES {
            let looked = self.place(node).and_then(|place| look(&place));
            match looked {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => last = Error::refused(Errno::STALE, REPLACED),
                Err(error) if is_of_another_kind(error.errno()) => {
                    last = Error::refused(Errno::STALE, REPLACED);
                }
                Err(error) if node.is_upper() && is_of_another_file(error.errno()) => last = error,
                Err(error) if error.errno() == Errno::ACCESS && self.may_change_modes() => {
                    return self.at_place_in_closed_dir(node, &mut look)?.ok_or(error);
                }
                Err(error) => return Err(error),
            }
            wait_for_changes(node);
        }
        Err(last)
    }

    /// A directory that has become closed to its owner, who we are, does not close the files in it that are open. `None` when
    /// that is not what keeps us out.
    fn at_place_in_closed_dir<T>(
        &self,
        node: &Node,
        look: &mut impl FnMut(&Place) -> Result<Option<T>>,
    ) -> Result<Option<T>> {
        const SEARCH: u32 = 0o100;
        let Some(link) = node.link().filter(|link| link.in_upper) else { return Ok(None) };
        let Some(dir) = link.parent.stack().and_then(|stack| stack.upper) else { return Ok(None) };
        let fd = self.nodes.dirs.open(&dir)?;
        let this = At::this(fd.as_fd());
        if self.store.stat(this)?.is_none_or(|stat| stat.mode & SEARCH != 0) {
            return Ok(None);
        }
        let widening = Widening { this, found_at: this, bits: SEARCH };
        self.with_modes(&[widening], || self.place(node).and_then(|place| look(&place)))
    }

    /// Reads of the node's file by several calls on its name. Where names change meanwhile, it is held for them: between two
    /// looks at the same file another one may have been under the name.
    pub(in crate::ops) fn read_at_place<T>(
        &self,
        node: &Node,
        read: impl Fn(At<'_>) -> Result<T>,
    ) -> Result<T> {
        self.at_place(node, |place| {
            if place.real.is_none() {
                return read(place.at()).map(Some);
            }
            let version = || place.parent.as_ref().and_then(|parent| parent.version());
            let before = version();
            let is_where_it_is_known = match (&place.parent, &place.name, node.link()) {
                (None, ..) => true,
                (Some(parent), Some(name), Some(now)) => now.is(parent, name),
                _ => false,
            };
            if is_where_it_is_known {
                let found = read(place.at())?;
                let stat = self.store.stat(place.at())?;
                if stat.is_some_and(|stat| place.is_right(&stat)) && version() == before {
                    return Ok(Some(found));
                }
            }
            let held = self.store.open(place.at(), OFlags::PATH, 0)?;
            if !place.is_right(&self.store.stat_fd(held.as_fd())?) {
                return Ok(None);
            }
            read(At::this(held.as_fd())).map(Some)
        })
    }

    /// What the node's file is.
    pub(in crate::ops) fn stat(&self, node: &Node) -> Result<Stat> {
        self.at_place(node, |place| {
            let stat = self.store.stat(place.at())?;
            Ok(stat.filter(|stat| place.is_right(stat)))
        })
    }
}

/// Whether a call may have failed because something else is under the name by now.
fn is_of_another_file(errno: Errno) -> bool {
    matches!(errno, Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::INVAL)
}

/// Whether a call failed because what is under the name by now is of another kind: a directory, a symlink, a device or socket
/// (a whiteout is such a device). The caller has asked for none, and is told that the file is gone.
fn is_of_another_kind(errno: Errno) -> bool {
    matches!(errno, Errno::ISDIR | Errno::LOOP | Errno::NXIO)
}

/// Waits for whoever is just renaming the file or a directory above it.
fn wait_for_changes(node: &Node) {
    locks::wait_for_change(node);
    let mut above = node.link().map(|link| link.parent);
    while let Some(dir) = above {
        locks::wait_for_change(&dir);
        above = dir.link().map(|link| link.parent);
    }
}
