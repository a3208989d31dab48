//! The names in merged directories: for listing them, and for knowing which layers need not be asked.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

use super::cookie::FIRST_POSITION;
use super::node::DirKey;
use crate::types::NodeId;

/// Where names stand in the order of merged listings: by a hash that nobody outside can foresee, or he could make names that
/// stand at one place.
#[derive(Debug, Default)]
pub struct Order(RandomState);

impl Order {
    /// The place of a name; several may have the same.
    pub fn position_of(&self, name: &OsStr) -> u32 {
        let hash = self.0.hash_one(name.as_bytes());
        // Neither the places of `.` and `..`, nor the one behind the last.
        let room = u64::from(super::cookie::END - FIRST_POSITION);
        FIRST_POSITION + u32::try_from(hash % room).unwrap_or(0)
    }
}

/// The names in a merged directory, by their positions, and by themselves where those are the same: an order that depends on
/// nothing but the names, for as long as the union is mounted.
#[derive(Debug)]
pub struct Snapshot {
    /// The directory's count of changes when this was taken.
    pub changes: u64,
    key: DirKey,
    entries: Vec<Entry>,
    names: Vec<u8>,
    lowers: Vec<u16>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    position: u32,
    /// Ends in `names` and `lowers`; the beginnings are the previous entry's ends.
    name_end: u32,
    lowers_end: u32,
}

/// One name of a snapshot.
#[derive(Debug, Clone, Copy)]
pub struct MergedName<'a> {
    /// The name.
    pub name: &'a OsStr,
    /// Its place in the order.
    pub position: u32,
    /// Others have the same place.
    pub shares: bool,
    /// The lowerdirs that have it or a mark that concerns it, by their position in the directory's stack, ascending. Lowerdirs
    /// do not change, so this stays true however old the snapshot is.
    pub lowers: &'a [u16],
}

impl Snapshot {
    /// The names after all that are at `position`, in order.
    pub fn after(&self, position: u32) -> impl Iterator<Item = MergedName<'_>> {
        let first = self.entries.partition_point(|entry| entry.position <= position);
        (first..self.entries.len()).map(|at| self.name(at))
    }

    /// The names after `name`, which is, or was, at `position`.
    pub fn after_name<'a>(&'a self, position: u32, name: &OsStr) -> impl Iterator<Item = MergedName<'a>> {
        let mut first = self.entries.partition_point(|entry| entry.position < position);
        while first < self.entries.len()
            && self.entries[first].position == position
            && self.name(first).name <= name
        {
            first += 1;
        }
        (first..self.entries.len()).map(|at| self.name(at))
    }

    /// The lowerdirs that may have a name; none when it is not in the snapshot.
    pub fn lowers_of(&self, name: &OsStr, order: &Order) -> &[u16] {
        let wanted = order.position_of(name);
        let first = self.entries.partition_point(|entry| entry.position < wanted);
        (first..self.entries.len())
            .map(|at| self.name(at))
            .take_while(|found| found.position == wanted)
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

    /// Bytes of memory, about.
    fn size(&self) -> usize {
        self.entries.len() * size_of::<Entry>() + self.names.len() + self.lowers.len() * size_of::<u16>()
    }

    fn name(&self, at: usize) -> MergedName<'_> {
        let entry = self.entries[at];
        let before = at.checked_sub(1).map(|before| self.entries[before]);
        let (name_start, lowers_start) = before.map_or((0, 0), |before| (before.name_end, before.lowers_end));
        let is_same = |other: &Entry| other.position == entry.position;
        MergedName {
            name: OsStr::from_bytes(&self.names[name_start as usize..entry.name_end as usize]),
            position: entry.position,
            shares: before.as_ref().is_some_and(is_same) || self.entries.get(at + 1).is_some_and(is_same),
            lowers: &self.lowers[lowers_start as usize..entry.lowers_end as usize],
        }
    }
}

/// Gathers names, layer by layer.
#[derive(Debug)]
pub struct Collector<'o> {
    order: &'o Order,
    found: Vec<(u32, Box<OsStr>, Option<u16>)>,
    lowers: u16,
}

impl<'o> Collector<'o> {
    /// Nothing gathered yet.
    pub fn new(order: &'o Order) -> Self {
        Self { order, found: Vec::new(), lowers: 0 }
    }

    /// The position of the next lowerdir in the directory's stack.
    pub fn next_lower(&mut self) -> u16 {
        let next = self.lowers;
        self.lowers += 1;
        next
    }

