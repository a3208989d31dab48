//! Inode numbers of the union.
//!
//! With all layers on one filesystem a number is the real inode number of the file's origin. With several, a small filesystem
//! index goes into the high bits (the kernel's `xino`). Whatever does not fit gets a number from a counter with the top bit
//! set, which no real number has.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::layer::origin;
use crate::layer::stack::{Filesystem, LayerInfo};
use crate::types::{NodeId, RealId, Stat};

const COUNTED: u64 = 1 << 63;

/// Gives out the numbers.
#[derive(Debug)]
pub struct Numbers {
    filesystems: Vec<Filesystem>,
    /// How far the filesystem index is shifted; `None` with a single filesystem.
    shift: Option<u32>,
    next_counted: AtomicU64,
}

impl Numbers {
    /// Numbers for layers on these filesystems.
    pub fn new(filesystems: Vec<Filesystem>) -> Self {
        let shift = (filesystems.len() > 1).then(|| {
            let bits = usize::BITS - (filesystems.len() - 1).leading_zeros();
            63 - bits
        });
        Self { filesystems, shift, next_counted: AtomicU64::new(0) }
    }

    /// The number of a file that `stat` was read of in `layer`; `None` when it needs a counted one (also for what lies on
    /// another filesystem than its layer's root, e.g. a btrfs subvolume).
    pub fn of(&self, layer: &LayerInfo, stat: &Stat) -> Option<NodeId> {
        if stat.dev == layer.dev { self.compose(layer.filesystem, stat.ino) } else { None }
    }

    /// The number that a value of `overlay.origin` stands for; `None` when it names no file of our filesystems.
    pub fn of_origin(&self, value: &[u8]) -> Option<NodeId> {
        let origin = origin::decode(value)?;
        let mut matching = self.filesystems.iter().enumerate().filter(|(_, known)| known.uuid == origin.uuid);
        let (position, filesystem) = matching.next()?;
        if matching.next().is_some() {
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

    /// A number that no file has.
    pub fn counted(&self) -> NodeId {
        NodeId(COUNTED | self.next_counted.fetch_add(1, Ordering::Relaxed))
    }

    /// What is known of the filesystem of a layer.
    pub fn filesystem(&self, layer: &LayerInfo) -> Option<&Filesystem> {
        self.filesystems.get(usize::from(layer.filesystem))
    }

    fn compose(&self, filesystem: u16, ino: u64) -> Option<NodeId> {
        let number = match self.shift {
            Some(shift) if ino < 1 << shift => u64::from(filesystem) << shift | ino,
            None if ino < COUNTED => ino,
            _ => return None,
        };
        // 0 means "no entry" in the FUSE protocol and 1 is the root.
        (number > 1).then_some(NodeId(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbers(count: u8) -> Numbers {
        let filesystem = |n: u8| Filesystem { dev: n.into(), uuid: [n; 16], decoder: None, handles: true };
        Numbers::new((0..count).map(filesystem).collect())
    }

    #[test]
    fn one_filesystem_keeps_its_numbers() {
        let numbers = numbers(1);
        assert_eq!(numbers.compose(0, 77), Some(NodeId(77)));
        assert_eq!(numbers.compose(0, 1), None);
        assert_eq!(numbers.compose(0, COUNTED), None);
    }

    #[test]
    fn several_filesystems_never_share_a_number() {
        for count in [2, 3, 5, 200] {
            let numbers = numbers(count);
            let all: std::collections::HashSet<_> =
                (0..u16::from(count)).filter_map(|filesystem| numbers.compose(filesystem, 1000)).collect();
            assert_eq!(all.len(), usize::from(count));
            assert!(all.iter().all(|number| number.0 < COUNTED));
        }
        assert_eq!(numbers(2).compose(1, 1 << 62), None);
    }

    #[test]
    fn counted_numbers_differ() {
        let numbers = numbers(1);
        assert_ne!(numbers.counted(), numbers.counted());
    }
}
