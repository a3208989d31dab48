//! Listing directories. There are no directory handles, so a cookie says all there is to know about a listing.
//!
//! A directory that only one layer has is streamed with that layer's own offsets. A merged one is listed in the order of a hash
//! of the names, so that a cookie stays good whatever is added, removed or forgotten meanwhile.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::Union;
use crate::error::Result;
use crate::layer::dir::RealDir;
use crate::layer::marker;
use crate::layer::stack::Offsets;
use crate::namespace::node::Node;
use crate::namespace::walk::DirStack;
use crate::types::{DirEntry, Kind, NodeId};

/// Cookies of merged listings have this bit, those of streams do not. Both stay positive, as `telldir(3)` wants them.
const HASHED: u64 = 1 << 62;
const PAYLOAD: u64 = HASHED - 1;
/// The payload behind the last entry of a stream.
const END: u64 = PAYLOAD;
/// Low bits of a merged cookie that tell names with the same hash apart.
const COLLISION_BITS: u32 = 6;
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
        let streamed = match (cookie, stack.sole()) {
            (0, sole) => sole.filter(|dir| dir.layer().offsets != Offsets::Unknown),
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
        let offsets = dir.layer().offsets;
        let Some(start) = offsets.from_cookie(cookie) else {
            return Ok(());
        };
        let fd = self.dirs.open_for_reading(dir)?;
        let mut outcome = Ok(());
        self.store.read_dir(fd.as_fd(), start, &mut |raw| {
            let next = offsets.to_cookie(raw.next);
            match self.visit_name(node, raw.name, next, attributes, visit) {
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
            if after < position
                && self.visit_name(node, OsStr::new(name), HASHED | position, attributes, visit)?.is_break()
            {
                return Ok(());
            }
        }
        let snapshot = self.snapshot(node, stack, after == 0)?;
        for (position, name) in snapshot.after(after) {
            if self.visit_name(node, name, HASHED | position, attributes, visit)?.is_break() {
                break;
            }
        }
        Ok(())
    }

    /// Shows one name to `visit`, if the union shows it.
    fn visit_name(
        &self,
        node: &Arc<Node>,
        name: &OsStr,
        cookie: u64,
        attributes: bool,
        visit: &mut Visit<'_>,
    ) -> Result<ControlFlow<()>> {
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
        let stack = self.dir_stack(node)?;
        let located = self.locate(node, &stack, &shared)?;
        let Some(adopted) = self.adopt(node, &shared, located)? else {
            return Ok(ControlFlow::Continue(()));
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
    fn snapshot(&self, node: &Arc<Node>, stack: &DirStack, fresh: bool) -> Result<Arc<Snapshot>> {
        let changes = node.peek_dir(|directory| directory.changes).unwrap_or(0);
        if let Some(known) = self.snapshots.get(node.id)
            && (!fresh || known.changes == changes)
        {
            return Ok(known);
        }
        let mut names = Vec::new();
        for dir in stack.all() {
            let fd = self.dirs.open_for_reading(dir)?;
            let mut marks = false;
            self.store.read_dir(fd.as_fd(), 0, &mut |raw| {
                marks |= marker::is_aufs_mark(raw.name);
                if raw.name != "." && raw.name != ".." && !marker::is_aufs_mark(raw.name) {
                    names.push(raw.name.into());
                }
                ControlFlow::Continue(())
            })?;
            if !marks {
                dir.has_no_aufs_marks();
            }
        }
        let snapshot = Arc::new(Snapshot::new(changes, names));
        self.snapshots.insert(node.id, snapshot.clone());
        Ok(snapshot)
    }
}

/// How a layer's directory offsets become cookies, which have one bit less.
impl Offsets {
    fn to_cookie(self, offset: u64) -> u64 {
        match self {
            // Offsets of ext4 are 63-bit hashes; the last bit only tells apart entries whose hashes differ in nothing else.
            Self::Hashes => offset >> 1,
            Self::Small | Self::Unknown => offset.min(END),
        }
    }

    /// `None` at the end of the directory.
    fn from_cookie(self, cookie: u64) -> Option<u64> {
        match self {
            _ if cookie == END => None,
            Self::Hashes => Some(cookie << 1),
            Self::Small | Self::Unknown => Some(cookie),
        }
    }
}

/// The names in a merged directory, ordered by hash.
#[derive(Debug)]
struct Snapshot {
    /// The directory's count of changes when this was taken.
    changes: u64,
    entries: Vec<(u64, Box<OsStr>)>,
}

impl Snapshot {
    fn new(changes: u64, names: Vec<Box<OsStr>>) -> Self {
        let mut entries: Vec<(u64, Box<OsStr>)> =
            names.into_iter().map(|name| (position(&name), name)).collect();
        entries.sort_unstable();
        entries.dedup();
        // Names whose hashes collide take the following positions.
        for at in 1..entries.len() {
            let previous = entries[at - 1].0;
            if entries[at].0 <= previous {
                entries[at].0 = previous + 1;
            }
        }
        Self { changes, entries }
    }

    fn after(&self, position: u64) -> impl Iterator<Item = (u64, &OsStr)> {
        let first = self.entries.partition_point(|entry| entry.0 <= position);
        self.entries[first..].iter().map(|(position, name)| (*position, &**name))
    }
}

/// The place of a name in a merged listing; the same at every mount.
fn position(name: &OsStr) -> u64 {
    // FNV-1a with a finishing mix: fixed for ever, unlike the hashers of the standard library.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in name.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    (((hash >> (2 + COLLISION_BITS)) << COLLISION_BITS) & (PAYLOAD >> 1)).max(1 << COLLISION_BITS)
}

/// Snapshots of recently listed merged directories.
#[derive(Debug)]
pub(super) struct Snapshots {
    recent: Mutex<LruCache<u64, Arc<Snapshot>>>,
}

/// Names kept in all snapshots together, unless a single directory has more.
const MOST_NAMES: usize = 1_000_000;

const RECENT: NonZeroUsize = NonZeroUsize::new(32).unwrap();

impl Default for Snapshots {
    fn default() -> Self {
        Self { recent: Mutex::new(LruCache::new(RECENT)) }
    }
}

impl Snapshots {
    fn get(&self, id: NodeId) -> Option<Arc<Snapshot>> {
        self.recent.lock().get(&id.0).cloned()
    }

    fn insert(&self, id: NodeId, snapshot: Arc<Snapshot>) {
        let mut evicted = Vec::new();
        {
            let mut recent = self.recent.lock();
            evicted.extend(recent.push(id.0, snapshot));
            while recent.len() > 1
                && recent.iter().map(|(_, kept)| kept.entries.len()).sum::<usize>() > MOST_NAMES
            {
                evicted.extend(recent.pop_lru());
            }
        }
        drop(evicted);
    }

    pub(super) fn forget(&self, id: NodeId) {
        let forgotten = self.recent.lock().pop(&id.0);
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cookies_stay_positive_and_apart() {
        let names: Vec<Box<OsStr>> =
            (0..50_000).map(|n| Box::from(OsStr::new(&format!("name-{n}")))).collect();
        let snapshot = Snapshot::new(0, names);
        assert_eq!(snapshot.entries.len(), 50_000);
        assert!(snapshot.entries.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert!(snapshot.entries.iter().all(|entry| entry.0 > DOT_DOT && entry.0 < PAYLOAD));
    }

    #[test]
    fn a_listing_goes_on_after_a_cookie_whatever_changed() {
        let name = |n: usize| -> Box<OsStr> { Box::from(OsStr::new(&format!("f{n}"))) };
        let before = Snapshot::new(0, (0..100).map(name).collect());
        let cookie = before.entries[40].0;
        let rest: Vec<_> = before.after(cookie).map(|(_, name)| name.to_owned()).collect();
        let after = Snapshot::new(1, (0..200).map(name).collect());
        let continued: Vec<_> = after.after(cookie).map(|(_, name)| name.to_owned()).collect();
        assert_eq!(rest.len(), 59);
        assert!(rest.iter().all(|name| continued.contains(name)));
    }

    #[test]
    fn offsets_survive_the_way_through_a_cookie() {
        for offset in [2u64, 4, 1 << 40] {
            assert_eq!(Offsets::Small.from_cookie(Offsets::Small.to_cookie(offset)), Some(offset));
            assert_eq!(Offsets::Hashes.from_cookie(Offsets::Hashes.to_cookie(offset)), Some(offset));
        }
        let last = i64::MAX.cast_unsigned();
        assert_eq!(Offsets::Small.from_cookie(Offsets::Small.to_cookie(last)), None);
        assert_eq!(Offsets::Hashes.from_cookie(Offsets::Hashes.to_cookie(last)), None);
    }
}
