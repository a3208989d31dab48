//! Data and attributes of files: reading and changing them.

pub(super) mod backing;
mod data;
mod flags;
mod open;
mod set_id;
mod setattr;
mod writeback;
mod xattr;

use std::ops::Deref;
use std::sync::Arc;

use super::copy_up::CopyUp;

/// What reads and changes files.
#[derive(Debug)]
pub(super) struct File {
    up: Arc<CopyUp>,
    flushed_times: writeback::FlushedTimes,
}

impl File {
    pub(super) fn new(up: Arc<CopyUp>) -> Self {
        Self { up, flushed_times: writeback::FlushedTimes::default() }
    }
}

impl Deref for File {
    type Target = CopyUp;

    fn deref(&self) -> &CopyUp {
        &self.up
    }
}
