//! Getting into the upperdir, the only place where anything can be changed: copy-up, and the marks that go with it. The union looks the
//! same after it.

mod dir;
pub(super) mod ensure;
mod file;
mod index;
pub(super) mod long;
mod mark;
pub(super) mod metadata;
mod names;
mod tree;

use std::ops::Deref;

use super::Hook;
use super::lookup::Lookup;
use crate::namespace::held::Held;

/// What gets files into the upperdir, with all that finds them.
#[derive(Debug)]
pub(super) struct CopyUp {
    pub(super) lookup: Lookup,
    pub(super) long_work: Hook<long::Work>,
}

impl Deref for CopyUp {
    type Target = Lookup;

    fn deref(&self) -> &Lookup {
        &self.lookup
    }
}

impl CopyUp {
    /// Whether a file without a name is kept by a descriptor.
    pub(in crate::ops) fn may_hold(&self) -> bool {
        self.has_descriptors() && !self.is_upper_served()
    }

    /// Whether they are plentiful enough to keep one more.
    pub(in crate::ops) fn has_descriptors(&self) -> bool {
        Held::count() < self.options.held_limit
    }
}
