//! Listing directories. There are no directory handles, so a cookie says all there is to know about a listing (see
//! [`crate::namespace::cookie`]).
//!
//! A directory that only one layer has is streamed with that layer's own offsets. A merged one is listed in the order of a hash
//! of the names, so that a cookie stays good whatever is added, removed or forgotten meanwhile.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::io::Errno;

use super::Union;
use crate::error::{Error, Result};
use crate::format::aufs;
use crate::layer::dir::RealDir;
use crate::layer::stack::Offsets;
use crate::namespace::cookie::{self, DOT, DOT_DOT, Place};
use crate::namespace::node::Node;
use crate::namespace::refs::NodeRef;
use crate::namespace::snapshot::{Collector, Name, Snapshot};
use crate::namespace::walk::DirStack;
use crate::types::{DirEntry, Kind, NodeId, RealId};

/// Takes entries, each with a reference to its node if attributes are wanted; breaking says that the entry was not taken.
pub type Visit<'v> = dyn FnMut(DirEntry, Option<NodeRef<'_>>) -> ControlFlow<()> + 'v;

impl Union {
    /// Lists a directory from `cookie` (0: the beginning) until `visit` breaks or the directory ends. With `attributes`, each
    /// entry comes with them and with its node, except `.` and `..`.
    ///
    /// An entry that is neither added nor removed while a listing goes on appears in it exactly once.
    pub fn read_dir(&self, id: NodeId, cookie: u64, attributes: bool, visit: &mut Visit<'_>) -> Result<()> {
        let (node, stack) = self.dir_node(id)?;
        if node.peek_dir(|directory| directory.removed) == Some(true) {
            return Ok(());
        }
        let is_merged =
            || node.peek_dir(|dir| cookie::is_merged(cookie, dir.places.as_deref())).unwrap_or(false);
        let cut_off_from = node.peek_dir(|directory| directory.cut_off_from.clone()).flatten();
        let streamed = match (cookie, stack.sole()) {
            (0, Some(sole))
                if cut_off_from.is_none() && self.nodes.dirs.offsets(sole)? != Offsets::Unknown =>
            {
                Some(sole)
            }
            (0, _) => None,
            _ if is_merged() => None,
            // The directory was copied up since: the listing goes on in the layer it began in.
            (_, sole) => cut_off_from.as_ref().or(sole).or_else(|| stack.lowers.first()),
        };
        match streamed.cloned() {
            Some(dir) => self.stream(&node, &dir, cookie, attributes, visit),
            None => self.list_merged(&node, &stack, cookie, attributes, visit),
        }
    }

    /// Whether the union shows nothing in a directory.
    pub(super) fn is_empty(&self, node: &Arc<Node>) -> Result<bool> {
        let mut empty = true;
        self.read_dir(node.id, 0, false, &mut |entry, _| {
            if entry.name == "." || entry.name == ".." {
                return ControlFlow::Continue(());
            }
            empty = false;
            ControlFlow::Break(())
        })?;
        Ok(empty)
    }

    fn stream(
        &self,
        node: &Arc<Node>,
        dir: &Arc<RealDir>,
        cookie: u64,
        attributes: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let offsets = self.nodes.dirs.offsets(dir)?;
        let start = match place_in(node, cookie, offsets) {
            Place::Beginning => 0,
            Place::Offset(offset) => offset,
            Place::Position(_) | Place::Name(..) | Place::End => return Ok(()),
        };
        let fd = self.nodes.dirs.open_for_reading(dir)?;
        let mut outcome = Ok(());
        let mut own = start;
        self.store.read_dir(fd.as_fd(), start, &mut |raw| {
            let cookie = match offsets.tells_apart(own, raw.next) {
                true => offsets.cookie_of(raw.next),
                false => remember(node, Place::Offset(raw.next)),
            };
            own = raw.next;
            let name = Listed { name: raw.name, cookie, lowers: None };
            match self.visit_name(node, name, attributes, visit) {
                Ok(flow) => flow,
                Err(error) => {
                    outcome = Err(error);
                    ControlFlow::Break(())
                }
            }
        })?;
        outcome
    }

