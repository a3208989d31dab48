//! What an operation has changed beside what it answers: facts, for those who remember answers of before.

use smallvec::SmallVec;

use crate::types::NodeId;

/// Something that may be remembered, and that is not so any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Effect {
    /// A directory has other entries, and so other times.
    Entries(NodeId),
    /// A directory is in another one: what it lists as `..` has changed.
    Parent(NodeId),
    /// A node's mode or times have changed, and the answer does not tell them.
    Attributes(NodeId),
}

/// The effects of one operation, in the order in which they are to be told.
pub type Effects = SmallVec<[Effect; 2]>;

/// What an operation answers, and what it has changed beside that.
#[derive(Debug, PartialEq, Eq)]
pub struct Done<T> {
    /// The answer.
    pub value: T,
    /// What has changed beside it.
    pub effects: Effects,
}

impl<T> Done<T> {
    /// Nothing has changed but what the answer tells.
    pub(super) fn new(value: T) -> Self {
        Self { value, effects: Effects::new() }
    }

    pub(super) fn and(mut self, effect: Effect) -> Self {
        self.effects.push(effect);
        self
    }

    /// Of a write that has changed the mode of the file, or not.
    pub(super) fn with_mode(self, node: NodeId, has_changed: bool) -> Self {
        if has_changed { self.and(Effect::Attributes(node)) } else { self }
    }

    /// The same with another answer.
    pub fn map<U>(self, other: impl FnOnce(T) -> U) -> Done<U> {
        Done { value: other(self.value), effects: self.effects }
    }

    /// Whether a node's attributes have changed that the answer does not tell.
    pub fn changes_attributes_of(&self, node: NodeId) -> bool {
        self.effects.contains(&Effect::Attributes(node))
    }
}