    /// Adds a name that a layer has; `lower` is the position of a lowerdir, `None` for the upperdir.
    pub fn add(&mut self, name: &OsStr, lower: Option<u16>) {
        self.found.push((self.order.position_of(name), name.into(), lower));
    }

    /// Brings the names into order, each once.
    pub fn finish(mut self, key: DirKey, changes: u64) -> Snapshot {
        self.found.sort_unstable();
        let mut snapshot =
            Snapshot { changes, key, entries: Vec::new(), names: Vec::new(), lowers: Vec::new() };
        let mut last: Option<Box<OsStr>> = None;
        for (position, name, lower) in self.found {
            if last.as_ref() != Some(&name) {
                snapshot.names.extend_from_slice(name.as_bytes());
                let name_end = u32::try_from(snapshot.names.len()).unwrap_or(u32::MAX);
                let lowers_end = u32::try_from(snapshot.lowers.len()).unwrap_or(u32::MAX);
                snapshot.entries.push(Entry { position, name_end, lowers_end });
                last = Some(name);
            }
            snapshot.lowers.extend(lower);
            if let Some(entry) = snapshot.entries.last_mut() {
                entry.lowers_end = u32::try_from(snapshot.lowers.len()).unwrap_or(u32::MAX);
            }
        }
        snapshot
    }
}

/// Snapshots of recently used merged directories.
#[derive(Debug)]
pub struct Snapshots(Mutex<Kept>);

#[derive(Debug)]
struct Kept {
    recent: LruCache<u64, Arc<Snapshot>>,
    size: usize,
    /// Those that had to make room for others, and how often they were missed since.
    crowded_out: HashMap<u64, u32>,
}

/// Bytes kept in all snapshots together, unless a single directory has more: two and a half million names.
const MOST_BYTES: usize = 64 << 20;

const MOST_SNAPSHOTS: NonZeroUsize = NonZeroUsize::MIN.saturating_add(255);

/// How often a directory whose names were crowded out does without them before they are read again: reading them may take longer
/// than asking each layer so often.
const MISSES: u32 = 256;

impl Default for Snapshots {
    fn default() -> Self {
        let recent = LruCache::new(MOST_SNAPSHOTS);
        Self(Mutex::new(Kept { recent, size: 0, crowded_out: HashMap::new() }))
    }
}

impl Kept {
    fn pop(&mut self, popped: Option<(u64, Arc<Snapshot>)>) -> Option<(u64, Arc<Snapshot>)> {
        if let Some((_, snapshot)) = &popped {
            self.size -= snapshot.size();
        }
        popped
    }
}

impl Snapshots {
    /// The snapshot of a directory, if it is kept.
    pub fn get(&self, id: NodeId, key: DirKey) -> Option<Arc<Snapshot>> {
        // One that was taken of the number's earlier owner, and kept when that was forgotten already.
        self.0.lock().recent.get(&id.0).filter(|kept| kept.key == key).cloned()
    }

    /// Whether reading a directory's names for a single lookup is not worth it: they were just crowded out by others'.
    pub fn is_crowded_out(&self, id: NodeId) -> bool {
        let mut kept = self.0.lock();
        let Some(misses) = kept.crowded_out.get_mut(&id.0) else { return false };
        *misses += 1;
        if *misses < MISSES {
            return true;
        }
        kept.crowded_out.remove(&id.0);
        false
    }

    /// Keeps a snapshot, giving up the least recently used ones.
    pub fn insert(&self, id: NodeId, snapshot: Arc<Snapshot>) {
        let mut evicted = Vec::new();
        {
            let mut kept = self.0.lock();
            kept.crowded_out.remove(&id.0);
            kept.size += snapshot.size();
            let pushed = kept.recent.push(id.0, snapshot);
            evicted.extend(kept.pop(pushed));
            while kept.recent.len() > 1 && kept.size > MOST_BYTES {
                let popped = kept.recent.pop_lru();
                let popped = kept.pop(popped);
                if let Some((id, _)) = &popped {
                    kept.crowded_out.insert(*id, 0);
                }
                evicted.extend(popped);
            }
            if kept.crowded_out.len() > MOST_SNAPSHOTS.get() {
                kept.crowded_out.clear();
            }
        }
        drop(evicted);
    }

