//! Whether one client is alone and in a hurry.

use super::STREAM;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::Relaxed};

/// So many requests of one thread, with none of another between them, make it a client to follow.
const LENGTH: u32 = 128;

/// They must have come within this time, in nanoseconds: a client that thinks between its requests gains nothing.
const WITHIN: u64 = 60_000_000;

/// The latest run of requests of one client. Threads note requests at the same time, so it is exact only when it matters:
/// while there is one client.
#[derive(Debug, Default)]
pub(super) struct Streak {
    client: AtomicU32,
    length: AtomicU32,
    since: AtomicU64,
}

impl Streak {
    /// Notes a request of the thread `client`; `now` is in nanoseconds. Whether that completes a streak.
    pub(super) fn note(&self, client: u32, now: impl FnOnce() -> u64) -> bool {
        if self.client.load(Relaxed) != client {
            self.client.store(client, Relaxed);
            self.start(now());
            return false;
        }
        if self.length.fetch_add(1, Relaxed) + 1 < LENGTH {
            return false;
        }
        let now = now();
        let quick = now.saturating_sub(self.since.load(Relaxed)) <= WITHIN;
        self.start(now);
        quick && client != 0 && client != STREAM
    }

    fn start(&self, now: u64) {
        self.length.store(1, Relaxed);
        self.since.store(now, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The number of the first request that completes a streak, of `clients` one every `pause` nanoseconds.
    fn completed(clients: impl IntoIterator<Item = u32>, pause: u64) -> Option<usize> {
        let streak = Streak::default();
        clients.into_iter().enumerate().position(|(i, client)| streak.note(client, || i as u64 * pause))
    }

    #[test]
    fn one_quick_client() {
        assert_eq!(completed([7; 1000], 20_000), Some(LENGTH as usize - 1));
    }

    #[test]
    fn a_slow_client() {
        assert_eq!(completed([7; 1000], 1_000_000), None);
    }

    #[test]
    fn two_clients() {
        assert_eq!(completed((0..10_000).map(|i| if i % 100 == 0 { 8 } else { 7 }), 20_000), None);
    }

    #[test]
    fn requests_of_the_kernel_itself() {
        assert_eq!(completed([0; 1000], 20_000), None);
        assert_eq!(completed([STREAM; 1000], 20_000), None);
    }
}
