//! Inode numbers of the union.
//!
//! JavaScript, JSON and old tools keep integers up to 2^53, and programs of 32 bits up to 2^32, so numbers are kept small: that of a
//! file is its real inode number, with several filesystems times their count plus the position of its own. What does not fit,
//! and what lies on a filesystem inside a layer (a btrfs subvolume, say), has a number from 2^52 on, which no other file has.

use std::collections::{HashMap, HashSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::format::origin;
use crate::layer::stack::{Filesystem, LayerInfo};
use crate::types::{NodeId, RealId, Stat};

/// Numbers below are made of real ones.
const HIGH: u64 = 1 << 52;
/// Filesystems inside layers have so many numbers each, and the first place is for what fits nowhere.
const ROOM: u64 = 1 << 37;
const PLACES: u64 = HIGH / ROOM;

/// Gives out the numbers.
#[derive(Debug)]
pub struct Numbers {
    filesystems: Vec<Filesystem>,
    odd: Mutex<Odd>,
    /// Whether any file's number is kept: most unions have none.
    keeps: AtomicBool,
}

/// What is not calculated from a file's own number and its layer alone.
#[derive(Debug, Default)]
struct Odd {
    /// Filesystems inside layers, by device number.
    inner: HashMap<u64, u64>,
    /// Files whose number stays theirs, also when the kernel has forgotten them.
    kept: HashMap<RealId, NodeId>,
    taken: HashSet<u64>,
}

impl Numbers {
    /// Numbers for layers on these filesystems.
    pub fn new(filesystems: Vec<Filesystem>) -> Self {
        Self { filesystems, odd: Mutex::default(), keeps: AtomicBool::new(false) }
    }

    /// The number of a file that `stat` was read of in `layer`; `None` when it fits nowhere, see [`Numbers::odd`].
    pub fn of(&self, layer: &LayerInfo, stat: &Stat) -> Option<NodeId> {
        if stat.dev == layer.dev {
            return self.compose(layer.filesystem, stat.ino);
        }
        let place = self.odd.lock().inner.get(&stat.dev).copied()?;
        (stat.ino < ROOM).then(|| NodeId(HIGH + place * ROOM + stat.ino))
    }

    /// Whether numbers of files on a filesystem inside `layer` can be calculated.
    pub fn knows(&self, layer: &LayerInfo, dev: u64) -> bool {
        dev == layer.dev || self.odd.lock().inner.contains_key(&dev)
    }

    /// Gives a filesystem inside a layer its numbers. `id` is what tells it from others at every mount (`f_fsid`, statfs(2), which
    /// btrfs makes another one for each subvolume), so that numbers stay; where two come to the same place, the one that is seen first
    /// has it, and the other one the next.
    pub fn know(&self, dev: u64, id: u64) {
        let mut odd = self.odd.lock();
        let mut place = 1 + hash_of(id) % (PLACES - 1);
        // There are fewer filesystems on a machine.
        for _ in 1..PLACES {
            if !odd.inner.values().any(|taken| *taken == place) {
                break;
            }
            place = 1 + place % (PLACES - 1);
        }
        odd.inner.entry(dev).or_insert(place);
    }

    /// The number of a file that fits nowhere else: because it is too large (filesystems with 64-bit numbers of their own), or because
    /// another file has it. It stays for as long as the union is mounted, and nearly always at the next mount.
    pub fn odd(&self, real: RealId) -> NodeId {
        let mut odd = self.odd.lock();
        if let Some(kept) = odd.kept.get(&real) {
            return *kept;
        }
        let filesystem = self.filesystems.iter().position(|known| known.dev == real.dev);
        // Device numbers are others at the next mount.
        let mut place = hash_of((filesystem, filesystem.map_or(real.dev, |_| 0), real.ino)) % ROOM;
        while !odd.taken.insert(place) {
            place = (place + 1) % ROOM;
        }
        let number = NodeId(HIGH + place);
        odd.kept.insert(real, number);
        self.keeps.store(true, Ordering::Relaxed);
        number
    }

    /// The number that was given to a file for as long as the union is mounted, if there is one.
    pub fn kept(&self, real: RealId) -> Option<NodeId> {
        if self.keeps.load(Ordering::Relaxed) { self.odd.lock().kept.get(&real).copied() } else { None }
    }

    /// Lets a file have a number that could not be found again from what is on the disk.
    pub fn keep(&self, real: RealId, number: NodeId) {
        self.odd.lock().kept.insert(real, number);
        self.keeps.store(true, Ordering::Relaxed);
    }

    /// The file does not exist any more.
    pub fn give_up(&self, real: RealId) {
        if !self.keeps.load(Ordering::Relaxed) {
            return;
        }
        let mut odd = self.odd.lock();
        if let Some(number) = odd.kept.remove(&real) {
            odd.taken.remove(&number.0.wrapping_sub(HIGH));
        }
    }

    /// The number that a value of `overlay.origin` stands for; `None` when it names no file of our filesystems.
    pub fn of_origin(&self, value: &[u8]) -> Option<NodeId> {
        let origin = origin::decode(value)?;
        let mut matching = self.filesystems.iter().enumerate().filter(|(_, known)| known.uuid == origin.uuid);
        let (position, filesystem) = matching.next()?;
        if matching.next().is_some() || filesystem.subvolume != origin::subvolume(origin.kind, origin.bytes) {
            return None;
        }
        let ino = filesystem.decoder?.ino(origin.bytes)?;
        self.compose(u16::try_from(position).ok()?, ino)
    }

    /// The number that a file of the upperdir has by its own inode.
    pub fn of_upper_ino(&self, real: RealId) -> Option<NodeId> {
        let position = self.filesystems.iter().position(|known| known.dev == real.dev)?;
        self.compose(u16::try_from(position).ok()?, real.ino)
    }

    /// What is known of the filesystem of a layer.
    pub fn filesystem(&self, layer: &LayerInfo) -> Option<&Filesystem> {
        self.filesystems.get(usize::from(layer.filesystem))
    }

    fn compose(&self, filesystem: u16, ino: u64) -> Option<NodeId> {
        let count = u64::try_from(self.filesystems.len()).unwrap_or(u64::MAX).max(1);
        let number = ino.checked_mul(count)?.checked_add(filesystem.into())?;
        // 0 means "no entry" in the FUSE protocol and 1 is the root.
        (number > 1 && number < HIGH).then_some(NodeId(number))
    }
}

/// The same at every mount.
fn hash_of(value: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u8) -> Numbers {
        let filesystem = |n: u8| Filesystem {
            dev: n.into(),
            uuid: [n; 16],
            decoder: None,
            handles: true,
            subvolume: None,
        };
        Numbers::new((0..count).map(filesystem).collect())
    }

    #[test]
    fn one_filesystem_keeps_its_numbers() {
        let numbers = numbers(1);
        assert_eq!(numbers.compose(0, 77), Some(NodeId(77)));
        assert_eq!(numbers.compose(0, 1), None);
        assert_eq!(numbers.compose(0, HIGH), None);
    }

    #[test]
    fn several_filesystems_never_share_a_number_and_small_ones_stay_small() {
        for count in [2, 3, 5, 200] {
            let numbers = numbers(count);
            let all: HashSet<_> = (0..u16::from(count))
                .flat_map(|filesystem| (900..1100).map(move |ino| (filesystem, ino)))
                .filter_map(|(filesystem, ino)| numbers.compose(filesystem, ino))
                .collect();
            assert_eq!(all.len(), usize::from(count) * 200);
            assert!(all.iter().all(|number| number.0 < 1100 * u64::from(count)));
        }
        assert_eq!(numbers(2).compose(1, HIGH / 2), None);
    }

    #[test]
    fn odd_numbers_differ_and_stay() {
        let all = numbers(2);
        let real = |ino| RealId { dev: 1, ino };
        let given: Vec<NodeId> = (0..1000).map(|n| all.odd(real(u64::MAX - n))).collect();
        assert_eq!(given.iter().collect::<HashSet<_>>().len(), 1000);
        assert!(given.iter().all(|number| (HIGH..HIGH + ROOM).contains(&number.0)));
        assert_eq!(all.odd(real(u64::MAX - 7)), given[7]);
        assert_eq!(all.kept(real(u64::MAX - 7)), Some(given[7]));
        // The same at the next mount.
        assert_eq!(numbers(2).odd(real(u64::MAX)), given[0]);
        all.give_up(real(u64::MAX));
        assert_eq!(all.kept(real(u64::MAX)), None);
    }

    #[test]
    fn filesystems_inside_a_layer_have_numbers_of_their_own() {
        let layer = |dev| crate::layer::stack::LayerInfo::for_tests(dev);
        let numbers = numbers(1);
        let stat = |dev, ino| Stat { dev, ino, ..Stat::default() };
        assert!(!numbers.knows(&layer(0), 50));
        // The same identity, so both come to one place.
        numbers.know(50, 1234);
        numbers.know(51, 1234);
        let all: HashSet<_> =
            [50, 51].iter().filter_map(|dev| numbers.of(&layer(0), &stat(*dev, 256))).collect();
        assert_eq!(all.len(), 2);
        assert!(all.iter().all(|number| (HIGH + ROOM..1 << 53).contains(&number.0)));
        let first = numbers.of(&layer(0), &stat(50, 256));
        let again = super::tests::numbers(1);
        again.know(99, 1234);
        assert_eq!(again.of(&layer(0), &stat(99, 256)), first);
    }
}
