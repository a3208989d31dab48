//! Serving a lone client on its own processor.
//!
//! A request wakes a thread of ours, and its answer wakes the client: when both run on one processor that costs two context
//! switches, and when they do not, two interrupts to a processor that has gone to sleep meanwhile. The scheduler wakes
//! whom it can on an idle processor, so it never lets the two meet by itself. It does when the one that wakes is of the class
//! `SCHED_IDLE`, for then the processor counts as idle (`sched_idle_cpu` in kernel/sched/fair.c). On two virtual processors an
//! untar takes 0.6 of the time (docs/performance.md).
//!
//! So, while one client alone sends many requests, one thread of that class, the *follower*, answers on the client's
//! processor, and the others stand by: one of them looks when nothing was answered for two milliseconds, since a busy machine may
//! leave the follower little time. While all goes well it sleeps: a thread that wakes regularly, if only for a moment, makes its
//! processor look for work each time, and take the client. As soon as there is another client, a standstill or a pause,
//! everyone serves again, and the follower rests: a plain user's thread that has been of that class stays so.

mod alarm;
mod followed;
mod streak;
mod watched;

use std::cell::{Cell, RefCell};
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use self::alarm::Alarm;
use self::followed::{Followed, Watch};
use self::streak::Streak;
use self::watched::Watched;
use crate::sys::sched::{CpuSet, Thread};

/// How long nothing may be answered before somebody looks, and how often he looks then.
const WATCH: Duration = Duration::from_millis(2);

/// How late the follower may be in putting off the next look.
const PUT_OFF: Duration = Duration::from_millis(1);

/// After so many looks at a follower that waits for the disk while there are other requests, everyone serves again.
const BLOCKED: u32 = 1;

/// After so many looks at one that does not get to run, too: more than the time slice of another thread, since any thread has
/// to wait for that.
const STARVED: u32 = 5;

/// After so many looks without a request everyone serves again.
const IDLE: u32 = 50;

/// So many requests of others end it, if they come among [`FORGIVEN_AFTER`] ones.
const STRANGERS: u32 = 4;
const FORGIVEN_AFTER: u32 = 256;

/// In place of the client of a request that nobody waits for yet, and that is best answered on another processor than its
/// client's; no thread has this number.
pub(super) const STREAM: u32 = u32::MAX;

/// How long nobody is followed after it ended; longer if it ended because the follower did not get to run.
const PAUSE: Duration = Duration::from_millis(20);
const PAUSE_STARVED: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How often a resting follower makes sure that there is still a mount, should nobody have told it.
const STILL_MOUNTED: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Server,
    Follower,
}

thread_local! {
    static ROLE: Cell<Role> = const { Cell::new(Role::Server) };
    static LAST_WORD: RefCell<Option<LastWord>> = const { RefCell::new(None) };
}

/// Tells the threads that wait when one that serves has ended: they end together, with the mount.
struct LastWord(Weak<Follow>);

impl Drop for LastWord {
    fn drop(&mut self) {
        if let Some(follow) = self.0.upgrade() {
            follow.end(&mut follow.state.lock());
        }
    }
}

/// Who is followed, by whom, and who stands by.
pub(super) struct Follow {
    device: OwnedFd,
    everywhere: CpuSet,
    begun: Instant,
    streak: Streak,
    /// Whether the follower alone serves. Changed under the lock of `state`.
    following: AtomicBool,
    /// Whether the follower is at work on a request.
    busy: AtomicBool,
    /// Wakes the one that stands by.
    alarm: Alarm,
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    followed: Option<Followed>,
    follower: Option<Follower>,
    watched: bool,
    ended: bool,
    not_before: Instant,
    pause: Duration,
}

/// The thread that follows, from the first time on.
struct Follower {
    thread: Thread,
    watched: Watched,
}

/// One request, from its arrival until after its answer.
pub(super) struct Following<'a> {
    follow: Option<&'a Follow>,
    client: u32,
}

impl Drop for Following<'_> {
    fn drop(&mut self) {
        if let Some(follow) = self.follow {
            follow.answered(self.client);
        }
    }
}

