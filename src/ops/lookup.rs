//! Lookup, and the life of nodes.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Union;
use super::find::DISTURBANCES;
use crate::error::{Error, Result};
use crate::layer::dir::RealDir;
use crate::layer::stack::LayerInfo;
use crate::namespace::node::{
    Body, Directory, Home, IndexEntry, Link, Links, LowerFile, Node, UpperFile, Version,
};
use crate::namespace::snapshot::Snapshot;
use crate::namespace::walk::{DirStack, Found, Located, Origins};
use crate::sys::{self, At};
use crate::types::{Entry, Kind, Name, NodeId, RealId, Stat};

/// Names of a file that are remembered at most. Others are found again when they are looked up: they cost neither memory nor the time
/// to look through all of them, however many somebody makes.
const MOST_LINKS: usize = 1024;

/// From this many lowerdirs on, a directory's names are read once rather than each lowerdir asked for each name.
pub(super) const MANY_LOWERS: usize = 8;

/// A node with one more reference, and what its file is.
#[derive(Debug)]
pub(super) struct Adopted {
    pub(super) node: Arc<Node>,
    pub(super) stat: Stat,
}

/// A name and the version of its directory in which it was seen.
#[derive(Debug, Clone)]
pub(super) struct Seen {
    pub(super) link: Link,
    /// `None`: the directory's gate is held, so nobody can have changed the name since.
    pub(super) version: Option<Version>,
}

/// What became of what was found under a name.
enum Sighting {
    Nothing,
    /// It is not where it was found any more.
    Overtaken,
    Node(Adopted),
}

impl Union {
    /// Finds `name` in `parent`; `None` when there is nothing. The entry's node is referenced once more.
    ///
    /// # Errors
    /// `ENOTDIR` when `parent` is no directory; otherwise what a layer answers.
    pub fn lookup(&self, parent: NodeId, name: Name<'_>) -> Result<Option<Entry>> {
        let (node, _) = self.dir_node(parent)?;
        let name = name.as_os_str();
        if self.is_hidden(&node, name) {
            return Ok(None);
        }
        let name: Arc<OsStr> = Arc::from(name);
        let adopted = self.adopt_name(&node, &name, |stack| self.locate(&node, stack, &name))?;
        adopted.map(|adopted| self.entry(&adopted)).transpose()
    }

    /// Takes back `count` references to a node.
    pub fn forget(&self, id: NodeId, count: u64) {
        for node in self.table.forget(id, count) {
            self.files.remove(node.id.0);
            let state = node.state.read();
            match &state.body {
                Body::Directory(directory) => {
                    self.snapshots.forget(node.id);
                    directory.stack.all().for_each(|dir| self.dirs.close(dir));
                    self.let_go(&directory.home);
                }
                Body::Upper(upper) => self.let_go(&upper.home),
                Body::Lower(_) => {}
            }
        }
        if self.table.shrink_if_emptied() {
            sys::process::release_free_memory();
        }
    }

    pub(super) fn locate(&self, node: &Node, stack: &DirStack, name: &Arc<OsStr>) -> Result<Located> {
        if stack.lowers.len() < MANY_LOWERS {
            return self.locate_among(node, stack, name, None);
        }
        let names = self.names_for_lookup(node, stack)?;
        let lowers = names.as_ref().map(|names| names.lowers_of(name, &self.order));
        self.locate_among(node, stack, name, lowers)
    }

    /// The names in a directory of many layers, where they are of use for finding one; `None`: each layer has to be asked.
    pub(super) fn names_for_lookup(&self, node: &Node, stack: &DirStack) -> Result<Option<Arc<Snapshot>>> {
        if self.snapshots.is_crowded_out(node.id) {
            return Ok(None);
        }
        match self.snapshot(node, stack, false) {
            // A directory may be searched, and not read (0711), by a plain user's daemon, too.
            Err(error) if error.errno() == Errno::ACCESS => Ok(None),
            other => other.map(Some),
        }
    }

    /// Finds a name when it is known which lowerdirs may have it.
    pub(super) fn locate_among(
        &self,
        node: &Node,
        stack: &DirStack,
        name: &Arc<OsStr>,
        lowers: Option<&[u16]>,
    ) -> Result<Located> {
        let (impure, removed) =
            node.peek_dir(|directory| (directory.impure, directory.removed)).unwrap_or_default();
        if removed {
            // Its whiteouts went with it; what they hid must not come back for those who still have it open.
            return Ok(Located::default());
        }
        // In a view, the mark may have come since it was looked for.
        let origins = if impure || self.is_view() { Origins::Read } else { Origins::None };
        self.walker().locate_among(stack, name, origins, lowers)
    }