    /// Gives the snapshot of a directory up.
    pub fn forget(&self, id: NodeId) {
        let mut kept = self.0.lock();
        kept.crowded_out.remove(&id.0);
        let popped = kept.recent.pop_entry(&id.0);
        let forgotten = kept.pop(popped);
        drop(kept);
        drop(forgotten);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn snapshot(order: &Order, names: impl Iterator<Item = (usize, Option<u16>)>) -> Snapshot {
        let mut collector = Collector::new(order);
        names.for_each(|(n, lower)| collector.add(OsStr::new(&format!("name-{n}")), lower));
        collector.finish(DirKey::new(), 0)
    }

    /// A directory in which all names stand at one place.
    fn crowd(names: usize) -> Snapshot {
        let order = Order::default();
        let mut collector = Collector::new(&order);
        for n in 0..names {
            collector.found.push((77, OsStr::new(&format!("{n:05}")).into(), Some(0)));
        }
        collector.finish(DirKey::new(), 0)
    }

    #[test]
    fn positions_fit_and_are_in_order() {
        let order = Order::default();
        let snapshot = snapshot(&order, (0..50_000).map(|n| (n, None)));
        let positions: Vec<u32> = snapshot.after(0).map(|name| name.position).collect();
        assert_eq!(positions.len(), 50_000);
        assert!(positions.is_sorted());
        assert!(positions.iter().all(|&position| position >= FIRST_POSITION));
        assert!(positions.iter().all(|&position| position < super::super::cookie::END));
    }

    #[test]
    fn the_order_is_another_one_for_each_union() {
        let positions = || (0..10).map(|_| Order::default().position_of(OsStr::new("name")));
        let distinct: HashSet<u32> = positions().collect();
        assert!(distinct.len() > 1);
    }

    #[test]
    fn a_listing_goes_on_after_a_position_whatever_was_added() {
        let order = Order::default();
        let before = snapshot(&order, (0..100).map(|n| (n, None)));
        let position = before.after(0).nth(40).unwrap().position;
        let rest: Vec<_> = before.after(position).map(|name| name.name.to_owned()).collect();
        let later = snapshot(&order, (0..200).map(|n| (n, None)));
        let continued: Vec<_> = later.after(position).map(|name| name.name.to_owned()).collect();
        assert_eq!(rest.len(), 59);
        assert!(rest.iter().all(|name| continued.contains(name)));
    }

    #[test]
    fn names_at_one_place_are_told_apart() {
        let snapshot = crowd(1000);
        assert!(snapshot.after(0).all(|name| name.shares));
        assert_eq!(snapshot.after(77).count(), 0);
        assert_eq!(snapshot.after_name(77, OsStr::new("00499")).count(), 500);
        // One that was removed meanwhile.
        assert_eq!(snapshot.after_name(77, OsStr::new("00499x")).count(), 500);
    }

    #[test]
    fn a_snapshot_knows_which_lowerdirs_have_a_name() {
        let order = Order::default();
        let names = [(1, None), (1, Some(0)), (2, Some(3)), (1, Some(7)), (3, None)];
        let snapshot = snapshot(&order, names.into_iter());
        let lowers_of = |name: &str| snapshot.lowers_of(OsStr::new(name), &order);
        assert_eq!(snapshot.len(), 3);
        assert_eq!(lowers_of("name-1"), &[0, 7]);
        assert_eq!(lowers_of("name-2"), &[3]);
        assert!(lowers_of("name-3").is_empty());
        assert!(lowers_of("other").is_empty());
    }

    #[test]
    fn one_of_another_directory_of_the_same_number_is_not_taken() {
        let snapshots = Snapshots::default();
        let snapshot = Arc::new(snapshot(&Order::default(), [(1, None)].into_iter()));
        let key = snapshot.key;
        snapshots.insert(NodeId(7), snapshot);
        assert!(snapshots.get(NodeId(7), key).is_some());
        assert!(snapshots.get(NodeId(7), DirKey::new()).is_none());
    }

    #[test]
    fn two_large_directories_have_room_and_a_third_does_not_thrash() {
        let snapshots = Snapshots::default();
        let order = Order::default();
        let large = || Arc::new(snapshot(&order, (0..600_000).map(|n| (n, Some(0)))));
        let all = [large(), large(), large()];
        for (id, snapshot) in all.iter().enumerate() {
            snapshots.insert(NodeId(id as u64), snapshot.clone());
        }
        assert!(all[0].size() < 20_000_000, "{}", all[0].size());
        assert!(snapshots.get(NodeId(0), all[0].key).is_some());
        for id in 3..5 {
            snapshots.insert(NodeId(id), large());
        }
        assert!(snapshots.is_crowded_out(NodeId(1)));
        let asked = (0..10_000).filter(|_| snapshots.is_crowded_out(NodeId(1))).count();
        assert_eq!(asked as u32, MISSES - 2, "then it is read again");
    }
}
