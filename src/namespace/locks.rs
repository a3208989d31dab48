//! Locks of several nodes at once.
//!
//! Order: gates in ascending order of the nodes' addresses, all taken together; then, for short moments and without system
//! calls, a node's state or an entry of the table. Whoever holds a gate takes no other one, so there is nothing to deadlock
//! with: [`lock`] is the only way to take gates.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::node::Node;

/// The gates of some nodes, until dropped.
#[derive(Debug)]
pub struct Gates<'a> {
    _guards: SmallVec<[MutexGuard<'a, ()>; 4]>,
}

/// Takes the gates of all `nodes`, each once.
pub fn lock<'a>(nodes: &[&'a Arc<Node>]) -> Gates<'a> {
    let mut ordered: SmallVec<[&Arc<Node>; 4]> = nodes.iter().copied().collect();
    ordered.sort_unstable_by_key(|node| Arc::as_ptr(node));
    ordered.dedup_by_key(|node| Arc::as_ptr(node));
    Gates { _guards: ordered.into_iter().map(|node| node.gate.lock()).collect() }
}

/// Waits a moment for whoever is changing the node just now; for readers that found it in between.
pub fn wait_for_change(node: &Node) {
    let gate = node.gate.try_lock_for(Duration::from_millis(20));
    drop(gate);
}
