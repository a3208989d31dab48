//! Changing the namespace: which names there are, and what they stand for.

mod create;
pub(super) mod keep;
mod link;
mod remove;
mod rename;
mod whiteout;

use std::ops::Deref;
use std::sync::{Arc, OnceLock};

use super::copy_up::CopyUp;

/// What makes, renames and removes entries.
#[derive(Debug)]
pub(super) struct Entries {
    up: Arc<CopyUp>,
    /// The work directory, once removed directories were moved there.
    parking: OnceLock<keep::Parking>,
}

impl Entries {
    pub(super) fn new(up: Arc<CopyUp>) -> Self {
        Self { up, parking: OnceLock::new() }
    }
}

impl Deref for Entries {
    type Target = CopyUp;

    fn deref(&self) -> &CopyUp {
        &self.up
    }
}
