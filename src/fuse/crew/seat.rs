//! What a thread says about the request it is at. Written by that thread only, but for [`Seat::take_over`].

use std::cell::OnceCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use fuser::Request;

use crate::layer::stack::LayerIndex;
use crate::layer::waiting::Whereabouts;

/// The number of a request is even: odd ones are those of interrupts (`FUSE_INT_REQ_BIT` in fs/fuse/fuse_dev_i.h).
const ANYBODY: u64 = 1;
/// No request.
const IDLE: u64 = 0;
/// Somebody else has answered the request.
const TAKEN: u64 = u64::MAX;

thread_local! {
    static OWN: OnceCell<Arc<Seat>> = const { OnceCell::new() };
}

/// Does something with the calling thread's seat, which is made by `make` the first time.
pub(super) fn own<T>(make: impl FnOnce() -> Arc<Seat>, with: impl FnOnce(&Seat) -> T) -> T {
    OWN.with(|seat| with(seat.get_or_init(make)))
}

/// The same, if it has one.
fn if_any<T>(with: impl FnOnce(&Seat) -> T) -> Option<T> {
    OWN.with(|seat| seat.get().map(|seat| with(seat)))
}

/// What a request is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::fuse) enum Errand {
    /// Nothing is left to be undone or told if nobody takes the answer, before [`commit`].
    Look,
    /// Anything else.
    Change,
}

/// One for each thread.
#[derive(Debug)]
pub(super) struct Seat {
    /// The number of the request, with [`ANYBODY`] while somebody else may answer it, or [`IDLE`], or [`TAKEN`].
    request: AtomicU64,
    client: AtomicU32,
    user: AtomicU32,
    refused: AtomicBool,
    /// Requests that have been answered here.
    answered: AtomicU64,
    whereabouts: Arc<Whereabouts>,
}

impl Seat {
    /// Of the calling thread.
    pub(super) fn new() -> Self {
        Self {
            request: AtomicU64::new(IDLE),
            client: AtomicU32::new(0),
            user: AtomicU32::new(0),
            refused: AtomicBool::new(false),
            answered: AtomicU64::new(0),
            whereabouts: Whereabouts::here(),
        }
    }

    pub(super) fn begin(&self, request: &Request, errand: Errand, refused: bool) {
        self.start(request.unique().0, request.pid(), request.uid(), errand);
        self.refused.store(refused, Ordering::Relaxed);
    }

    fn start(&self, number: u64, client: u32, user: u32, errand: Errand) {
        self.whereabouts.begin();
        self.client.store(client, Ordering::Relaxed);
        self.user.store(user, Ordering::Relaxed);
        let anybody = if errand == Errand::Look { ANYBODY } else { 0 };
        self.request.store(number | anybody, Ordering::Release);
    }

    pub(super) fn end(&self) {
        // Only this thread counts here.
        self.answered.store(self.answered() + 1, Ordering::Relaxed);
        self.request.store(IDLE, Ordering::Release);
    }

    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    pub(super) fn client(&self) -> u32 {
        self.client.load(Ordering::Relaxed)
    }

    pub(super) fn user(&self) -> u32 {
        self.user.load(Ordering::Relaxed)
    }

    pub(super) fn layer(&self) -> Option<LayerIndex> {
        self.whereabouts.layer()
    }

    pub(super) fn interrupt(&self) {
        self.whereabouts.interrupt();
    }

    /// Answers in the place of the thread from now on, if it is still at this request and has not begun to answer.
    pub(super) fn take_over(&self, number: u64) -> bool {
        self.request.compare_exchange(number | ANYBODY, TAKEN, Ordering::AcqRel, Ordering::Relaxed).is_ok()
    }

    /// Whether the thread answers by itself; nobody else does from now on.
    fn commit(&self) -> bool {
        match self.request.load(Ordering::Acquire) {
            TAKEN => false,
            IDLE => true,
            request if request & ANYBODY == 0 => true,
            request => {
                let own = request & !ANYBODY;
                self.request.compare_exchange(request, own, Ordering::AcqRel, Ordering::Relaxed).is_ok()
            }
        }
    }
}

/// To be called before an answer that says something which would have to be undone: whether it will be taken.
pub(in crate::fuse) fn commit() -> bool {
    if_any(Seat::commit).unwrap_or(true)
}

/// Whether the request in hand is not to be waited for.
pub(in crate::fuse) fn refused() -> bool {
    if_any(|seat| seat.refused.load(Ordering::Relaxed)).unwrap_or(false)
}

/// What was seen of a seat, and since when.
#[derive(Debug, Default)]
pub(super) struct Glance {
    request: u64,
    since: Option<Instant>,
    now: Option<Instant>,
    counted: Option<(Option<LayerIndex>, u32)>,
}

impl Glance {
    /// Looks again. Against whom the request counted that has ended since, if it did.
    pub(super) fn look(&mut self, seat: &Seat, now: Instant) -> Option<(Option<LayerIndex>, u32)> {
        let request = seat.request.load(Ordering::Acquire);
        self.now = Some(now);
        let same = request & !ANYBODY == self.request & !ANYBODY || request == TAKEN;
        if self.since.is_none() || !same {
            self.since = Some(now);
        }
        self.request = request;
        if same { None } else { self.counted.take() }
    }

    /// The request counts against its layer and its user, as stuck.
    pub(super) fn counts_against(&mut self, seat: &Seat) {
        self.counted.get_or_insert_with(|| (seat.layer(), seat.user()));
    }

    /// Whether a request has been going on for so long.
    pub(super) fn lasts(&self, long: Duration) -> bool {
        let lasted = self.now.zip(self.since).map(|(now, since)| now - since);
        self.request != IDLE && lasted.is_some_and(|lasted| lasted >= long)
    }

    /// The number of the request, while nobody else has answered it.
    pub(super) fn number(&self) -> Option<u64> {
        (self.request != IDLE && self.request != TAKEN).then_some(self.request & !ANYBODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(number: u64, errand: Errand) -> Seat {
        let seat = Seat::new();
        seat.start(number, 7, 8, errand);
        seat
    }

    #[test]
    fn one_of_two_answers() {
        let seat = at(4, Errand::Look);
        assert!(seat.take_over(4));
        assert!(!seat.commit());
        let seat = at(4, Errand::Look);
        assert!(seat.commit() && seat.commit());
        assert!(!seat.take_over(4));
        seat.start(6, 7, 8, Errand::Look);
        assert!(!seat.take_over(4), "it is at another one");
    }

    #[test]
    fn a_change_is_answered_by_who_makes_it() {
        let seat = at(4, Errand::Change);
        assert!(!seat.take_over(4));
        assert!(seat.commit());
    }

    #[test]
    fn the_same_request_is_seen_to_last() {
        let seat = at(4, Errand::Look);
        let (mut glance, begin) = (Glance::default(), Instant::now());
        let second = Duration::from_secs(1);
        glance.look(&seat, begin);
        assert!(!glance.lasts(second));
        glance.look(&seat, begin + second);
        assert!(glance.lasts(second) && glance.number() == Some(4));
        assert!(seat.take_over(4));
        glance.look(&seat, begin + 2 * second);
        assert!(glance.lasts(2 * second) && glance.number().is_none());
        seat.start(6, 7, 8, Errand::Change);
        glance.look(&seat, begin + 3 * second);
        assert!(!glance.lasts(second));
        seat.end();
        glance.look(&seat, begin + 5 * second);
        glance.look(&seat, begin + 7 * second);
        assert!(!glance.lasts(second));
    }
}
