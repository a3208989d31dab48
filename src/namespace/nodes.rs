//! The nodes that live: the table that finds them by their numbers, and what is kept open and remembered for each.

use std::hash::BuildHasherDefault;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use rustc_hash::FxHasher;

use super::ino::Numbers;
use super::node::{Body, CountedLink, Link, Links, Node, Seen};
use super::open_files::OpenFiles;
use super::refs::{NodeRef, Ref};
use super::snapshot::Snapshots;
use crate::layer::dir::DirOpener;
use crate::sys;
use crate::types::{Kind, NodeId, RealId};

/// The memory of fewer nodes than this is not worth giving back.
const MANY: usize = 4096;

type Map<K, V> = DashMap<K, V, BuildHasherDefault<FxHasher>>;

/// All nodes that are referred to: by the kernel, a child node, or an operation. A number stands for one node at a time: when a
/// second file claims a number that is taken, it gets another one, for good.
///
/// References are [`Ref`]s and [`CountedLink`]s, which only this module counts; what the kernel was given comes back by
/// [`Nodes::forget`]. A count never rises from zero.
#[derive(Debug)]
pub struct Nodes {
    nodes: Map<u64, Arc<Node>>,
    /// Files whose node has another number than their own: copied-up ones by their upper identity, and those whose number
    /// was taken.
    renumbered: Map<RealId, NodeId>,
    numbers: Numbers,
    live: AtomicUsize,
    /// Nodes that have gone since memory was last given back.
    gone: AtomicUsize,
    /// The directories of layers that are open.
    pub dirs: DirOpener,
    /// The files that are open.
    pub files: OpenFiles,
    /// The names in directories that many layers make up.
    pub snapshots: Snapshots,
}

/// A file that was found under a name.
#[derive(Debug)]
pub struct Sighting<'a> {
    /// The name.
    pub seen: &'a Seen,
    /// What it is.
    pub kind: Kind,
    /// The file in its layer.
    pub real: RealId,
    /// The number that it should have.
    pub wanted: Option<NodeId>,
}

/// The node of a file that was looked up.
#[derive(Debug)]
pub struct Interned<'t> {
    /// The node.
    pub node: NodeRef<'t>,
    /// It did not live before.
    pub created: bool,
}

