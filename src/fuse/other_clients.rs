//! Whether clients may be in each other's way.
//!
//! The kernel drops what it knows of a directory when it has made, removed or renamed an entry of it. But an answer that another
//! client has yet to take in, and that is from before, then counts as new (`fuse_dir_changed` leaves the version alone that
//! `fuse_change_attributes` looks at): the directory's times would stay wrong until its next change, since attributes are
//! kept for ever. Seen about once in 50,000 changes with another thread asking. A notification that the attributes are
//! invalid does count up the version, and costs a system call; a client that is alone needs none.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Nobody takes longer than this to take in an answer, in nanoseconds.
const MEMORY: u64 = 2_000_000_000;

/// Who has been asking lately.
#[derive(Debug)]
pub(super) struct OtherClients {
    begun: Instant,
    last: AtomicU32,
    /// When someone else than before was last seen asking, in nanoseconds since the beginning; 0: never.
    changed: AtomicU64,
}

impl OtherClients {
    pub(super) fn new() -> Self {
        Self { begun: Instant::now(), last: AtomicU32::new(0), changed: AtomicU64::new(0) }
    }

    /// Notes a request of the thread `client`; 0 is the kernel itself, or anyone of another process namespace.
    pub(super) fn note(&self, client: u32) {
        if client == 0 || self.last.load(Relaxed) == client {
            return;
        }
        if self.last.swap(client, Relaxed) != 0 {
            self.changed.store(self.now(), Relaxed);
        }
    }

    /// Whether anyone but the thread `client` may have asked lately.
    pub(super) fn has(&self, client: u32) -> bool {
        match self.changed.load(Relaxed) {
            _ if client == 0 => true,
            0 => false,
            changed => self.now().saturating_sub(changed) < MEMORY,
        }
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().saturating_add(Duration::from_nanos(1)).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_client_is_alone() {
        let clients = OtherClients::new();
        for client in [7, 0, 7, 7] {
            clients.note(client);
        }
        assert!(!clients.has(7));
        assert!(clients.has(0));
    }

    #[test]
    fn two_are_not() {
        let clients = OtherClients::new();
        clients.note(7);
        clients.note(8);
        clients.note(8);
        assert!(clients.has(8));
    }
}