    pub(super) fn entry(&self, adopted: &Adopted) -> Result<Entry> {
        Ok(Entry { attr: self.attr_of(&adopted.node, &adopted.stat) })
    }

    /// The node that a name stands for, with one more reference. Looks again when the directory changed meanwhile.
    ///
    /// A node made of what is not there any more would never find its file, and until it is forgotten others would get it who
    /// find the file where it is now. So nodes are made only while the directory's version is the one that was looked at:
    /// whoever changes what a name stands for has its node in the table until that is counted.
    pub(super) fn adopt_name(
        &self,
        parent: &Arc<Node>,
        name: &Arc<OsStr>,
        locate: impl Fn(&DirStack) -> Result<Located>,
    ) -> Result<Option<Adopted>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let before = parent.version();
            let found = locate(&self.dir_stack(parent)?)
                .and_then(|located| self.adopt(parent, name, located, before));
            let may_return = before == parent.version() || tries >= DISTURBANCES;
            if tries >= DISTURBANCES && matches!(found, Ok(Sighting::Overtaken)) {
                let reason = "the directory was forgotten, or does not hold still";
                return Err(Error::refused(Errno::STALE, reason));
            }
            match found {
                Err(error) if may_return => return Err(error),
                Ok(Sighting::Nothing) if may_return => return Ok(None),
                Ok(Sighting::Node(adopted)) if may_return => return Ok(Some(adopted)),
                Ok(Sighting::Node(adopted)) => self.forget(adopted.node.id, 1),
                Err(_) | Ok(Sighting::Nothing | Sighting::Overtaken) => {}
            }
        }
    }

    /// Sees to it that what lies on a filesystem inside a layer has numbers of its own.
    fn know_filesystem(&self, found: &Found) -> Result<()> {
        let numbers = self.table.numbers();
        if numbers.knows(found.dir.layer(), found.stat.dev) {
            return Ok(());
        }
        let dir = self.dirs.open(&found.dir)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let opened = self.store.open(At::new(dir.as_fd(), &found.name), flags, 0)?;
        if self.store.stat_fd(opened.as_fd())?.dev == found.stat.dev {
            numbers.know(found.stat.dev, self.store.fs_id(opened.as_fd())?);
        }
        Ok(())
    }

    /// The node of what was found in a `version` of the directory, with one more reference.
    fn adopt(
        &self,
        parent: &Arc<Node>,
        name: &Arc<OsStr>,
        located: Located,
        version: Option<Version>,
    ) -> Result<Sighting> {
        let Some(shown) = located.shown() else {
            return Ok(Sighting::Nothing);
        };
        let stat = shown.stat;
        for found in located.upper.iter().chain(&located.lowers) {
            self.know_filesystem(found)?;
        }
        let seen =
            |in_upper| Seen { link: Link { parent: parent.clone(), name: name.clone(), in_upper }, version };
        let adopted = if stat.is_dir() {
            let node = self.adopt_dir(seen(located.upper.is_some()), &located);
            node.map(|node| Adopted { node, stat })
        } else {
            match (located.upper, located.lowers.into_iter().next()) {
                (Some(upper), _) => self.adopt_upper(seen(true), &upper)?,
                (None, Some(lower)) => self.adopt_lower(seen(false), lower)?,
                (None, None) => return Ok(Sighting::Nothing),
            }
        };
        Ok(adopted.map_or(Sighting::Overtaken, Sighting::Node))
    }

    fn adopt_dir(&self, seen: Seen, located: &Located) -> Option<Arc<Node>> {
        let number_of = |found: &Found| self.table.numbers().of(found.dir.layer(), &found.stat);
        // The origin counts where the lower directories were cut off by copying the whole tree up.
        let origin_of = |found: &Found| self.table.numbers().of_origin(found.marks.origin.as_deref()?);
        let upper = located.upper.as_ref();
        let wanted = match located.lowers.first() {
            Some(lower) => number_of(lower),
            None => upper.and_then(origin_of).or_else(|| upper.and_then(number_of)),
        };
        let real = located.shown().map_or(RealId { dev: 0, ino: 0 }, |found| found.stat.real_id());
        let is_same =
            |node: &Node| node.peek_dir(|directory| is_same_dir(&directory.stack, located)).unwrap_or(false);
        let make = |id| {
            let marks = located.upper.as_ref().map(|upper| &upper.marks);
            let stack = DirStack {
                upper: located.upper.as_ref().map(|found| self.open_upper_dir(found)),
                lowers: located.lowers.iter().map(Found::open_dir).collect(),
            };
            let directory = Directory {
                redirect: marks.and_then(|marks| marks.redirect.as_deref().map(Box::from)),
                impure: marks.is_some_and(|marks| marks.impure),
                ..Directory::new(stack)
            };
            self.make_node(id, Kind::Directory, seen, Body::Directory(Box::new(directory)))
        };
        let interned = self.table.intern(wanted, real, is_same, make)?;
        if !interned.created && self.is_view() {
            self.catch_up_dir(&interned.node, located);
        }
        Some(interned.node)
    }

    /// A directory that was cut off from lower ones may hold attribute whiteouts, though `opaque` says `y` and not `x`: what cut
    /// it off was killed before it had removed them.
    pub(super) fn open_upper_dir(&self, found: &Found) -> Arc<RealDir> {
        let dir = found.open_dir();
        if self.is_view() || found.marks.opaque && self.whiteouts_are_attributes() {
            dir.set_xattr_whiteouts();
        }
        dir
    }

    fn adopt_upper(&self, seen: Seen, found: &Found) -> Result<Option<Adopted>> {
        let stat = found.stat;
        let link = &seen.link;
        let index = match &found.marks.origin {
            Some(origin) if stat.nlink > 1 => self.find_index_of_upper(origin, found, link)?,
            _ => None,
        };
        let wanted = match &found.marks.origin {
            Some(origin) => match self.table.numbers().of_origin(origin) {
                None => match self.number_of_same_name(origin, link)? {
                    None => self.number_by_handle(origin),
                    known => known,
                },
                known => known,
            },
            None => None,
        };
        let wanted = wanted.or_else(|| self.table.numbers().of(found.dir.layer(), &stat));
        let node = self.intern_upper(wanted, seen, &stat, Home::Named, index);
        Ok(node.map(|node| Adopted { node, stat }))
    }

    fn adopt_lower(&self, seen: Seen, found: Found) -> Result<Option<Adopted>> {
        let stat = found.stat;
        let wanted = self.table.numbers().of(found.dir.layer(), &stat);
        if stat.nlink > 1
            && let Some((entry, upper_stat)) = self.find_index_of_lower(&found)?
        {
            let node = self.intern_upper(wanted, seen, &upper_stat, Home::Indexed, Some(entry));
            return Ok(node.map(|node| Adopted { node, stat: upper_stat }));
        }
        let real = stat.real_id();
        let is_same = |node: &Node| match &node.state.read().body {
            Body::Lower(lower) => lower.real == real && lower.birth.may_be(stat.birth),
            Body::Upper(upper) => upper.covers_links || upper.copied_from == Some(real),
            Body::Directory(_) => false,
        };
        let interned = self.table.intern(wanted, real, is_same, |id| {
            let lower = LowerFile {
                dir: found.dir,
                name: found.name,
                real,
                birth: stat.birth,
                has_links: stat.nlink > 1,
            };
            self.make_node(id, stat.kind(), seen.clone(), Body::Lower(lower))
        });
        let Some(interned) = interned else { return Ok(None) };
        if !interned.created && stat.nlink > 1 {
            self.note_link(&interned.node, seen.link);
        }
        self.adopted(interned.node, stat).map(Some)
    }

    /// A node that was already known may have its content elsewhere than where it was found.
    fn adopted(&self, node: Arc<Node>, stat: Stat) -> Result<Adopted> {
        if !node.is_upper() {
            return Ok(Adopted { node, stat });
        }
        match self.stat(&node) {
            Ok(stat) => Ok(Adopted { node, stat }),
            Err(error) => {
                self.forget(node.id, 1);
                Err(error)
            }
        }
    }

    fn intern_upper(
        &self,
        wanted: Option<NodeId>,
        seen: Seen,
        stat: &Stat,
        home: Home,
        index: Option<Arc<IndexEntry>>,
    ) -> Option<Arc<Node>> {
        let real = stat.real_id();
        let (kind, is_view) = (stat.kind(), self.is_view());
        let is_same = |node: &Node| match &node.state.read().body {
            Body::Upper(upper) => upper.real == real && upper.birth.may_be(stat.birth) && node.kind == kind,
            // Copied up by another union since.
            Body::Lower(_) => is_view && node.kind == kind,
            Body::Directory(_) => false,
        };
        let covers_links = index.is_some();
        let upper = UpperFile {
            real,
            birth: stat.birth,
            copied_from: None,
            home,
            covers_links,
            extra_links: 0,
            index,
        };
        let interned = self.table.intern(wanted, real, is_same, |id| {
            self.make_node(id, kind, seen.clone(), Body::Upper(Box::new(upper.clone())))
        })?;
        if !interned.created && is_view {
            self.catch_up_file(&interned.node, seen.link, upper);
            return Some(interned.node);
        }
        if !interned.created && stat.nlink > 1 {
            self.note_link(&interned.node, seen.link);
        }
        Some(interned.node)
    }

    /// A file just made in the upperdir.
    pub(super) fn adopt_new(&self, seen: Seen, layer: &LayerInfo, stat: &Stat) -> Option<Arc<Node>> {
        self.intern_upper(self.table.numbers().of(layer, stat), seen, stat, Home::Named, None)
    }

    /// `None` when the directory is not as it was seen any more, or was forgotten.
    pub(super) fn make_node(&self, id: NodeId, kind: Kind, seen: Seen, body: Body) -> Option<Node> {
        if seen.version.is_some() && seen.link.parent.version() != seen.version {
            return None;
        }
        if !self.table.pin(&seen.link.parent) {
            return None;
        }
        let mut links = Links::new();
        links.push(seen.link);
        Some(Node::new(id, kind, links, body))
    }

    /// Remembers another name of a file with several: the latest ones of very many.
    pub(super) fn note_link(&self, node: &Node, link: Link) {
        let crowded_out = self.add_link(node, link);
        if let Some(link) = crowded_out {
            self.forget(link.parent.id, 1);
        }
    }

    fn add_link(&self, node: &Node, link: Link) -> Option<Link> {
        let mut state = node.state.write();
        let known = state.links.iter_mut().find(|known| is_same_link(known, &link.parent, &link.name));
        if let Some(known) = known {
            known.in_upper |= link.in_upper;
            return None;
        }
        // A name in a directory that was forgotten is found again when that is.
        if !self.table.pin(&link.parent) {
            return None;
        }
        // The first is the one to work with.
        let crowded_out = (state.links.len() >= MOST_LINKS).then(|| state.links.remove(1));
        state.links.push(link);
        crowded_out
    }

    /// Forgets a name of a node, because it was removed or renamed. Returns whether the node still has known names.
    pub(super) fn drop_link(&self, node: &Node, parent: &Arc<Node>, name: &OsStr) -> bool {
        let (dropped, left) = {
            let mut state = node.state.write();
            let position = state.links.iter().position(|link| is_same_link(link, parent, name));
            let dropped = position.map(|position| state.links.remove(position));
            (dropped, !state.links.is_empty())
        };
        if let Some(link) = dropped {
            self.forget(link.parent.id, 1);
        }
        left
    }
}

