//! Listings made before they are asked for.
//!
//! Whoever walks a tree does three things in turns: he waits while the kernel takes in a listing, while we make it, and he
//! does his own work. Ours can be done meanwhile, on another processor (or by the disk): most of what is listed next has been
//! shown by the listings before. A walk goes into the first directory of a listing, and beside it when it is through; a
//! listing of many entries goes on where it has ended.
//!
//! Nothing is listed ahead until a few listings were foreseen, and what was is worth nothing after a change of anything in the
//! union: the attributes of an answer must not be older than the last change before its request, because the kernel keeps them for ever. So
//! each part bears the [`Stamp`] of its moment, which is looked at when it is asked for; that a change also gives up all that is ready is
//! for the sake of the references it holds. An upper file that is read has another access time, which is a change.

mod plan;

use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use fuser::INodeNo;
use parking_lot::{Condvar, Mutex, MutexGuard};

use self::plan::{Asked, Key, Part, Plan, Ready};
use super::answer::run;
use crate::error::Result;
use crate::namespace::changes::Stamp;
use crate::namespace::refs::{KeptRef, NodeRef};
use crate::ops::Union;
use crate::types::{DirEntry, NodeId};

/// So many entries are made ready at once; an answer to the kernel holds up to about 200.
const PART: usize = 64;

/// What is underway is waited for so long: the thread may have to wait for a processor, or for the disk.
const MOMENT: Duration = Duration::from_millis(2);

/// When nothing is taken for this time, what is ready is given up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Takes entries, whose references are the kernel's then; breaking says that the entry was not taken.
type Visit<'v> = dyn FnMut(&DirEntry) -> ControlFlow<()> + 'v;

/// Lists directories for the kernel, some of them ahead.
pub(super) struct Prefetch(Arc<Shared>);

struct Shared {
    union: Arc<Union>,
    /// Whether a change has something to upset: [`Plan::is_ahead`].
    is_ahead: Arc<AtomicBool>,
    state: Mutex<State>,
    /// For the thread: there is something to do.
    changed: Condvar,
    /// For those who wait for what it does.
    progress: Condvar,
}

#[derive(Default)]
struct State {
    plan: Plan,
    has_ended: bool,
}

impl Prefetch {
    /// `None` where there is one processor only: nothing could be done meanwhile.
    pub(super) fn new(union: Arc<Union>) -> Option<Self> {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        (processors > 1).then(|| Self::unchecked(union))
    }

    fn unchecked(union: Arc<Union>) -> Self {
        let shared = Arc::new(Shared {
            union,
            is_ahead: Arc::default(),
            state: Mutex::default(),
            changed: Condvar::new(),
            progress: Condvar::new(),
        });
        let (listener, is_ahead) = (Arc::downgrade(&shared), shared.is_ahead.clone());
        shared.union.changes().listen(move || {
            if is_ahead.load(Relaxed)
                && let Some(shared) = listener.upgrade()
            {
                shared.upset();
            }
        });
        Self(shared)
    }

    /// Starts the thread. Not from one that serves: a follower would hand down its class and its processor.
    pub(super) fn start(&self) {
        let shared = self.0.clone();
        let started = thread::Builder::new().name("ahead".to_owned()).spawn(move || shared.work());
        if let Err(error) = started {
            log::warn!("nothing will be listed ahead: start a thread: {error}");
        }
    }

    /// [`Union::read_dir`] with attributes.
    pub(super) fn list(&self, node: NodeId, cookie: u64, visit: &mut Visit<'_>) -> Result<()> {
        let key = (node, cookie);
        match self.ask(key) {
            Some(part) => {
                self.answer(key, part, visit);
                Ok(())
            }
            None => self.list_now(key, visit),
        }
    }

    /// The part that is asked for, if it is ready in a moment.
    fn ask(&self, key: Key) -> Option<Part> {
        let mut state = self.0.state.lock();
        let end = Instant::now() + MOMENT;
        loop {
            match self
                .0
                .update(&mut state, |plan| plan.ask(key, |stamp| self.0.union.changes().none_since(stamp)))
            {
                Asked::Ready(part) => return Some(part),
                Asked::Missing => return None,
                Asked::Underway => {}
            }
            if self.0.progress.wait_until(&mut state, end).timed_out() {
                state.plan.make_instead(key);
            }
        }
    }

    fn answer(&self, (node, mut cookie): Key, mut part: Part, visit: &mut Visit<'_>) {
        let first = cookie;
        loop {
            while let Some(ready) = part.entries.pop_front() {
                if visit(&ready.entry).is_break() {
                    part.entries.push_front(ready);
                    return self.plan(|plan| plan.put_back((node, cookie), part));
                }
                cookie = ready.entry.cookie;
                ready.node.map(KeptRef::give_to_kernel);
            }
            if part.is_last {
                // The kernel asks once more, to be told that there is nothing.
                if cookie != first {
                    self.plan(|plan| plan.put_back((node, cookie), part));
                }
                return;
            }
            match self
                .plan(|plan| plan.go_on((node, cookie), |stamp| self.0.union.changes().none_since(stamp)))
            {
                Some(next) => part = next,
                None => return,
            }
        }
    }

