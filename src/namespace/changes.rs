//! Whether anything in the union has changed since a moment.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// Counts changes at their beginning and at their end.
#[derive(Default)]
pub struct Changes {
    begun: AtomicU64,
    ended: AtomicU64,
    listener: OnceLock<Box<dyn Fn() + Send + Sync>>,
}

impl std::fmt::Debug for Changes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Changes")
            .field("begun", &self.begun)
            .field("ended", &self.ended)
            .finish_non_exhaustive()
    }
}

/// A moment at which nothing was being changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp(u64);

/// A change being made, until dropped.
#[must_use]
pub struct Change<'a>(&'a Changes);

impl Changes {
    /// To be called before anything is changed, and held until it is.
    pub fn begin(&self) -> Change<'_> {
        self.begun.fetch_add(1, SeqCst);
        if let Some(listener) = self.listener.get() {
            listener();
        }
        Change(self)
    }

    /// Whom to tell of each change when it has begun; only the first is heard. Called with locks of nodes held, so it must neither come
    /// back to the union nor wait for anybody who does.
    pub fn listen(&self, listener: impl Fn() + Send + Sync + 'static) {
        self.listener.get_or_init(|| Box::new(listener));
    }

    /// `None` while something is being changed.
    pub fn stamp(&self) -> Option<Stamp> {
        // In this order: a change that begins in between is one too many begun.
        let ended = self.ended.load(SeqCst);
        let begun = self.begun.load(SeqCst);
        (begun == ended).then_some(Stamp(begun))
    }

    /// Whether nothing has begun to be changed since.
    pub fn none_since(&self, stamp: Stamp) -> bool {
        self.begun.load(SeqCst) == stamp.0
    }
}

impl Drop for Change<'_> {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_over_with_the_next_change() {
        let changes = Changes::default();
        let before = changes.stamp().unwrap();
        assert!(changes.none_since(before));
        let first = changes.begin();
        let second = changes.begin();
        assert!(!changes.none_since(before));
        assert_eq!(changes.stamp(), None);
        drop(first);
        assert_eq!(changes.stamp(), None);
        drop(second);
        let after = changes.stamp().unwrap();
        assert!(changes.none_since(after) && !changes.none_since(before));
    }
}
