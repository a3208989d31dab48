//! Listing directories. There are no directory handles, so a cookie says all there is to know about a listing.
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
use crate::layer::dir::RealDir;
use crate::layer::marker;
use crate::layer::stack::Offsets;
use crate::namespace::node::Node;
use crate::namespace::snapshot::{self, Collector, Snapshot};
use crate::namespace::walk::DirStack;
use crate::types::{DirEntry, Kind, NodeId};

/// Cookies of merged listings have this bit, those of streams do not. Both stay positive, as `telldir(3)` wants them.
const HASHED: u64 = 1 << snapshot::POSITION_BITS;
const PAYLOAD: u64 = HASHED - 1;
/// The payload behind the last entry of a stream.
const END: u64 = PAYLOAD;
const DOT: u64 = 1;
const DOT_DOT: u64 = 2;

/// Takes entries; breaking says that the entry was not taken.
pub type Visit<'v> = dyn FnMut(DirEntry) -> ControlFlow<()> + 'v;

impl Union {
    /// Lists a directory from `cookie` (0: the beginning) until `visit` breaks or the directory ends. With `attributes`, each
    /// entry's node is referenced once more, except `.` and `..` and an entry that was not taken.
    ///
    /// An entry that is neither added nor removed while a listing goes on appears in it exactly once.
    pub fn read_dir(&self, id: NodeId, cookie: u64, attributes: bool, visit: &mut Visit<'_>) -> Result<()> {
        let (node, stack) = self.dir_node(id)?;
        if node.peek_dir(|directory| directory.removed) == Some(true) {
            return Ok(());
        }
        let streamed = match (cookie, stack.sole()) {
            (0, Some(sole)) if self.dirs.offsets(sole)? != Offsets::Unknown => Some(sole),
            (0, _) => None,
            (cookie, _) if cookie & HASHED != 0 => None,
            // The directory was copied up since: the listing goes on in the layer it began in.
            (_, sole) => sole.or_else(|| stack.lowers.first()),
        };
        match streamed.cloned() {
            Some(dir) => self.stream(&node, &dir, cookie, attributes, visit),
            None => self.list_merged(&node, &stack, cookie & PAYLOAD, attributes, visit),
        }
    }

    /// Whether the union shows nothing in a directory.
    pub(super) fn is_empty(&self, node: &Arc<Node>) -> Result<bool> {
        let mut empty = true;
        self.read_dir(node.id, 0, false, &mut |entry| {
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
        let offsets = self.dirs.offsets(dir)?;
        let Some(start) = offsets.offset_of(cookie) else {
            return Ok(());
        };
        let fd = self.dirs.open_for_reading(dir)?;
        let mut outcome = Ok(());
        self.store.read_dir(fd.as_fd(), start, &mut |raw| {
            let name = Listed { name: raw.name, cookie: offsets.cookie_of(raw.next), lowers: None };
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
        after: u64,
        attributes: bool,
        visit: &mut Visit<'_>,
    ) -> Result<()> {
        for (position, name) in [(DOT, "."), (DOT_DOT, "..")] {
            let name = Listed { name: OsStr::new(name), cookie: HASHED | position, lowers: None };
            if after < position && self.visit_name(node, name, attributes, visit)?.is_break() {
                return Ok(());
            }
        }
        let snapshot = self.snapshot(node, stack, after == 0)?;
        for entry in snapshot.after(after) {
            let name =
                Listed { name: entry.name, cookie: HASHED | entry.position, lowers: Some(entry.lowers) };
            if self.visit_name(node, name, attributes, visit)?.is_break() {
                break;
            }
        }
        Ok(())
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
            return Ok(visit(plain(node.id)));
        }
        if name == ".." {
            return Ok(visit(plain(node.link().map_or(NodeId::ROOT, |link| link.parent.id))));
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
                return Ok(visit(DirEntry { kind, ..plain(self.table.numbers().counted()) }));
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
        let flow = visit(entry);
        if flow.is_break() || !attributes {
            self.forget(attr.node, 1);
        }
        Ok(flow)
    }

    /// The names in a merged directory. A listing that begins sees them as they are; one that goes on is content with those of
    /// its beginning, because what is gone meanwhile is noticed name by name.
    pub(super) fn snapshot(&self, node: &Node, stack: &DirStack, fresh: bool) -> Result<Arc<Snapshot>> {
        let changes = node.peek_dir(|directory| directory.changes).unwrap_or(0);
        if let Some(known) = self.snapshots.get(node.id)
            && (!fresh || known.changes == changes)
        {
            return Ok(known);
        }
        let mut names = Collector::default();
        for dir in stack.all() {
            let lower = dir.layer().index.checked_sub(1).map(|_| names.next_lower());
            self.collect(dir, lower, &mut names)?;
        }
        let snapshot = Arc::new(names.finish(changes));
        self.snapshots.insert(node.id, snapshot.clone());
        Ok(snapshot)
    }

    fn collect(&self, dir: &Arc<RealDir>, lower: Option<u16>, names: &mut Collector) -> Result<()> {
        let fd = self.dirs.open_for_reading(dir)?;
        let mut marks = false;
        self.store.read_dir(fd.as_fd(), 0, &mut |raw| {
            if raw.name == "." || raw.name == ".." {
                return ControlFlow::Continue(());
            }
            match raw.name.as_bytes().strip_prefix(marker::AUFS_PREFIX) {
                // The mark concerns the name it hides: that layer must be asked for it.
                Some(hidden) => {
                    marks = true;
                    // `.wh.`, `.wh..` and `.wh...` would be this directory and its parent, which is no entry of it.
                    if !matches!(hidden, b"" | b"." | b"..") {
                        names.add(OsStr::from_bytes(hidden), lower);
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

/// How a layer's directory offsets become cookies, which have one bit less.
impl Offsets {
    fn cookie_of(self, offset: u64) -> u64 {
        match self {
            // Offsets of ext4 are 63-bit hashes; the last bit only tells apart entries whose hashes differ in nothing else.
            Self::Hashes => offset >> 1,
            Self::Small | Self::Unknown => offset.min(END),
        }
    }

    /// `None` at the end of the directory.
    fn offset_of(self, cookie: u64) -> Option<u64> {
        match self {
            _ if cookie == END => None,
            Self::Hashes => Some(cookie << 1),
            Self::Small | Self::Unknown => Some(cookie),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_the_way_through_a_cookie() {
        for offset in [2u64, 4, 1 << 40] {
            assert_eq!(Offsets::Small.offset_of(Offsets::Small.cookie_of(offset)), Some(offset));
            assert_eq!(Offsets::Hashes.offset_of(Offsets::Hashes.cookie_of(offset)), Some(offset));
        }
        let last = i64::MAX.cast_unsigned();
        assert_eq!(Offsets::Small.offset_of(Offsets::Small.cookie_of(last)), None);
        assert_eq!(Offsets::Hashes.offset_of(Offsets::Hashes.cookie_of(last)), None);
    }
}