pub(super) fn is_same_link(link: &Link, parent: &Arc<Node>, name: &OsStr) -> bool {
    Arc::ptr_eq(&link.parent, parent) && *link.name == *name
}

/// Whether a name still stands for the node, by what was found under it with the node's gate held.
pub(super) fn stands_for(located: &Located, node: &Node) -> bool {
    let Some(shown) = located.shown() else {
        return false;
    };
    let (real, in_upper) = (shown.stat.real_id(), located.upper.is_some());
    match &node.state.read().body {
        Body::Directory(directory) => shown.stat.is_dir() && is_same_dir(&directory.stack, located),
        Body::Lower(lower) => !in_upper && lower.real == real,
        Body::Upper(upper) if in_upper => upper.real == real,
        Body::Upper(upper) => upper.covers_links || upper.copied_from == Some(real),
    }
}

/// Whether the directory of a live node is the one that was found. Either may lack the upper part when a copy-up happens
/// just now.
fn is_same_dir(stack: &DirStack, located: &Located) -> bool {
    let upper = stack.upper.as_ref().map(|dir| dir.ino());
    let found_upper = located.upper.as_ref().map(|found| found.stat.ino);
    if let (Some(upper), Some(found)) = (upper, found_upper) {
        return upper == found;
    }
    match (stack.lowers.first(), located.lowers.first()) {
        (Some(lower), Some(found)) => {
            lower.layer().index == found.dir.layer().index && lower.ino() == found.stat.ino
        }
        _ => false,
    }
}
