//! What keeps a file reachable that has lost its names, for as long as somebody uses it: a descriptor, or a name in the work
//! directory. Either is given back when the last user is gone.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::layer::staging::Staging;

/// Descriptors held, over all unions of the process: descriptors are the process's too.
static HELD: AtomicUsize = AtomicUsize::new(0);

/// A descriptor of a file or directory that has no name.
#[derive(Debug)]
pub struct Held(Arc<OwnedFd>);

impl Held {
    /// Counts the descriptor until the last user is gone.
    pub fn new(fd: Arc<OwnedFd>) -> Arc<Self> {
        HELD.fetch_add(1, Ordering::Relaxed);
        Arc::new(Self(fd))
    }

    /// How many the process holds.
    pub fn count() -> usize {
        HELD.load(Ordering::Relaxed)
    }

    /// The descriptor.
    pub fn fd(&self) -> &Arc<OwnedFd> {
        &self.0
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        HELD.fetch_sub(1, Ordering::Relaxed);
    }
}

/// A name in the work directory, under which a file is kept that has no other one.
#[derive(Debug)]
pub struct Parked {
    staging: Arc<Staging>,
    name: OsString,
}

impl Parked {
    /// Takes what is under `name` in the work directory over.
    pub fn new(staging: &Arc<Staging>, name: OsString) -> Arc<Self> {
        Arc::new(Self { staging: staging.clone(), name })
    }

    /// The name.
    pub fn name(&self) -> &OsStr {
        &self.name
    }
}

impl Drop for Parked {
    fn drop(&mut self) {
        self.staging.discard(&self.name);
    }
}
