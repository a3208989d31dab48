//! References to nodes, as types: whoever has one may use the node, and gives it back by dropping it. The kernel gets one by an
//! explicit act, and returns it by FORGET.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::node::Node;
use super::nodes::Nodes;
use crate::types::{Attr, NodeId};

/// A reference to a node: it stays in the table until this is dropped. Not to be dropped under a lock of a node or of the table, since
/// the last one closes what was kept for the node.
#[must_use]
pub struct Ref<T: Deref<Target = Nodes>> {
    nodes: T,
    node: Arc<Node>,
    given: bool,
}

/// A reference for the length of an operation.
pub type NodeRef<'t> = Ref<&'t Nodes>;

/// A reference that any thread can keep for any time.
pub type KeptRef = Ref<Arc<Nodes>>;

impl<T: Deref<Target = Nodes>> Ref<T> {
    /// Of a node that was counted once more for this.
    pub(super) fn counted(nodes: T, node: Arc<Node>) -> Self {
        Self { nodes, node, given: false }
    }

    /// The kernel has it from now on, or is about to be told: it comes back by [`Nodes::forget`].
    pub fn give_to_kernel(mut self) -> NodeId {
        self.given = true;
        self.node.id
    }

    /// The node's number.
    pub fn id(&self) -> NodeId {
        self.node.id
    }
}

impl NodeRef<'_> {
    /// The same reference, for another thread or a longer time.
    pub fn keep(mut self, nodes: &Arc<Nodes>) -> KeptRef {
        self.given = true;
        Ref::counted(nodes.clone(), self.node.clone())
    }
}

impl<T: Deref<Target = Nodes> + Clone> Clone for Ref<T> {
    fn clone(&self) -> Self {
        // Not from zero: this one is counted.
        self.node.refs.fetch_add(1, Ordering::Relaxed);
        Self::counted(self.nodes.clone(), self.node.clone())
    }
}

impl<T: Deref<Target = Nodes>> Deref for Ref<T> {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        &self.node
    }
}

impl<T: Deref<Target = Nodes>> std::fmt::Debug for Ref<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Ref").field(&self.node.id).finish()
    }
}

impl<T: Deref<Target = Nodes>> Drop for Ref<T> {
    fn drop(&mut self) {
        if !self.given {
            self.nodes.put(&self.node);
        }
    }
}

/// The answer to a lookup or a creation: the node, and its attributes.
#[derive(Debug)]
pub struct Entry<'t> {
    /// The node.
    pub node: NodeRef<'t>,
    /// Its attributes.
    pub attr: Attr,
}

impl Entry<'_> {
    /// As `give_to_kernel` of its node; the attributes are left.
    pub fn give_to_kernel(self) -> Attr {
        self.node.give_to_kernel();
        self.attr
    }
}
