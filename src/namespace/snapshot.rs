//! The names in merged directories: for listing them, and for knowing which layers need not be asked.

use std::ffi::OsStr;
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use crate::types::NodeId;

/// Positions of names are smaller than 2 to this power, and larger than 2, which leaves 1 and 2 to `.` and `..`.
pub const POSITION_BITS: u32 = 62;

/// Low bits of a position that tell names with the same hash apart.
const COLLISION_BITS: u32 = 6;

/// The names in a merged directory, in an order that depends on nothing but the names.
#[derive(Debug)]
pub struct Snapshot {
    /// The directory's count of changes when this was taken.
    pub changes: u64,
    entries: Vec<Entry>,
    names: Vec<u8>,
    lowers: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    position: u64,
    /// Ends in `names` and `lowers`; the beginnings are the previous entry's ends.
    name_end: usize,
    lowers_end: usize,
}

/// One name of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct Name<'a> {
    /// The name.
    pub name: &'a OsStr,
    /// Its place in the order.
    pub position: u64,
    /// The lowerdirs that have it or a mark that concerns it, by their position in the directory's stack, ascending. Lowerdirs
    /// do not change, so this stays true however old the snapshot is.
    pub lowers: &'a [u16],
}

impl Snapshot {
    /// The names after a position, in order.
    pub fn after(&self, position: u64) -> impl Iterator<Item = Name<'_>> {
        let first = self.entries.partition_point(|entry| entry.position <= position);
        (first..self.entries.len()).map(|at| self.name(at))
    }

    /// The lowerdirs that may have a name; none when it is not in the snapshot.
    pub fn lowers_of(&self, name: &OsStr) -> &[u16] {
        let wanted = position_of(name);
        let first = self.entries.partition_point(|entry| entry.position < wanted);
        (first..self.entries.len())
            .map(|at| self.name(at))
            .take_while(|found| found.position < wanted + (1 << COLLISION_BITS))
            .find(|found| found.name == name)
            .map_or(&[], |found| found.lowers)
    }

    /// The number of names.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there is no name.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn name(&self, at: usize) -> Name<'_> {
        let entry = self.entries[at];
        let (name_start, lowers_start) = match at.checked_sub(1).map(|before| self.entries[before]) {
            Some(before) => (before.name_end, before.lowers_end),
            None => (0, 0),
        };
        Name {
            name: OsStr::from_bytes(&self.names[name_start..entry.name_end]),
            position: entry.position,
            lowers: &self.lowers[lowers_start..entry.lowers_end],
        }
    }
}

/// Gathers names, layer by layer.
#[derive(Debug, Default)]
pub struct Collector {
    found: Vec<(u64, Box<OsStr>, Option<u16>)>,
    lowers: u16,
}

impl Collector {
    /// The position of the next lowerdir in the directory's stack.
    pub fn next_lower(&mut self) -> u16 {
        let next = self.lowers;
        self.lowers += 1;
        next
    }

    /// Adds a name that a layer has; `lower` is the position of a lowerdir, `None` for the upperdir.
    pub fn add(&mut self, name: &OsStr, lower: Option<u16>) {
        self.found.push((position_of(name), name.into(), lower));
    }

    /// Brings the names into order, each once.
    pub fn finish(mut self, changes: u64) -> Snapshot {
        self.found.sort_unstable();
        let mut snapshot = Snapshot { changes, entries: Vec::new(), names: Vec::new(), lowers: Vec::new() };
        let mut last: Option<Box<OsStr>> = None;
        let mut free = 0;
        for (position, name, lower) in self.found {
            if last.as_ref() != Some(&name) {
                // Names whose hashes collide take the following positions.
                let position = position.max(free);
                free = position + 1;
                snapshot.names.extend_from_slice(name.as_bytes());
                let (name_end, lowers_end) = (snapshot.names.len(), snapshot.lowers.len());
                snapshot.entries.push(Entry { position, name_end, lowers_end });
                last = Some(name);
            }
            snapshot.lowers.extend(lower);
            if let Some(entry) = snapshot.entries.last_mut() {
                entry.lowers_end = snapshot.lowers.len();
            }
        }
        snapshot
    }
}

