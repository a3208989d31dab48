//! The nodes of what was found.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::dir::RealDir;
use crate::layer::stack::LayerInfo;
use crate::namespace::node::{
    Body, Directory, Home, IndexEntry, Link, LowerFile, Node, Seen, UpperFile, Version,
};
use crate::namespace::nodes::Sighting;
use crate::namespace::refs::{Entry, NodeRef};
use crate::namespace::walk::{DirStack, Found, Located};
use crate::ops::lookup::find::DISTURBANCES;
use crate::ops::lookup::locate::is_same_dir;
use crate::ops::lookup::{Lookup, UpperDir};
use crate::sys::At;
use crate::types::{Kind, NodeId, RealId, Stat};

/// A node, and what its file is.
#[derive(Debug)]
pub(in crate::ops) struct Adopted<'t> {
    pub(in crate::ops) node: NodeRef<'t>,
    pub(in crate::ops) stat: Stat,
}

/// What became of what was found under a name.
enum Adoption<'t> {
    Nothing,
    /// It is not where it was found any more.
    Overtaken,
    Node(Adopted<'t>),
}

impl Lookup {
    pub(in crate::ops) fn entry<'t>(&self, adopted: Adopted<'t>) -> Entry<'t> {
        let attr = self.attr_of(&adopted.node, &adopted.stat);
        Entry { node: adopted.node, attr }
    }

    /// The node that a name stands for. Looks again when the directory changed meanwhile.
    ///
    /// A node made of what is not there any more would never find its file, and until it is forgotten others would get it who
    /// find the file where it is now. So nodes are made only while the directory's version is the one that was looked at:
    /// whoever changes what a name stands for has its node in the table until that is counted.
    pub(in crate::ops) fn adopt_name(
        &self,
        parent: &Arc<Node>,
        name: &Arc<OsStr>,
        locate: impl Fn(&DirStack) -> Result<Located>,
    ) -> Result<Option<Adopted<'_>>> {
        let mut tries = 0;
        loop {
            tries += 1;
            let before = parent.version();
            let found = locate(&self.dir_stack(parent)?)
                .and_then(|located| self.adopt(parent, name, located, before));
            let may_return = before == parent.version() || tries >= DISTURBANCES;
            if tries >= DISTURBANCES && matches!(found, Ok(Adoption::Overtaken)) {
                let reason = "the directory was forgotten, or does not hold still";
                return Err(Error::refused(Errno::STALE, reason));
            }
            match found {
                Err(error) if may_return => return Err(error),
                Ok(Adoption::Nothing) if may_return => return Ok(None),
                Ok(Adoption::Node(adopted)) if may_return => return Ok(Some(adopted)),
                _ => {}
            }
        }
    }

    /// The node of what was found in a `version` of the directory.
    fn adopt(
        &self,
        parent: &Arc<Node>,
        name: &Arc<OsStr>,
        located: Located,
        version: Option<Version>,
    ) -> Result<Adoption<'_>> {
        let Some(shown) = located.shown() else {
            return Ok(Adoption::Nothing);
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
                (None, None) => return Ok(Adoption::Nothing),
            }
        };
        Ok(adopted.map_or(Adoption::Overtaken, Adoption::Node))
    }

    fn adopt_dir(&self, seen: Seen, located: &Located) -> Option<NodeRef<'_>> {
        let number_of = |found: &Found| self.nodes.numbers().of(found.dir.layer(), &found.stat);
        // The origin counts where the lower directories were cut off by copying the whole tree up.
        let origin_of = |found: &Found| self.nodes.numbers().of_origin(found.marks.origin.as_deref()?);
        let upper = located.upper.as_ref();
        let wanted = match located.lowers.first() {
            Some(lower) => number_of(lower),
            None => upper.and_then(origin_of).or_else(|| upper.and_then(number_of)),
        };
        let real = located.shown().map_or(RealId { dev: 0, ino: 0 }, |found| found.stat.real_id());
        let is_same =
            |node: &Node| node.peek_dir(|directory| is_same_dir(&directory.stack, located)).unwrap_or(false);
        let body = || {
            let marks = located.upper.as_ref().map(|upper| &upper.marks);
            let stack = DirStack {
                upper: located.upper.as_ref().map(|found| self.open_upper_dir(found)),
                lowers: located.lowers.iter().map(Found::open_dir).collect(),
            };
            Body::Directory(Box::new(Directory {
                redirect: marks.and_then(|marks| marks.redirect.as_deref().map(Box::from)),
                impure: marks.is_some_and(|marks| marks.impure),
                ..Directory::new(stack)
            }))
        };
        let found = Sighting { seen: &seen, kind: Kind::Directory, real, wanted };
        let interned = self.nodes.intern(&found, is_same, body)?;
        if !interned.created && self.is_view() {
            self.catch_up_dir(&interned.node, located);
        }
        Some(interned.node)
    }

    fn adopt_upper(&self, seen: Seen, found: &Found) -> Result<Option<Adopted<'_>>> {
        let stat = found.stat;
        let link = &seen.link;
        let index = match &found.marks.origin {
            Some(origin) if stat.nlink > 1 => self.find_index_of_upper(origin, found, link)?,
            _ => None,
        };
        let wanted = match &found.marks.origin {
            Some(origin) => match self.nodes.numbers().of_origin(origin) {
                None => match self.number_of_same_name(origin, link)? {
                    None => self.number_by_handle(origin),
                    known => known,
                },
                known => known,
            },
            None => None,
        };
        let wanted = wanted.or_else(|| self.nodes.numbers().of(found.dir.layer(), &stat));
        let node = self.intern_upper(wanted, seen, &stat, Home::Named, index);
        Ok(node.map(|node| Adopted { node, stat }))
    }

    fn adopt_lower(&self, seen: Seen, found: Found) -> Result<Option<Adopted<'_>>> {
        let stat = found.stat;
        let wanted = self.nodes.numbers().of(found.dir.layer(), &stat);
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
        let lower = || {
            Body::Lower(LowerFile {
                dir: found.dir,
                name: found.name,
                real,
                birth: stat.birth,
                has_links: stat.nlink > 1,
            })
        };
        let found = Sighting { seen: &seen, kind: stat.kind(), real, wanted };
        let interned = self.nodes.intern(&found, is_same, lower);
        let Some(interned) = interned else { return Ok(None) };
        if !interned.created && stat.nlink > 1 {
            self.nodes.add_link(&interned.node, seen.link);
        }
        self.adopted(interned.node, stat).map(Some)
    }

    /// A node that was already known may have its content elsewhere than where it was found.
    fn adopted<'t>(&self, node: NodeRef<'t>, stat: Stat) -> Result<Adopted<'t>> {
        let stat = if node.is_upper() { self.stat(&node)? } else { stat };
        Ok(Adopted { node, stat })
    }

    fn intern_upper(
        &self,
        wanted: Option<NodeId>,
        seen: Seen,
        stat: &Stat,
        home: Home,
        index: Option<Arc<IndexEntry>>,
    ) -> Option<NodeRef<'_>> {
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
        let found = Sighting { seen: &seen, kind, real, wanted };
        let interned = self.nodes.intern(&found, is_same, || Body::Upper(Box::new(upper.clone())))?;
        if !interned.created && is_view {
            self.catch_up_file(&interned.node, seen.link, upper);
            return Some(interned.node);
        }
        if !interned.created && stat.nlink > 1 {
            self.nodes.add_link(&interned.node, seen.link);
        }
        Some(interned.node)
    }

    /// A file just made in the upperdir.
    pub(in crate::ops) fn adopt_new(
        &self,
        seen: Seen,
        layer: &LayerInfo,
        stat: &Stat,
    ) -> Option<NodeRef<'_>> {
        self.intern_upper(self.nodes.numbers().of(layer, stat), seen, stat, Home::Named, None)
    }

    /// The node of something just made in the upperdir.
    pub(in crate::ops) fn adopt_made(&self, seen: Seen, dir: &UpperDir, stat: &Stat) -> Option<NodeRef<'_>> {
        if !stat.is_dir() {
            return self.adopt_new(seen, dir.real.layer(), stat);
        }
        let wanted = self.nodes.numbers().of(dir.real.layer(), stat);
        let is_same = |node: &Node| {
            let upper = node.stack().and_then(|stack| stack.upper);
            upper.is_some_and(|upper| upper.ino() == stat.ino)
        };
        let body = || {
            let upper = RealDir::child(&dir.real, seen.link.name.clone(), stat.ino);
            let stack = DirStack { upper: Some(upper), lowers: Arc::new([]) };
            Body::Directory(Box::new(Directory::new(stack)))
        };
        let found = Sighting { seen: &seen, kind: Kind::Directory, real: stat.real_id(), wanted };
        Some(self.nodes.intern(&found, is_same, body)?.node)
    }

    /// Sees to it that what lies on a filesystem inside a layer has numbers of its own.
    fn know_filesystem(&self, found: &Found) -> Result<()> {
        let numbers = self.nodes.numbers();
        if numbers.knows(found.dir.layer(), found.stat.dev) {
            return Ok(());
        }
        let dir = self.nodes.dirs.open(&found.dir)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let opened = self.store.open(At::new(dir.as_fd(), &found.name), flags, 0)?;
        if self.store.stat_fd(opened.as_fd())?.dev == found.stat.dev {
            numbers.know(found.stat.dev, self.store.fs_id(opened.as_fd())?);
        }
        Ok(())
    }
}
