//! The threads that serve, and what happens when many of them are stuck: no caller and no layer can take all of them.
//!
//! Each has a [`Seat`], where it says which request it is at. A watchman looks at them while there are requests, often when no
//! thread is free, and
//! * starts more threads while some are stuck, up to [`MOST`]; they rest when they are no longer needed;
//! * lets no more requests wait for a layer that does not answer, nor of a user whose requests do not end, once they have their share
//!   of the threads: `ETIMEDOUT` ([`shares`]). A layer's is smaller, so that the others serve a user who is stuck in one;
//! * frees clients that were killed ([`rescue`]), for as long as fuser does not tell of `FUSE_INTERRUPT`.

mod recruit;
mod rescue;
mod seat;
mod shares;

use std::collections::HashSet;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use fuser::Request;
use parking_lot::{Condvar, Mutex};

pub(super) use self::recruit::start as recruit;
pub(super) use self::seat::{Errand, commit, refused};
use self::seat::{Glance, Seat};
use self::shares::Shares;
use crate::ops::Union;

/// How often the watchman looks while all goes well.
const LOOK: Duration = Duration::from_secs(1);
/// The same while some requests take long.
const LOOK_SLOW: Duration = Duration::from_millis(250);
/// The same when no thread is free.
const LOOK_URGENT: Duration = Duration::from_millis(50);
/// A request that takes longer is slow: others are to be served meanwhile.
const SLOW: Duration = Duration::from_millis(100);
/// A request that takes longer is stuck: it counts against its user and its layer, and whether its client lives is looked at.
const STUCK: Duration = Duration::from_secs(1);
/// After so many looks at which threads were free it is urgent no more.
const CALM: u32 = 4;

/// Threads that there may be. Each takes about 25 KiB when it has served.
const MOST: usize = 1024;
/// Of these, how many there may be for requests that are slow and not yet stuck: a disk that is merely slow needs no more.
const MOST_SLOW: usize = 128;

/// Who serves, and who watches over that.
pub(super) struct Crew {
    device: OwnedFd,
    union: Arc<Union>,
    /// How many serve as long as all goes well.
    usual: usize,
    busy: AtomicUsize,
    /// How many serve now; the others rest.
    serving: AtomicUsize,
    /// Whether the watchman will look at what has begun.
    watched: AtomicBool,
    urgent: AtomicBool,
    any_refused: AtomicBool,
    state: Mutex<State>,
    changed: Condvar,
    /// Starts so many more threads.
    recruit: OnceLock<Box<Recruit>>,
}

type Recruit = dyn Fn(usize) -> io::Result<()> + Send + Sync;

#[derive(Default)]
struct State {
    seats: Vec<Arc<Seat>>,
    has_watchman: bool,
    resting: usize,
    /// How many are to serve.
    wanted: usize,
    refused_users: HashSet<u32>,
}

/// One request, from its arrival until after its answer.
pub(super) struct Sitting<'a> {
    crew: &'a Crew,
    extra: bool,
}

impl Crew {
    /// `usual` threads serve requests from `device`.
    pub(super) fn new(device: OwnedFd, union: Arc<Union>, usual: usize) -> Self {
        Self {
            device,
            union,
            usual,
            busy: AtomicUsize::new(0),
            serving: AtomicUsize::new(usual),
            watched: AtomicBool::new(false),
            urgent: AtomicBool::new(false),
            any_refused: AtomicBool::new(false),
            state: Mutex::new(State { wanted: usual, ..State::default() }),
            changed: Condvar::new(),
            recruit: OnceLock::new(),
        }
    }

    /// Who starts threads. Only the first one counts.
    pub(super) fn set_recruit(&self, start: impl Fn(usize) -> io::Result<()> + Send + Sync + 'static) {
        self.recruit.get_or_init(|| Box::new(start));
    }