/// The beginning of a request of the thread `client`; the end of it may be a long wait.
pub(super) fn following(follow: Option<&Arc<Follow>>, client: u32) -> Following<'_> {
    if let Some(follow) = follow {
        LAST_WORD.with_borrow_mut(|word| {
            word.get_or_insert_with(|| LastWord(Arc::downgrade(follow)));
        });
        if ROLE.get() == Role::Follower {
            follow.busy.store(true, Ordering::Relaxed);
        }
    }
    Following { follow: follow.map(Arc::as_ref), client }
}

impl Follow {
    /// For requests that come from `device`; `None` where there is but one processor, or no telling them apart, or where
    /// somebody has given the daemon a class of his choice.
    pub(super) fn new(device: OwnedFd) -> Option<Self> {
        if !Thread::current().is_ordinary() {
            return None;
        }
        let everywhere = Thread::current().processors().ok().filter(|all| all.count() > 1)?;
        let now = Instant::now();
        Some(Self {
            device,
            everywhere,
            begun: now,
            streak: Streak::default(),
            following: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            alarm: Alarm::new().ok()?,
            state: Mutex::new(State {
                followed: None,
                follower: None,
                watched: false,
                ended: false,
                not_before: now,
                pause: PAUSE,
            }),
            changed: Condvar::new(),
        })
    }

    fn answered(&self, client: u32) {
        match (ROLE.get(), self.following.load(Ordering::Acquire)) {
            (Role::Server, false) => self.serve(client),
            (Role::Server, true) => self.stand_by(),
            (Role::Follower, following) => {
                self.busy.store(false, Ordering::Relaxed);
                if !following || !self.keep_following(client) {
                    self.rest();
                }
            }
        }
    }

    fn serve(&self, client: u32) {
        if self.streak.note(client, || self.begun.elapsed().as_nanos() as u64) && self.begin(client) {
            self.stand_by();
        }
    }

    /// Starts to follow `client`, if that is possible. The first time, the calling thread becomes the follower.
    fn begin(&self, client: u32) -> bool {
        let mut state = self.state.lock();
        let occupied = self.following.load(Ordering::Relaxed) || self.busy.load(Ordering::Relaxed);
        if occupied || state.ended || Instant::now() < state.not_before {
            return false;
        }
        let first = state.follower.is_none() && Self::appoint(&mut state);
        let willing = state.follower.as_ref().is_some_and(|follower| follower.thread.yield_to_all().is_ok());
        let Some(client) = Watched::find(client).filter(|_| willing) else {
            state.not_before = Instant::now() + PAUSE_MAX;
            return false;
        };
        log::debug!("following thread {}", client.thread());
        state.followed = Some(Followed::of(client));
        self.alarm.set(WATCH);
        self.following.store(true, Ordering::Release);
        self.changed.notify_all();
        !first
    }

    /// Makes the calling thread the follower, if the kernel tells whether it gets to run.
    fn appoint(state: &mut State) -> bool {
        let thread = Thread::current();
        let Some(watched) = Watched::find(thread.number()) else { return false };
        state.follower = Some(Follower { thread, watched });
        ROLE.set(Role::Follower);
        true
    }

    /// After an answer of the follower: whether it goes on.
    fn keep_following(&self, client: u32) -> bool {
        let mut state = self.state.lock();
        let state = &mut *state;
        let Some(followed) = &mut state.followed else { return false };
        followed.answered = followed.answered.wrapping_add(1);
        if client != followed.client.thread() && client != 0 {
            followed.strangers += 1;
        }
        if followed.strangers >= STRANGERS {
            self.spread(state, "there are other clients", PAUSE);
            return false;
        }
        if followed.answered % FORGIVEN_AFTER == 0 {
            followed.strangers = 0;
        }
        if followed.may_have_moved() && !followed.go_along() {
            self.spread(state, "its client is gone", PAUSE);
            return false;
        }
        let now = Instant::now();
        if now - followed.alive > PUT_OFF {
            followed.alive = now;
            self.alarm.set(WATCH);
        }
        true
    }

