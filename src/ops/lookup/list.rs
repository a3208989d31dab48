//! Listing directories. There are no directory handles, so a cookie says all there is to know about a listing (see
//! [`crate::namespace::cookie`]).
//!
//! A directory that only one layer has is streamed with that layer's own offsets. A merged one is listed in the order of a hash
//! of the names, so that a cookie stays good whatever is added, removed or forgotten meanwhile.

use std::ffi::OsStr;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::dir::RealDir;
use crate::layer::stack::Offsets;
use crate::namespace::cookie::{self, DOT, DOT_DOT, Spot};
use crate::namespace::node::Node;
use crate::namespace::refs::NodeRef;
use crate::namespace::snapshot::MergedName;
use crate::namespace::walk::DirStack;
use crate::ops::lookup::Lookup;
use crate::types::{DirEntry, Kind, NodeId, RealId};

/// Takes entries, each with a reference to its node if attributes are wanted; breaking says that the entry was not taken.
pub type Visit<'v> = dyn FnMut(DirEntry, Option<NodeRef<'_>>) -> ControlFlow<()> + 'v;

/// A name to show.
struct Listed<'a> {
    name: &'a OsStr,
    cookie: u64,
    /// The lowerdirs that may have it, by their position in the directory's stack; `None`: any.
    lowers: Option<&'a [u16]>,
}

impl Lookup {
    /// [`Union::read_dir`](crate::Union::read_dir).
    pub(in crate::ops) fn read_dir(
        &self,
        id: NodeId,
        cookie: u64,
        attributes: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        let (node, stack) = self.dir_node(id)?;
        if node.peek_dir(|directory| directory.removed) == Some(true) {
            return Ok(());
        }
        let is_merged =
            || node.peek_dir(|dir| cookie::is_merged(cookie, dir.spots.as_deref())).unwrap_or(false);
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
    pub(in crate::ops) fn is_empty(&self, node: &Arc<Node>) -> Result<bool> {
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
        let start = match spot_in(node, cookie, offsets) {
            Spot::Beginning => 0,
            Spot::Offset(offset) => offset,
            Spot::Position(_) | Spot::Name(..) | Spot::End => return Ok(()),
        };
        let fd = self.nodes.dirs.open_for_reading(dir)?;
        let mut outcome = Ok(());
        let mut own = start;
        self.store.read_dir(fd.as_fd(), start, &mut |raw| {
            let cookie = match offsets.tells_apart(own, raw.next) {
                true => offsets.cookie_of(raw.next),
                false => remember(node, Spot::Offset(raw.next)),
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
        let place = spot_in(node, cookie, Offsets::Unknown);
        let after = match &place {
            Spot::Beginning => 0,
            Spot::Position(position) | Spot::Name(position, _) => *position,
            Spot::Offset(_) | Spot::End => return Ok(()),
        };
        for (position, name) in [(DOT, "."), (DOT_DOT, "..")] {
            let name = Listed { name: OsStr::new(name), cookie: cookie::of_position(position), lowers: None };
            if after < position && self.visit_name(node, name, attributes, visit)?.is_break() {
                return Ok(());
            }
        }
        let snapshot = self.snapshot(node, stack, place == Spot::Beginning)?;
        let mut show = |entry: MergedName<'_>| {
            let cookie = match entry.shares {
                true => remember(node, Spot::Name(entry.position, entry.name.into())),
                false => cookie::of_position(entry.position),
            };
            let name = Listed { name: entry.name, cookie, lowers: Some(entry.lowers) };
            self.visit_name(node, name, attributes, visit)
        };
        let mut names: Box<dyn Iterator<Item = MergedName<'_>>> = match &place {
            Spot::Name(position, name) => Box::new(snapshot.after_name(*position, name)),
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
}

fn spot_in(node: &Node, cookie: u64, offsets: Offsets) -> Spot {
    node.peek_dir(|directory| cookie::spot(cookie, offsets, directory.spots.as_deref())).unwrap_or(Spot::End)
}

/// The number of a place that has to be remembered.
fn remember(node: &Node, spot: Spot) -> u64 {
    node.with_dir(|directory| directory.spots.get_or_insert_default().remember(spot)).unwrap_or(0)
}
