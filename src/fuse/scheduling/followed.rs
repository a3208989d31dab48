//! One client, and where it is.

use std::time::Instant;

use super::watched::Watched;
use crate::sys::sched::{CpuSet, Switches, Thread};

/// The follower asks where the client is, which takes 6 microseconds, unless all is as it has to be on one processor: the client
/// ran as soon as it was answered, and had its next request ready when the follower got to run again. In any case it asks once
/// in so many requests.
const LOOK_ANYHOW: u32 = 64;

/// One client being followed.
pub(super) struct Followed {
    pub(super) client: Watched,
    pub(super) processor: Option<usize>,
    pub(super) answered: u32,
    /// Those of the follower.
    switches: Option<Switches>,
    /// Requests since the last look at the client.
    unseen: u32,
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

impl Followed {
    pub(super) fn of(client: Watched) -> Self {
        Self {
            client,
            processor: None,
            answered: 0,
            switches: None,
            unseen: 0,
            moves: 0,
            strangers: 0,
            alive: Instant::now(),
            watch: Watch::default(),
        }
    }

    /// To be asked after each answer.
    pub(super) fn may_have_moved(&mut self) -> bool {
        let switches = Thread::own_switches();
        let last = std::mem::replace(&mut self.switches, switches);
        let in_place = switches
            .zip(last)
            .is_some_and(|(now, last)| now.waits == last.waits && now.preemptions != last.preemptions);
        self.unseen += 1;
        !in_place || self.unseen >= LOOK_ANYHOW
    }

    /// Moves the calling thread to where the client is; whether that was possible.
    pub(super) fn go_along(&mut self) -> bool {
        let Some(processor) = self.client.processor().filter(|number| *number < CpuSet::MAX_CPU) else {
            return false;
        };
        self.unseen = 0;
        if self.processor == Some(processor) {
            return true;
        }
        self.processor = Some(processor);
        self.moves = self.moves.wrapping_add(1);
        let mut here = CpuSet::new();
        here.set(processor);
        Thread::current().keep_to(&here).is_ok()
    }
}
