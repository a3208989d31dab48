//! The table of live nodes.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rustc_hash::FxHasher;

use super::ino::Numbers;
use super::node::{Body, Link, Node};
use crate::types::{NodeId, RealId};

/// The memory of fewer nodes than this is not worth giving back.
const MANY: usize = 4096;

type Map<K, V> = DashMap<K, V, BuildHasherDefault<FxHasher>>;

/// All nodes that the kernel, or a child node, refers to. A number stands for one node at a time: when a second file claims
/// a number that is taken, it gets another one, for good.
#[derive(Debug)]
pub struct Table {
    nodes: Map<u64, Arc<Node>>,
    /// Files whose node has another number than their own: copied-up ones by their upper identity, and those whose number
    /// was taken.
    renumbered: Map<RealId, NodeId>,
    numbers: Numbers,
    live: AtomicUsize,
    /// Nodes that have gone since memory was last given back.
    gone: AtomicUsize,
}

/// The node of a file that was looked up.
#[derive(Debug)]
pub struct Interned {
    /// The node, with one more reference.
    pub node: Arc<Node>,
    /// It was not in the table before.
    pub created: bool,
}

impl Table {
    /// A table that holds the root only.
    pub fn new(numbers: Numbers, root: Node) -> Self {
        let nodes = Map::default();
        nodes.insert(root.id.0, Arc::new(root));
        Self {
            nodes,
            renumbered: Map::default(),
            numbers,
            live: AtomicUsize::new(1),
            gone: AtomicUsize::new(0),
        }
    }

    /// How numbers are given out.
    pub fn numbers(&self) -> &Numbers {
        &self.numbers
    }

    /// The number of live nodes.
    pub fn len(&self) -> usize {
        self.live.load(Ordering::Relaxed)
    }

    /// Whether no node lives; never true, the root does.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A live node.
    pub fn get(&self, id: NodeId) -> Option<Arc<Node>> {
        self.nodes.get(&id.0).map(|entry| entry.value().clone())
    }

    /// The number under which the file `real` is live although it is not its own.
    pub fn renumbered(&self, real: RealId) -> Option<NodeId> {
        if self.renumbered.is_empty() { None } else { self.renumbered.get(&real).map(|entry| *entry.value()) }
    }

    /// The number of the file `real` that cannot be told from the file.
    fn known(&self, real: RealId) -> Option<NodeId> {
        self.renumbered(real).or_else(|| self.numbers.kept(real))
    }

    /// Records that `real` is (part of) the live node `id`.
    pub fn renumber(&self, real: RealId, id: NodeId) {
        self.renumbered.insert(real, id);
    }

    /// Takes [`Table::renumber`] back.
    pub fn unnumber(&self, real: RealId) {
        self.renumbered.remove(&real);
    }

    /// The node of the file `real` whose number should be `wanted`, with one more reference. `is_same` tells whether a live
    /// node with that number is this file; `make` makes the node, or refuses, and must not touch the table. While it runs
    /// nobody else can make the node.
    pub fn intern(
        &self,
        wanted: Option<NodeId>,
        real: RealId,
        is_same: impl Fn(&Node) -> bool,
        make: impl FnOnce(NodeId) -> Option<Node>,
    ) -> Option<Interned> {
        let mut known = self.known(real);
        let mut id = known.or(wanted);
        loop {
            let number = id.unwrap_or_else(|| {
                let odd = self.numbers.odd(real);
                known = Some(odd);
                odd
            });
            match self.nodes.entry(number.0) {
                Entry::Occupied(entry)
                    if is_same(entry.get())
                        // The node that the number was known by may have gone meanwhile, and this be another file's.
                        || (known == Some(number) && self.known(real) == known) =>
                {
                    entry.get().refs.fetch_add(1, Ordering::Relaxed);
                    return Some(Interned { node: entry.get().clone(), created: false });
                }
                Entry::Occupied(_) if known == Some(number) => {
                    known = self.known(real);
                    id = known.or(wanted);
                }
                Entry::Occupied(_) => id = None,
                Entry::Vacant(entry) => {
                    let renumbered = known == Some(number) && self.numbers.kept(real) != known;
                    let Some(node) = make(number).map(Arc::new) else {
                        if renumbered {
                            self.renumbered.remove_if(&real, |_, id| *id == number);
                        }
                        return None;
                    };
                    if renumbered {
                        // Whoever forgot the node that had this number has taken it out.
                        self.renumbered.insert(real, number);
                    }
                    entry.insert(node.clone());
                    self.live.fetch_add(1, Ordering::Relaxed);
                    return Some(Interned { node, created: true });
                }
            }
        }
    }