/// The place of a name in a merged listing; the same at every mount.
fn position_of(name: &OsStr) -> u64 {
    // FNV-1a with a finishing mix: fixed for ever, unlike the hashers of the standard library.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for &byte in name.as_bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    }
    hash = (hash ^ (hash >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
    let highest = (1 << (POSITION_BITS - 1)) - 1;
    (((hash >> (2 + COLLISION_BITS)) << COLLISION_BITS) & highest).max(1 << COLLISION_BITS)
}

/// Snapshots of recently used merged directories.
#[derive(Debug)]
pub struct Snapshots {
    recent: Mutex<LruCache<u64, Arc<Snapshot>>>,
}

/// Names kept in all snapshots together, unless a single directory has more.
const MOST_NAMES: usize = 1_000_000;

const MOST_SNAPSHOTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

impl Default for Snapshots {
    fn default() -> Self {
        Self { recent: Mutex::new(LruCache::new(MOST_SNAPSHOTS)) }
    }
}

impl Snapshots {
    /// The snapshot of a directory, if it is kept.
    pub fn get(&self, id: NodeId) -> Option<Arc<Snapshot>> {
        self.recent.lock().get(&id.0).cloned()
    }

    /// Keeps a snapshot, giving up the least recently used ones.
    pub fn insert(&self, id: NodeId, snapshot: Arc<Snapshot>) {
        let mut evicted = Vec::new();
        {
            let mut recent = self.recent.lock();
            evicted.extend(recent.push(id.0, snapshot));
            let names =
                |recent: &LruCache<u64, Arc<Snapshot>>| recent.iter().map(|kept| kept.1.len()).sum::<usize>();
            while recent.len() > 1 && names(&recent) > MOST_NAMES {
                evicted.extend(recent.pop_lru());
            }
        }
        drop(evicted);
    }

    /// Gives the snapshot of a directory up.
    pub fn forget(&self, id: NodeId) {
        let forgotten = self.recent.lock().pop(&id.0);
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(names: impl Iterator<Item = (usize, Option<u16>)>) -> Snapshot {
        let mut collector = Collector::default();
        names.for_each(|(n, lower)| collector.add(OsStr::new(&format!("name-{n}")), lower));
        collector.finish(0)
    }

    #[test]
    fn positions_fit_into_cookies_and_differ() {
        let snapshot = snapshot((0..50_000).map(|n| (n, None)));
        let positions: Vec<u64> = snapshot.after(0).map(|name| name.position).collect();
        assert_eq!(positions.len(), 50_000);
        assert!(positions.windows(2).all(|pair| pair[0] < pair[1]));
        assert!(positions.iter().all(|&position| position > 2 && position < 1 << POSITION_BITS));
    }

    #[test]
    fn a_listing_goes_on_after_a_position_whatever_was_added() {
        let before = snapshot((0..100).map(|n| (n, None)));
        let position = before.after(0).nth(40).unwrap().position;
        let rest: Vec<_> = before.after(position).map(|name| name.name.to_owned()).collect();
        let later = snapshot((0..200).map(|n| (n, None)));
        let continued: Vec<_> = later.after(position).map(|name| name.name.to_owned()).collect();
        assert_eq!(rest.len(), 59);
        assert!(rest.iter().all(|name| continued.contains(name)));
    }

    #[test]
    fn a_snapshot_knows_which_lowerdirs_have_a_name() {
        let snapshot = snapshot([(1, None), (1, Some(0)), (2, Some(3)), (1, Some(7)), (3, None)].into_iter());
        assert_eq!(snapshot.len(), 3);
        assert_eq!(snapshot.lowers_of(OsStr::new("name-1")), &[0, 7]);
        assert_eq!(snapshot.lowers_of(OsStr::new("name-2")), &[3]);
        assert!(snapshot.lowers_of(OsStr::new("name-3")).is_empty());
        assert!(snapshot.lowers_of(OsStr::new("other")).is_empty());
    }
}
