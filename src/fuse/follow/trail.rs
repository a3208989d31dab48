//! One client, and where it is.

use std::time::Instant;

use super::watched::Watched;
use crate::sys::sched::{CpuSet, Thread};

/// The follower asks where the client is, which takes 6 microseconds, when it had to wait for a request: one that comes from its own
/// processor is there when it gets to run again. Where that tells nothing (the client was found in its place all the same), it
/// asks only once in so many requests; and once in so many it asks in any case.
const LOOK_SELDOM: u32 = 8;
const LOOK_ANYHOW: u32 = 64;

/// One client being followed.
pub(super) struct Trail {
    pub(super) client: Watched,
    pub(super) processor: Option<usize>,
    pub(super) answered: u32,
    /// [`Thread::own_waits`] of the follower.
    waits: Option<i64>,
    /// Requests since the last look at the client, and how many there should be before another.
    unseen: u32,
    patience: u32,
    pub(super) moves: u32,
    pub(super) strangers: u32,
    /// When a look was last put off.
    pub(super) alive: Instant,
    pub(super) watch: Watch,
}

/// What the one that stands by has seen.
#[derive(Default)]
pub(super) struct Watch {
    pub(super) answered: u32,
    pub(super) looks: u32,
    pub(super) starving: u32,
    pub(super) others: u32,
}

impl Trail {
    pub(super) fn of(client: Watched) -> Self {
        Self {
            client,
            processor: None,
            answered: 0,
            waits: None,
            unseen: 0,
            patience: 1,
            moves: 0,
            strangers: 0,
            alive: Instant::now(),
            watch: Watch::default(),
        }
    }

    /// To be asked after each answer.
    pub(super) fn may_have_moved(&mut self) -> bool {
        let waits = Thread::own_waits();
        let waited = waits.is_none() || waits != self.waits;
        self.waits = waits;
        self.unseen += 1;
        self.unseen >= if waited { self.patience } else { LOOK_ANYHOW }
    }

    /// Moves the calling thread to where the client is; whether that was possible.
    pub(super) fn go_along(&mut self) -> bool {
        let Some(processor) = self.client.processor().filter(|number| *number < CpuSet::MAX_CPU) else {
            return false;
        };
        self.unseen = 0;
        if self.processor == Some(processor) {
            self.patience = (self.patience * 2).min(LOOK_SELDOM);
            return true;
        }
        self.patience = 1;
        self.processor = Some(processor);
        self.moves = self.moves.wrapping_add(1);
        let mut here = CpuSet::new();
        here.set(processor);
        Thread::current().keep_to(&here).is_ok()
    }
}