    fn list_now(&self, (node, mut cookie): Key, visit: &mut Visit<'_>) -> Result<()> {
        let stamp = self.0.union.changes().stamp();
        let mut directories = Vec::new();
        let mut is_last = true;
        self.0.union.read_dir(node, cookie, true, &mut |entry, node| {
            let flow = visit(&entry);
            if flow.is_break() {
                is_last = false;
            } else {
                node.map(NodeRef::give_to_kernel);
                cookie = entry.cookie;
                directories.extend(plan::directories_in([&entry]));
            }
            flow
        })?;
        self.plan(|plan| plan.listed((node, cookie), directories, is_last, stamp));
        Ok(())
    }

    /// Changes the plan, and sees to it that it is carried out.
    fn plan<T>(&self, change: impl FnOnce(&mut Plan) -> T) -> T {
        let mut state = self.0.state.lock();
        let outcome = self.0.update(&mut state, change);
        if state.plan.has_work() {
            self.0.changed.notify_one();
        }
        outcome
    }
}

impl Drop for Prefetch {
    fn drop(&mut self) {
        self.0.state.lock().has_ended = true;
        self.0.changed.notify_one();
    }
}

impl Shared {
    fn update<T>(&self, state: &mut State, change: impl FnOnce(&mut Plan) -> T) -> T {
        let outcome = change(&mut state.plan);
        let is_ahead = state.plan.is_ahead();
        let was_ahead = self.is_ahead.swap(is_ahead, Relaxed);
        // Somebody has to see to it that nothing is kept ready for long.
        if state.plan.has_given_up() || (is_ahead && !was_ahead) {
            self.changed.notify_one();
        }
        outcome
    }

    /// Something is about to be changed.
    fn upset(&self) {
        self.update(&mut self.state.lock(), Plan::upset);
        self.progress.notify_all();
    }

    fn work(&self) {
        let mut state = self.state.lock();
        while !state.has_ended {
            if !self.step(&mut state) {
                self.rest(&mut state);
            }
        }
        self.update(&mut state, Plan::upset);
        let given_up = state.plan.take_given_up();
        drop(state);
        let_go(given_up);
    }

    /// Does the next thing there is to do; `false` if there is none.
    fn step(&self, state: &mut MutexGuard<'_, State>) -> bool {
        let given_up = state.plan.take_given_up();
        if !given_up.is_empty() {
            MutexGuard::unlocked(state, || let_go(given_up));
            return true;
        }
        let Some(stamp) = self.union.changes().stamp() else { return false };
        let Some(key) = self.update(state, Plan::begin) else { return false };
        MutexGuard::unlocked(state, || self.list(key, stamp));
        true
    }

    fn rest(&self, state: &mut MutexGuard<'_, State>) {
        if !state.plan.is_ahead() {
            self.changed.wait(state);
            return;
        }
        state.plan.watch_taking();
        if self.changed.wait_for(state, PATIENCE).timed_out() {
            self.update(state, Plan::expire);
        }
    }

    /// Lists what the plan has begun, as far as it wants. An error is not kept: whoever asks for that directory gets it himself.
    fn list(&self, (node, cookie): Key, stamp: Stamp) {
        let mut listing = Listing { shared: self, stamp, entries: VecDeque::new(), goes_on: true };
        let listed = run("list ahead", INodeNo(node.0), || {
            self.union.read_dir(node, cookie, true, &mut |entry, node| listing.add(entry, node))
        });
        if listed.is_ok() && listing.goes_on {
            listing.hand_over(true);
        }
        self.update(&mut self.state.lock(), Plan::stop);
        self.progress.notify_all();
        let_go(listing.entries);
    }
}

/// Gives references back, which may close and remove things.
fn let_go(entries: impl IntoIterator<Item = Ready>) {
    for ready in entries {
        // It is in the log; there is nobody to tell it.
        let _ = run("forget", INodeNo(ready.entry.node.0), || {
            drop(ready.node);
            Ok(())
        });
    }
}

/// A directory being listed ahead.
struct Listing<'a> {
    shared: &'a Shared,
    stamp: Stamp,
    /// What the plan has not got yet.
    entries: VecDeque<Ready>,
    goes_on: bool,
}

impl Listing<'_> {
    fn add(&mut self, entry: DirEntry, node: Option<NodeRef<'_>>) -> ControlFlow<()> {
        if self.entries.len() >= PART {
            self.hand_over(false);
        }
        if !self.goes_on {
            return ControlFlow::Break(());
        }
        let node = node.map(|node| self.shared.union.keep(node));
        self.entries.push_back(Ready { entry, node });
        ControlFlow::Continue(())
    }

    /// Gives the plan what there is, unless it is out of date.
    fn hand_over(&mut self, is_last: bool) {
        self.goes_on = self.shared.union.changes().none_since(self.stamp);
        if !self.goes_on {
            return;
        }
        let part = Part { entries: std::mem::take(&mut self.entries), is_last, stamp: self.stamp };
        let mut state = self.shared.state.lock();
        self.goes_on = self.shared.update(&mut state, |plan| plan.progress(part));
        self.shared.progress.notify_all();
    }
}

#[cfg(test)]
mod tests;