    fn list_merged(
        &self,
        node: &Arc<Node>,
        stack: &DirStack,
        cookie: u64,
        attributes: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let place = place_in(node, cookie, Offsets::Unknown);
        let after = match &place {
            Place::Beginning => 0,
            Place::Position(position) | Place::Name(position, _) => *position,
            Place::Offset(_) | Place::End => return Ok(()),
        };
        for (position, name) in [(DOT, "."), (DOT_DOT, "..")] {
            let name = Listed { name: OsStr::new(name), cookie: cookie::of_position(position), lowers: None };
            if after < position && self.visit_name(node, name, attributes, visit)?.is_break() {
                return Ok(());
            }
        }
        let snapshot = self.snapshot(node, stack, place == Place::Beginning)?;
        let mut show = |entry: Name<'_>| {
            let cookie = match entry.shares {
                true => remember(node, Place::Name(entry.position, entry.name.into())),
                false => cookie::of_position(entry.position),
            };
            let name = Listed { name: entry.name, cookie, lowers: Some(entry.lowers) };
            self.visit_name(node, name, attributes, visit)
        };
        let mut names: Box<dyn Iterator<Item = Name<'_>>> = match &place {
            Place::Name(position, name) => Box::new(snapshot.after_name(*position, name)),
            _ => Box::new(snapshot.after(after)),
        };
        names
            .find_map(|entry| show(entry).map(|flow| flow.is_break().then_some(())).transpose())
            .unwrap_or(Ok(()))
    }

    /// Shows one name to `visit`, if the union shows it.
    fn visit_name(
        &self,
        node: &Arc<Node>,
        listed: Listed<'_>,
        attributes: bool,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>> {
        let Listed { name, cookie, lowers } = listed;
        let plain = |id: NodeId| DirEntry {
            name: name.to_owned(),
            cookie,
            node: id,
            kind: Kind::Directory,
            attr: None,
        };
        if name == "." {
            return Ok(visit(plain(node.id), None));
        }
        if name == ".." {
            return Ok(visit(plain(node.link().map_or(NodeId::ROOT, |link| link.parent.id)), None));
        }
        if self.is_hidden(node, name) {
            return Ok(ControlFlow::Continue(()));
        }
        let shared: Arc<OsStr> = Arc::from(name);
        let locate = |stack: &DirStack| self.locate_among(node, stack, &shared, lowers);
        let adopted = match self.adopt_name(node, &shared, locate) {
            Ok(Some(adopted)) => adopted,
            Ok(None) => return Ok(ControlFlow::Continue(())),
            // Removed between being found and being looked at.
            Err(error) if error.errno() == Errno::NOENT => return Ok(ControlFlow::Continue(())),
            // A broken mark closes one entry, not its neighbours: it is listed, and looking at it tells the error.
            Err(Error::Refused { errno: errno @ (Errno::INVAL | Errno::IO), reason }) => {
                log::warn!("{name:?}: {reason}");
                let kind = if errno == Errno::INVAL { Kind::Directory } else { Kind::File };
                return Ok(visit(DirEntry { kind, ..plain(self.number_of_broken(node, name)) }, None));
            }
            Err(error) => return Err(error),
        };
        let attr = self.attr_of(&adopted.node, &adopted.stat);
        let entry = DirEntry {
            name: name.to_owned(),
            cookie,
            node: attr.node,
            kind: attr.kind,
            attr: attributes.then_some(attr),
        };
        Ok(visit(entry, attributes.then_some(adopted.node)))
    }

    /// The number of an entry that nothing else is known of.
    fn number_of_broken(&self, parent: &Node, name: &OsStr) -> NodeId {
        let none = RealId { dev: u64::MAX - parent.id.0, ino: self.order.position_of(name).into() };
        self.nodes.numbers().odd(none)
    }

    /// The names in a merged directory. A listing that begins sees them as they are; one that goes on is content with those of
    /// its beginning, because what is gone meanwhile is noticed name by name.
    pub(super) fn snapshot(&self, node: &Node, stack: &DirStack, fresh: bool) -> Result<Arc<Snapshot>> {
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

/// A name to show.
struct Listed<'a> {
    name: &'a OsStr,
    cookie: u64,
    /// The lowerdirs that may have it, by their position in the directory's stack; `None`: any.
    lowers: Option<&'a [u16]>,
}

fn place_in(node: &Node, cookie: u64, offsets: Offsets) -> Place {
    node.peek_dir(|directory| cookie::place(cookie, offsets, directory.places.as_deref()))
        .unwrap_or(Place::End)
}

/// The number of a place that has to be remembered.
fn remember(node: &Node, place: Place) -> u64 {
    node.with_dir(|directory| directory.places.get_or_insert_default().remember(place)).unwrap_or(0)
}