    /// To be called by a thread that has a request in hand which will take long: everyone else serves meanwhile. Whether it is the
    /// follower, which gets to run only while nobody else wants to.
    pub(super) fn hand_over(&self) -> bool {
        if ROLE.get() != Role::Follower {
            return false;
        }
        if self.following.load(Ordering::Acquire) {
            self.spread(&mut self.state.lock(), "a long request begins", PAUSE);
        }
        true
    }

    /// Waits while someone is followed, and watches that requests are answered.
    fn stand_by(&self) {
        let mut state = self.state.lock();
        let mut away_from = None;
        while self.following.load(Ordering::Relaxed) && !state.ended {
            if state.watched {
                self.changed.wait(&mut state);
                continue;
            }
            let client_on = state.followed.as_ref().and_then(|followed| followed.processor);
            if client_on != away_from && self.keep_away_from(client_on) {
                away_from = client_on;
            }
            state.watched = true;
            MutexGuard::unlocked(&mut state, || self.alarm.wait());
            state.watched = false;
            self.watch(&mut state);
        }
        drop(state);
        if away_from.is_some() {
            self.keep_away_from(None);
        }
    }

    /// Keeps the calling thread off the processor of the client, which would leave it for one that is idle.
    fn keep_away_from(&self, processor: Option<usize>) -> bool {
        let mut elsewhere = self.everywhere;
        if let Some(processor) = processor {
            elsewhere.unset(processor);
        }
        Thread::current().keep_to(&elsewhere).is_ok()
    }

    fn watch(&self, state: &mut MutexGuard<'_, State>) {
        let state = &mut **state;
        let Some(followed) = &mut state.followed else { return };
        self.alarm.set(WATCH);
        let watch = &mut followed.watch;
        if watch.answered != followed.answered {
            *watch = Watch { answered: followed.answered, ..Watch::default() };
            return;
        }
        watch.looks += 1;
        if state.follower.as_ref().is_some_and(|follower| follower.watched.is_runnable()) {
            watch.starving += 1;
        } else if self.waiting(PollFlags::IN) {
            watch.others += 1;
        }
        if watch.starving >= STARVED {
            let pause = (state.pause * 2).clamp(PAUSE_STARVED, PAUSE_MAX);
            self.spread(state, "the processor is busy", pause);
        } else if watch.others >= BLOCKED {
            self.spread(state, "other requests wait", PAUSE);
        } else if watch.looks >= IDLE && !self.busy.load(Ordering::Relaxed) {
            self.spread(state, "it pauses", PAUSE);
        }
    }

    /// Lets everyone serve again.
    fn spread(&self, state: &mut State, why: &str, pause: Duration) {
        if let Some(followed) = state.followed.take() {
            let Followed { answered, moves, client, .. } = followed;
            log::debug!(
                "followed thread {} for {answered} requests to {moves} places: {why}",
                client.thread()
            );
        }
        state.pause = pause;
        state.not_before = Instant::now() + pause;
        self.following.store(false, Ordering::Release);
        if let Some(Follower { thread, .. }) = state.follower {
            // A request it has in hand should be answered soon. Not to be given its class back is what a plain user expects,
            // and not to be let onto a processor that has gone offline does no harm either.
            let _ = thread.keep_to(&self.everywhere);
            let _ = thread.run_normally();
        }
        self.alarm.set(Duration::ZERO);
        self.changed.notify_all();
    }

    /// The follower waits until it is needed again.
    fn rest(&self) {
        let mut state = self.state.lock();
        while !self.following.load(Ordering::Relaxed) && !state.ended {
            if self.changed.wait_for(&mut state, STILL_MOUNTED).timed_out()
                && self.waiting(PollFlags::empty())
            {
                return;
            }
        }
    }

    fn end(&self, state: &mut State) {
        state.ended = true;
        self.alarm.set(Duration::ZERO);
        self.changed.notify_all();
    }

    /// Whether the device has what is in `flags` to be read, or is no longer mounted.
    fn waiting(&self, flags: PollFlags) -> bool {
        poll(&mut [PollFd::new(&self.device, flags)], Some(&Timespec { tv_sec: 0, tv_nsec: 0 })) != Ok(0)
    }
}
