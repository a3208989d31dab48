//! What keeps files and directories reachable that have lost their names, or are about to: another name, a descriptor, or a name in the
//! work directory.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::Result;
use crate::layer::dir::RealDir;
use crate::layer::staging::{Prepared, Staging};
use crate::namespace::held::{Held, Parked};
use crate::namespace::node::{Body, Home, Link, Node};
use crate::ops::entries::Entries;

/// How a removed directory is to be kept.
pub(in crate::ops) enum KeptDir {
    /// By a descriptor.
    Held,
    /// By a name in the work directory, since descriptors are scarce or of no use.
    Parked(Parking),
}

/// The work directory, as one that directories lie in.
#[derive(Debug, Clone)]
pub(in crate::ops) struct Parking {
    staging: Arc<Staging>,
    dir: Arc<RealDir>,
}

impl Parking {
    /// Keeps a removed directory that was moved to where changes are prepared.
    pub(in crate::ops) fn park(&self, removed: &RealDir, prepared: Prepared<'_>) -> Home {
        let name = prepared.keep();
        removed.moved(&self.dir, Arc::from(name.as_os_str()));
        Home::Parked(Parked::new(&self.staging, name))
    }
}

impl KeptDir {
    pub(in crate::ops) fn is_parked(&self) -> bool {
        matches!(self, Self::Parked(_))
    }
}

impl Entries {
    /// How the file will be reached when one of its names is gone. To be called before that name is removed, with the node's
    /// gate held; the answer goes to [`Entries::name_removed`] after.
    pub(in crate::ops) fn home_without(&self, node: &Node, parent: &Arc<Node>, name: &OsStr) -> Result<Home> {
        let index = node.index_entry();
        if let Some(entry) = &index {
            self.note_links(entry)?;
        }
        if self.use_another_name(node, parent, name)? {
            return Ok(Home::Named);
        }
        if let Some(entry) = index {
            let stat = self.stat(node)?;
            let left = i64::from(stat.nlink) + entry.extra_links.load(Ordering::Relaxed) - 1;
            if left > 0 {
                return Ok(Home::Indexed);
            }
        }
        self.hold(node)
    }

    /// Puts another name of the upper file than the given one in use, if it has one that we know; while both exist either will
    /// do. A lookup overtaken by a rename may have noted a name that has gone to another file, so each is looked at first.
    fn use_another_name(&self, node: &Node, parent: &Arc<Node>, name: &OsStr) -> Result<bool> {
        let (real, others) = {
            let state = node.state.read();
            let Body::Upper(upper) = &state.body else { return Ok(false) };
            let others = state.links().iter().filter(|link| link.in_upper && !link.is(parent, name));
            (upper.real, others.map(|link| (**link).clone()).collect::<Vec<Link>>())
        };
        for other in others {
            let dir = self.upper_dir(&other.parent)?;
            if self.store.stat(dir.at(&other.name))?.is_none_or(|stat| stat.real_id() != real) {
                self.nodes.drop_link(node, &other.parent, &other.name);
                continue;
            }
            if node.prefer_link(&other.parent, &other.name) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Records that a name of an upper file is gone; removes its index entry when it was the last one in the union.
    pub(in crate::ops) fn name_removed(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &OsStr,
        home: Home,
    ) {
        let held = matches!(home, Home::Held(_) | Home::Parked(_));
        let replaced = match &mut node.state.write().body {
            Body::Upper(upper) => Some(std::mem::replace(&mut upper.home, home)),
            _ => None,
        };
        drop(replaced);
        self.nodes.drop_link(node, parent, name);
        // The name is gone, whatever becomes of an entry that nothing in the union leads to.
        if held && let Err(error) = self.drop_index_entry(node) {
            log::warn!("index entry of a file without names: {error}");
        }
    }

    /// Keeps a file reachable that is about to lose its last name: by a descriptor, or, when those are scarce or of no use, by a
    /// name in the work directory.
    pub(in crate::ops) fn hold(&self, node: &Node) -> Result<Home> {
        let place = self.place(node)?;
        if !self.may_hold() {
            let staging = &self.upper()?.staging;
            let name = staging.fresh_name();
            match self.store.link(place.at(), staging.at(&name)?) {
                Ok(()) => return Ok(Home::Parked(Parked::new(staging, name))),
                // A served filesystem without hard links.
                Err(error)
                    if self.has_descriptors()
                        && matches!(
                            error.errno(),
                            Errno::PERM | Errno::OPNOTSUPP | Errno::NOSYS | Errno::MLINK
                        ) => {}
                Err(error) => return Err(error.into()),
            }
        }
        let fd = self.store.open(place.at(), OFlags::PATH, 0)?;
        Ok(Home::Held(Held::new(Arc::new(fd))))
    }

    /// How a directory that is about to be removed will be reached, by those who have it open.
    pub(in crate::ops) fn way_to_keep_dir(&self) -> Result<KeptDir> {
        Ok(if self.may_hold() { KeptDir::Held } else { KeptDir::Parked(self.parking()?) })
    }

    /// Keeps a directory that has been removed. `prepared` is where it was moved to, if it was: as it is if it is to be parked.
    pub(in crate::ops) fn keep_dir(
        &self,
        way: KeptDir,
        removed: &RealDir,
        fd: Arc<OwnedFd>,
        prepared: Option<Prepared<'_>>,
    ) -> Home {
        match (way, prepared) {
            (KeptDir::Parked(parking), Some(prepared)) => parking.park(removed, prepared),
            _ => {
                removed.detach(fd.clone());
                Home::Held(Held::new(fd))
            }
        }
    }

    fn parking(&self) -> Result<Parking> {
        if let Some(parking) = self.parking.get() {
            return Ok(parking.clone());
        }
        let upper = self.upper()?;
        let dir = upper.staging.at(OsStr::new("."))?;
        let fd = self.store.open(dir, OFlags::PATH | OFlags::DIRECTORY, 0)?;
        let ino = self.store.stat_fd(fd.as_fd())?.ino;
        let dir = RealDir::held(upper.root.layer().clone(), ino, Arc::new(fd));
        Ok(self.parking.get_or_init(|| Parking { staging: upper.staging.clone(), dir }).clone())
    }
}