    /// One more reference to a node, a child's or an operation's; `false` when it has none: then it has left the table, or is about
    /// to, and never comes back.
    #[must_use]
    pub fn pin(&self, node: &Node) -> bool {
        let more = |refs: u64| (refs > 0).then(|| refs + 1);
        node.refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).is_ok()
    }

    /// Takes `count` references back. Returns the nodes that are gone now: this one, and parents that only it referred to.
    pub fn forget(&self, id: NodeId, count: u64) -> Vec<Arc<Node>> {
        let mut gone = Vec::new();
        let mut pending = vec![(id, count)];
        while let Some((id, count)) = pending.pop() {
            if id == NodeId::ROOT {
                continue;
            }
            let removed = self.nodes.remove_if(&id.0, |_, node| {
                let before = node.refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |refs| {
                    Some(refs.saturating_sub(count))
                });
                let gone = before.unwrap_or(0) <= count;
                if gone && !self.renumbered.is_empty() {
                    self.unnumber_all(node);
                }
                gone
            });
            if let Some((_, node)) = removed {
                self.live.fetch_sub(1, Ordering::Relaxed);
                self.gone.fetch_add(1, Ordering::Relaxed);
                self.release(&node, &mut pending);
                gone.push(node);
            }
        }
        gone
    }

    /// Gives the table's memory back when as many nodes have gone since the last time as are left; says whether that was so.
    pub fn shrink_if_emptied(&self) -> bool {
        let gone = self.gone.load(Ordering::Relaxed);
        let emptied = gone >= MANY.max(self.len());
        let first =
            emptied && self.gone.compare_exchange(gone, 0, Ordering::Relaxed, Ordering::Relaxed).is_ok();
        if first {
            self.nodes.shrink_to_fit();
            self.renumbered.shrink_to_fit();
        }
        first
    }

    fn release(&self, node: &Node, pending: &mut Vec<(NodeId, u64)>) {
        let mut state = node.state.write();
        let links = std::mem::take(&mut state.links);
        if let (true, Body::Upper(upper)) = (links.is_empty(), &state.body) {
            // Its inode number may be given to another file.
            self.numbers.give_up(upper.real);
        }
        drop(state);
        pending.extend(links.iter().map(|Link { parent, .. }| (parent.id, 1)));
    }

    /// Takes all [`Table::renumber`]s of a node back. Under the lock of its entry: else the file's next node, with the same
    /// number, could lose its own.
    fn unnumber_all(&self, node: &Node) {
        let forget = |real: RealId| {
            self.renumbered.remove_if(&real, |_, id| *id == node.id);
        };
        match &node.state.read().body {
            Body::Lower(lower) => forget(lower.real),
            Body::Upper(upper) => {
                [Some(upper.real), upper.copied_from].into_iter().flatten().for_each(forget)
            }
            Body::Directory(directory) => directory.stack.all().map(|dir| dir.real_id()).for_each(forget),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::namespace::node::{Home, Links, UpperFile};
    use crate::types::{Birth, Kind};

    fn file(id: NodeId, ino: u64) -> Node {
        let upper = UpperFile {
            real: RealId { dev: 1, ino },
            birth: Birth::default(),
            copied_from: None,
            home: Home::Named,
            covers_links: false,
            extra_links: 0,
            index: None,
        };
        Node::new(id, Kind::File, Links::new(), Body::Upper(Box::new(upper)))
    }

    fn table() -> Table {
        Table::new(Numbers::new(Vec::new()), file(NodeId::ROOT, 2))
    }

    fn intern(table: &Table, wanted: u64, ino: u64) -> Interned {
        let is_same =
            |node: &Node| matches!(&node.state.read().body, Body::Upper(upper) if upper.real.ino == ino);
        table.intern(Some(NodeId(wanted)), RealId { dev: 1, ino }, is_same, |id| Some(file(id, ino))).unwrap()
    }

    #[test]
    fn a_file_has_one_node_until_it_is_forgotten() {
        let table = table();
        let first = intern(&table, 10, 10);
        let second = intern(&table, 10, 10);
        assert!(first.created && !second.created && Arc::ptr_eq(&first.node, &second.node));
        assert!(table.forget(NodeId(10), 1).is_empty());
        assert_eq!(table.forget(NodeId(10), 1).len(), 1);
        assert!(table.get(NodeId(10)).is_none());
        assert_eq!(table.len(), 1);
    }

    #[test]
    fn two_files_never_share_a_number() {
        let table = table();
        let first = intern(&table, 10, 10).node;
        let second = intern(&table, 10, 11).node;
        assert_ne!(first.id, second.id);
        assert_eq!(intern(&table, 10, 11).node.id, second.id);
        assert_eq!(table.forget(second.id, 2).len(), 1);
        assert_eq!(table.renumbered(RealId { dev: 1, ino: 11 }), None);
    }

    /// Another file has got the number of the node that was known, between the look at it and the lock of its entry.
    #[test]
    fn a_number_that_is_known_no_more_is_not_taken() {
        let table = table();
        let real = RealId { dev: 1, ino: 12 };
        let other = intern(&table, 10, 10).node;
        table.renumber(real, NodeId(10));
        let overtaken = |_: &Node| {
            table.unnumber(real);
            false
        };
        let found = table.intern(Some(NodeId(12)), real, overtaken, |id| Some(file(id, 12))).unwrap();
        assert!(found.created && !Arc::ptr_eq(&found.node, &other));
        assert_eq!(found.node.id, NodeId(12));
    }

    #[test]
    fn a_count_never_rises_from_zero() {
        let table = table();
        let node = intern(&table, 10, 10).node;
        assert!(table.pin(&node));
        assert!(table.forget(NodeId(10), 1).is_empty());
        assert_eq!(table.forget(NodeId(10), 1).len(), 1);
        assert!(!table.pin(&node));
        assert!(table.get(NodeId(10)).is_none());
    }

    #[test]
    fn what_is_refused_leaves_nothing() {
        let table = table();
        let first = intern(&table, 10, 10).node;
        for wanted in [None, Some(NodeId(10)), Some(NodeId(12))] {
            let real = RealId { dev: 1, ino: 12 };
            assert!(table.intern(wanted, real, |_| false, |_| None).is_none());
            assert_eq!((table.len(), table.renumbered(real)), (2, None));
        }
        assert_eq!(table.forget(first.id, 1).len(), 1);
    }

    #[test]
    fn the_root_is_never_forgotten() {
        let table = table();
        assert!(table.forget(NodeId::ROOT, 100).is_empty());
        assert!(table.get(NodeId::ROOT).is_some());
    }
}