impl Nodes {
    /// Only the root lives.
    pub fn new(numbers: Numbers, root: Node, dirs: DirOpener, files: OpenFiles) -> Self {
        let nodes = Map::default();
        nodes.insert(root.id.0, Arc::new(root));
        Self {
            nodes,
            renumbered: Map::default(),
            numbers,
            live: AtomicUsize::new(1),
            gone: AtomicUsize::new(0),
            dirs,
            files,
            snapshots: Snapshots::default(),
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
    pub fn get(&self, id: NodeId) -> Option<NodeRef<'_>> {
        let entry = self.nodes.get(&id.0)?;
        // Whoever takes the last reference away holds the entry's lock for writing.
        entry.refs.fetch_add(1, Ordering::Relaxed);
        Some(Ref::counted(self, entry.value().clone()))
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

    /// Takes [`Nodes::renumber`] back.
    pub fn unnumber(&self, real: RealId) {
        self.renumbered.remove(&real);
    }

    /// The node of a file that was found. `is_same` tells whether a live node with its number is this file; `body` says where its
    /// content is, and must not touch the table: while it runs nobody else can make the node. `None` when the directory is not as it
    /// was seen any more, or was forgotten.
    ///
    /// The only place where nodes are made.
    pub fn intern(
        &self,
        found: &Sighting<'_>,
        is_same: impl Fn(&Node) -> bool,
        body: impl FnOnce() -> Body,
    ) -> Option<Interned<'_>> {
        let real = found.real;
        let mut known = self.known(real);
        let mut id = known.or(found.wanted);
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
                    let node = Ref::counted(self, entry.get().clone());
                    return Some(Interned { node, created: false });
                }
                Entry::Occupied(_) if known == Some(number) => {
                    known = self.known(real);
                    id = known.or(found.wanted);
                }
                Entry::Occupied(_) => id = None,
                Entry::Vacant(entry) => {
                    let renumbered = known == Some(number) && self.numbers.kept(real) != known;
                    let Some(node) = self.make(number, found, body).map(Arc::new) else {
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
                    return Some(Interned { node: Ref::counted(self, node), created: true });
                }
            }
        }
    }

    fn make(&self, id: NodeId, found: &Sighting<'_>, body: impl FnOnce() -> Body) -> Option<Node> {
        let Seen { link, version } = found.seen;
        if version.is_some() && link.parent.version() != *version {
            return None;
        }
        let mut links = Links::new();
        links.push(self.count_link(link.clone())?);
        Some(Node::new(id, found.kind, links, body()))
    }

    /// One more reference to the directory of a name; `None` when it has none: then it has left the table, or is about to, and never
    /// comes back.
    pub(super) fn count_link(&self, link: Link) -> Option<CountedLink> {
        let more = |refs: u64| (refs > 0).then(|| refs + 1);
        let counted = link.parent.refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        counted.is_ok().then_some(CountedLink(link))
    }

    /// Takes the reference of a name back that no node bears any more.
    pub(super) fn dissolve(&self, link: CountedLink) {
        self.put(&link.0.parent);
    }

    /// FORGET: takes `count` references back that the kernel had been given.
    pub fn forget(&self, id: NodeId, count: u64) {
        if id != NodeId::ROOT {
            let gone = self.take(id, count, |_| true);
            self.bury(gone);
        }
    }

    /// Takes one reference back.
    pub(super) fn put(&self, node: &Arc<Node>) {
        let fewer = |refs: u64| (refs > 1).then(|| refs - 1);
        let is_last = node.refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer).is_err();
        if is_last && node.id != NodeId::ROOT {
            let gone = self.take(node.id, 1, |live| Arc::ptr_eq(live, node));
            self.bury(gone);
        }
    }

    /// Takes references away, and the node out of the table when they were its last ones.
    fn take(&self, id: NodeId, count: u64, is_it: impl Fn(&Arc<Node>) -> bool) -> Option<Arc<Node>> {
        let removed = self.nodes.remove_if(&id.0, |_, node| {
            if !is_it(node) {
                return false;
            }
            let fewer = |refs: u64| Some(refs.saturating_sub(count));
            let before = node.refs.fetch_update(Ordering::Relaxed, Ordering::Relaxed, fewer);
            let gone = before.unwrap_or(0) <= count;
            if gone && !self.renumbered.is_empty() {
                self.unnumber_all(node);
            }
            gone
        });
        removed.map(|(_, node)| node)
    }

    /// Gives up what was kept for a node that has left the table, and for the parents that only it referred to.
    fn bury(&self, gone: Option<Arc<Node>>) {
        let mut pending: Vec<Arc<Node>> = gone.into_iter().collect();
        while let Some(node) = pending.pop() {
            self.live.fetch_sub(1, Ordering::Relaxed);
            self.gone.fetch_add(1, Ordering::Relaxed);
            self.files.forget(node.id);
            let stack = node.stack();
            if let Some(stack) = &stack {
                self.snapshots.forget(node.id);
                stack.all().for_each(|dir| self.dirs.close(dir));
            }
            for link in self.strip(&node) {
                let parent = &link.parent;
                if parent.id != NodeId::ROOT {
                    pending.extend(self.take(parent.id, 1, |live| Arc::ptr_eq(live, parent)));
                }
            }
        }
        if self.shrink_if_emptied() {
            sys::process::release_free_memory();
        }
    }

    /// The names of a node that has left the table.
    fn strip(&self, node: &Node) -> Links {
        let mut state = node.state.write();
        let links = std::mem::take(&mut state.links);
        if let (true, Body::Upper(upper)) = (links.is_empty(), &state.body) {
            // Its inode number may be given to another file.
            self.numbers.give_up(upper.real);
        }
        links
    }

    /// Gives the table's memory back when as many nodes have gone since the last time as are left; says whether that was so.
    fn shrink_if_emptied(&self) -> bool {
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

    /// Takes all [`Nodes::renumber`]s of a node back. Under the lock of its entry: else the file's next node, with the same
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
mod tests;