    /// To be held until the request is answered. `extra`: by a thread that was started by [`Crew::set_recruit`].
    pub(super) fn sit(self: &Arc<Self>, request: &Request, errand: Errand, extra: bool) -> Sitting<'_> {
        let refused = self.any_refused.load(Ordering::Relaxed)
            && self.state.lock().refused_users.contains(&request.uid());
        seat::own(|| self.new_seat(), |seat| seat.begin(request, errand, refused));
        let busy = self.busy.fetch_add(1, Ordering::SeqCst) + 1;
        if !self.watched.load(Ordering::SeqCst) {
            self.watch();
        }
        if busy >= self.serving.load(Ordering::Relaxed) && !self.urgent.load(Ordering::Relaxed) {
            self.urgent.store(true, Ordering::Relaxed);
            self.changed.notify_all();
        }
        Sitting { crew: self, extra }
    }

    /// How many requests were answered, are in hand, and how many threads serve.
    pub(super) fn counts(&self) -> (u64, usize, usize) {
        let answered = self.state.lock().seats.iter().map(|seat| seat.answered()).sum();
        (answered, self.busy.load(Ordering::Relaxed), self.serving.load(Ordering::Relaxed))
    }

    fn new_seat(&self) -> Arc<Seat> {
        let seat = Arc::new(Seat::new());
        self.state.lock().seats.push(seat.clone());
        seat
    }

    /// Lets the watchman look whether all goes well.
    fn watch(self: &Arc<Self>) {
        if self.watched.swap(true, Ordering::SeqCst) {
            return;
        }
        let mut state = self.state.lock();
        if state.has_watchman {
            self.changed.notify_all();
            return;
        }
        let crew = Arc::downgrade(self);
        let body = move || while crew.upgrade().is_some_and(|crew| crew.keep_watch()) {};
        match thread::Builder::new().name("watchman".to_owned()).spawn(body) {
            Ok(_) => state.has_watchman = true,
            // To be tried again at every request would cost more than it is worth.
            Err(error) => log::warn!("nobody watches for requests that are stuck: {error}"),
        }
    }

    /// Waits until there are requests, and looks until there are none. Whether to go on.
    fn keep_watch(self: &Arc<Self>) -> bool {
        let mut glances: Vec<Glance> = Vec::new();
        let mut shares = Shares::new(MOST);
        let mut state = self.state.lock();
        while !self.watched.load(Ordering::SeqCst) {
            self.changed.wait(&mut state);
        }
        drop(state);
        let (mut slow, mut calm) = (0, 0);
        loop {
            let pause = match self.urgent.load(Ordering::Relaxed) {
                true => LOOK_URGENT,
                false if slow > 0 => LOOK_SLOW,
                false => LOOK,
            };
            self.changed.wait_for(&mut self.state.lock(), pause);
            slow = self.look(&mut glances, &mut shares);
            let free =
                slow < self.usual && self.busy.load(Ordering::Relaxed) < self.serving.load(Ordering::Relaxed);
            calm = if free { calm + 1 } else { 0 };
            if calm >= CALM {
                self.urgent.store(false, Ordering::Relaxed);
            }
            if slow == 0 && self.busy.load(Ordering::SeqCst) == 0 {
                self.watched.store(false, Ordering::SeqCst);
                // What began before that was seen has relied on being watched.
                if self.busy.load(Ordering::SeqCst) == 0 {
                    return true;
                }
                self.watched.store(true, Ordering::SeqCst);
            }
        }
    }

    /// How many requests take long.
    fn look(&self, glances: &mut Vec<Glance>, shares: &mut Shares) -> usize {
        let seats = self.state.lock().seats.clone();
        let now = Instant::now();
        glances.resize_with(seats.len(), Glance::default);
        let mut slow = 0;
        shares.begin(now);
        for (seat, glance) in seats.iter().zip(glances) {
            if let Some((layer, user)) = glance.look(seat, now) {
                shares.release(layer, user);
            }
            slow += usize::from(glance.lasts(SLOW));
            if glance.lasts(STUCK) {
                glance.counts_against(seat);
                shares.hold(seat);
                rescue::client_of(seat, glance, &self.device);
            }
        }
        self.share_out(shares);
        self.staff(slow, shares.stuck());
        slow
    }

    /// Says who is to wait no more.
    fn share_out(&self, shares: &Shares) {
        for layer in self.union.layers() {
            let given_up = shares.layer_has_enough(layer.index);
            if layer.given_up.swap(given_up, Ordering::Relaxed) != given_up {
                let path = layer.path.display();
                match given_up {
                    true => {
                        log::error!("layer '{path}' does not answer: further requests end with ETIMEDOUT")
                    }
                    false => log::warn!("layer '{path}' answers again"),
                }
            }
        }
        let refused = shares.users_with_enough();
        let mut state = self.state.lock();
        if refused != state.refused_users {
            for user in refused.difference(&state.refused_users) {
                log::error!("too many requests of user {user} do not end: further ones end with ETIMEDOUT");
            }
            self.any_refused.store(!refused.is_empty(), Ordering::Relaxed);
            state.refused_users = refused;
        }
    }

    /// Sees to it that there are threads for what is neither slow nor stuck.
    fn staff(&self, slow: usize, stuck: usize) {
        let serving = self.serving.load(Ordering::Relaxed);
        let waiting = (slow.saturating_sub(stuck) * 3 / 2).min(MOST_SLOW);
        let needed = (self.usual + waiting + stuck).min(MOST);
        let mut state = self.state.lock();
        if serving.saturating_sub(slow) >= self.usual.div_ceil(2) {
            // Enough are left. Those that are no longer needed may rest.
            state.wanted = needed.max(self.usual);
            return;
        }
        state.wanted = state.wanted.max(needed);
        if state.resting > 0 {
            self.changed.notify_all();
            return;
        }
        let more = needed.saturating_sub(serving);
        drop(state);
        let Some(recruit) = self.recruit.get().filter(|_| more > 0) else { return };
        match recruit(more) {
            Ok(()) => {
                let all = self.serving.fetch_add(more, Ordering::Relaxed) + more;
                log::info!("{slow} requests take long: {all} threads serve");
            }
            Err(error) => log::warn!("start {more} threads: {error}"),
        }
    }

    /// An extra thread that is no longer needed waits here until it is.
    fn rest(&self) {
        let mut state = self.state.lock();
        while self.serving.load(Ordering::Relaxed) > state.wanted {
            self.serving.fetch_sub(1, Ordering::Relaxed);
            state.resting += 1;
            self.changed.wait(&mut state);
            state.resting -= 1;
            self.serving.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Drop for Sitting<'_> {
    fn drop(&mut self) {
        seat::own(|| self.crew.new_seat(), Seat::end);
        self.crew.busy.fetch_sub(1, Ordering::Relaxed);
        if self.extra {
            self.crew.rest();
        }
    }
}
