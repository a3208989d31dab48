//! What the layers hold under a name.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::aufs;
use crate::layer::dir::RealDir;
use crate::namespace::node::{Body, Node};
use crate::namespace::snapshot::{Collector, Snapshot};
use crate::namespace::walk::{DirStack, Found, Located, Origins};
use crate::ops::lookup::Lookup;

/// From this many lowerdirs on, a directory's names are read once rather than each lowerdir asked for each name.
pub(in crate::ops) const MANY_LOWERS: usize = 8;

impl Lookup {
    pub(in crate::ops) fn locate(&self, node: &Node, stack: &DirStack, name: &Arc<OsStr>) -> Result<Located> {
        if stack.lowers.len() < MANY_LOWERS {
            return self.locate_among(node, stack, name, None);
        }
        let names = self.names_for_lookup(node, stack)?;
        let lowers = names.as_ref().map(|names| names.lowers_of(name, &self.order));
        self.locate_among(node, stack, name, lowers)
    }

    /// Finds a name when it is known which lowerdirs may have it.
    pub(in crate::ops) fn locate_among(
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
        self.walker().locate(stack, name, origins, lowers)
    }

    /// The names in a directory of many layers, where they are of use for finding one; `None`: each layer has to be asked.
    pub(in crate::ops) fn names_for_lookup(
        &self,
        node: &Node,
        stack: &DirStack,
    ) -> Result<Option<Arc<Snapshot>>> {
        if self.nodes.snapshots.is_crowded_out(node.id) {
            return Ok(None);
        }
        match self.snapshot(node, stack, false) {
            // A directory may be searched, and not read (0711), by a plain user's daemon, too.
            Err(error) if error.errno() == Errno::ACCESS => Ok(None),
            other => other.map(Some),
        }
    }

    /// What the lowerdirs alone would show under a name.
    pub(in crate::ops) fn shown_by_lowers(&self, parent: &Node, name: &Arc<OsStr>) -> Result<Option<Found>> {
        let Some(stack) = parent.stack().filter(|stack| !stack.lowers.is_empty()) else {
            return Ok(None);
        };
        let known =
            if stack.lowers.len() < MANY_LOWERS { None } else { self.names_for_lookup(parent, &stack)? };
        let among = known.as_ref().map(|snapshot| snapshot.lowers_of(name, &self.order));
        let lowers = DirStack { upper: None, lowers: stack.lowers };
        let located = self.walker().locate(&lowers, name, Origins::None, among)?;
        Ok(located.lowers.into_iter().next())
    }

    /// Checks that nothing is shown under a name of a directory that still exists. Returns whether a whiteout is there. The
    /// caller holds the directory's gate.
    pub(in crate::ops) fn check_free(&self, parent: &Node, name: &Arc<OsStr>) -> Result<bool> {
        let (stack, removed) = parent
            .peek_dir(|directory| (directory.stack.clone(), directory.removed))
            .ok_or(Error::refused(Errno::NOTDIR, "not a directory"))?;
        if removed {
            return Err(Error::refused(Errno::NOENT, "the directory was removed"));
        }
        if stack.lowers.is_empty() {
            // The creating call itself answers EEXIST.
            return Ok(false);
        }
        let located = self.locate(parent, &stack, name)?;
        if !located.is_absent() {
            return Err(Error::refused(Errno::EXIST, "the name exists"));
        }
        Ok(located.whiteout)
    }

    /// Whether the upperdir has a whiteout under a name.
    pub(in crate::ops) fn is_whiteout(&self, parent: &Node, name: &Arc<OsStr>) -> Result<bool> {
        let stack = parent.stack().ok_or(Error::refused(Errno::NOTDIR, "not a directory"))?;
        Ok(self.locate(parent, &stack, name)?.whiteout)
    }

    /// The names in a merged directory. A listing that begins sees them as they are; one that goes on is content with those of
    /// its beginning, because what is gone meanwhile is noticed name by name.
    pub(in crate::ops) fn snapshot(
        &self,
        node: &Node,
        stack: &DirStack,
        fresh: bool,
    ) -> Result<Arc<Snapshot>> {
        let (key, changes) = node
            .peek_dir(|directory| (directory.key, directory.changes))
            .ok_or(Error::refused(Errno::NOTDIR, "not a directory"))?;
        if let Some(known) = self.nodes.snapshots.get(node.id, key)
            && (!fresh || (known.changes == changes && !self.is_view()))
        {
            return Ok(known);
        }
        let mut names = Collector::new(&self.order);
        for dir in stack.all() {
            let lower = dir.layer().index.checked_sub(1).map(|_| names.next_lower());
            self.collect(dir, lower, &mut names)?;
        }
        let snapshot = Arc::new(names.finish(key, changes));
        self.nodes.snapshots.insert(node.id, snapshot.clone());
        Ok(snapshot)
    }

    fn collect(&self, dir: &Arc<RealDir>, lower: Option<u16>, names: &mut Collector<'_>) -> Result<()> {
        let fd = self.nodes.dirs.open_for_reading(dir)?;
        let mut marks = false;
        self.store.read_dir(fd.as_fd(), 0, &mut |raw| {
            if raw.name == "." || raw.name == ".." {
                return ControlFlow::Continue(());
            }
            let mark = aufs::hidden_by(raw.name);
            match mark.filter(|_| dir.reads_aufs_marks()) {
                // The mark concerns the name it hides: that layer must be asked for it.
                Some(hidden) => {
                    marks = true;
                    // `.wh.`, `.wh..` and `.wh...` would be this directory and its parent, which is no entry of it.
                    if !matches!(hidden.as_bytes(), b"" | b"." | b"..") {
                        names.add(hidden, lower);
                    }
                }
                None => names.add(raw.name, lower),
            }
            ControlFlow::Continue(())
        })?;
        if !marks {
            dir.has_no_aufs_marks();
        }
        Ok(())
    }
}

/// Whether a name still stands for the node, by what was found under it with the node's gate held.
pub(in crate::ops) fn stands_for(located: &Located, node: &Node) -> bool {
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
pub(super) fn is_same_dir(stack: &DirStack, located: &Located) -> bool {
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
