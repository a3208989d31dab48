//! What to list next, and what is listed already. Does nothing itself.

use std::collections::{HashMap, VecDeque};

use crate::namespace::changes::Stamp;
use crate::namespace::refs::KeptRef;
use crate::types::{DirEntry, Kind, NodeId};

/// After so many more listings that were foreseen than were not, the next ones are made ahead.
const TRUST: i32 = 2;

/// So many entries are kept ready, and more are made when half of them are taken.
const READY: usize = 2048;

/// The same of parts, since a directory may be empty.
const READY_PARTS: usize = 256;

/// So many listings are foreseen, and so many ends of directories are known.
const MOST_FORESEEN: usize = 16_384;
const MOST_ENDS: usize = 256;

/// How far from the next one a listing may be to count as foreseen: some programs sort.
const LOOK: usize = 1024;

/// So many parts are asked for before anything is made ahead again when a change has made it worthless; more, if that goes on.
const PAUSE: i32 = 16;
const PAUSE_MAX: i32 = 1024;

/// A part of a listing: a directory, and the cookie after which it begins.
pub(super) type Key = (NodeId, u64);

/// An entry, and its node unless it is `.` or `..`.
#[derive(Debug)]
pub(super) struct Ready {
    pub(super) entry: DirEntry,
    pub(super) node: Option<KeptRef>,
}

/// Entries as they were at a moment.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) entries: VecDeque<Ready>,
    /// Whether the directory ends with them.
    pub(super) is_last: bool,
    pub(super) stamp: Stamp,
}

impl Part {
    fn key_after(&self, begin: Key) -> Key {
        (begin.0, self.entries.back().map_or(begin.1, |ready| ready.entry.cookie))
    }
}

/// What a listing that is asked for has been found to be.
#[derive(Debug)]
pub(super) enum Asked {
    /// It is ready.
    Ready(Part),
    /// It is being made.
    Underway,
    /// It has to be made.
    Missing,
}

/// What is being listed ahead just now.
#[derive(Debug)]
struct Running {
    /// The part that is being made.
    key: Key,
    /// Somebody may have come first, or something have changed.
    wanted: bool,
    /// How much was foreseen before its own directories were.
    depth: usize,
}

/// The plan. Entries it gives up are collected: they hold references.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// Parts with entries, and in which order they were made.
    ready: HashMap<Key, (u64, Part)>,
    made: u64,
    entries: usize,
    /// Where directories end: the kernel asks once more, to be told that there is nothing.
    ends: HashMap<Key, Stamp>,
    /// A stack: a walk goes into a directory before it goes on beside it.
    foreseen: Vec<Key>,
    running: Option<Running>,
    trust: i32,
    pause: i32,
    /// Enough is ready: nothing is made until half of it is taken.
    is_full: bool,
    /// Whether anything ready was taken since [`Plan::watch_taking`].
    was_taken: bool,
    given_up: Vec<Ready>,
}

impl Plan {
    /// Somebody asks for a part of a listing.
    pub(super) fn ask(&mut self, key: Key, is_current: impl Fn(Stamp) -> bool) -> Asked {
        if let Some(part) = self.go_on(key, &is_current) {
            return Asked::Ready(part);
        }
        if let Some(stamp) = self.ends.remove(&key)
            && is_current(stamp)
        {
            return Asked::Ready(Part { entries: VecDeque::new(), is_last: true, stamp });
        }
        let running = self.running.as_ref().filter(|running| running.key == key);
        let underway = running.map(|running| running.wanted);
        if underway == Some(true) {
            self.trust = (self.trust + 1).min(TRUST);
            return Asked::Underway;
        }
        if self.was_foreseen(key) {
            self.trust = (self.trust + 1).min(TRUST);
        } else if underway.is_none() && key.1 == 0 {
            // It is somebody else, or one who looks around.
            self.trust = if self.trust > 0 { self.trust - 1 } else { (self.trust + 1).min(0) };
        }
        Asked::Missing
    }

    fn was_foreseen(&mut self, key: Key) -> bool {
        let first = self.foreseen.len().saturating_sub(LOOK);
        let found = self.foreseen[first..].iter().rposition(|foreseen| *foreseen == key);
        found.is_some_and(|at| self.foreseen.remove(first + at) == key)
    }

    /// A part that is ready.
    pub(super) fn go_on(&mut self, key: Key, is_current: impl Fn(Stamp) -> bool) -> Option<Part> {
        let (_, part) = self.ready.remove(&key)?;
        self.entries -= part.entries.len();
        if is_current(part.stamp) {
            self.was_taken = true;
            self.pause = (self.pause - 1).max(0);
            return Some(part);
        }
        self.given_up.extend(part.entries);
        None
    }

    /// Somebody has waited for a part, and makes it himself if it is still underway.
    pub(super) fn make_instead(&mut self, key: Key) {
        if let Some(running) = self.running.as_mut().filter(|running| running.key == key) {
            running.wanted = false;
        }
    }

    /// The union changes, and what was listed ahead is out of date.
    pub(super) fn upset(&mut self) {
        self.ends.clear();
        let mut lost = self.give_up_ready();
        if let Some(running) = self.running.as_mut().filter(|running| running.wanted) {
            running.wanted = false;
            lost.push(running.key);
        }
        if lost.is_empty() {
            return;
        }
        self.foreseen.append(&mut lost);
        self.limit_foreseen();
        self.pause = (self.pause * 2).clamp(PAUSE, PAUSE_MAX);
        self.trust = -self.pause;
    }

    /// From now on something should be taken before [`Plan::expire`].
    pub(super) fn watch_taking(&mut self) {
        self.was_taken = false;
    }

    /// Nobody has been taking what is ready: somebody who walks slowly may yet ask for it, but he need not wait long for it then.
    pub(super) fn expire(&mut self) {
        if !self.was_taken {
            let lost = self.give_up_ready();
            self.foreseen.splice(0..0, lost);
            self.limit_foreseen();
            self.trust = self.trust.min(0);
        }
    }

    /// Takes back what of a part did not fit into an answer that ends at `key`.
    pub(super) fn put_back(&mut self, key: Key, rest: Part) {
        if !rest.entries.is_empty() {
            self.keep(key, rest);
        } else if rest.is_last {
            self.ends_at(key, rest.stamp);
        }
    }

    /// A part was listed because it was asked for. It has shown `directories`, in this order, and goes on with `rest`, or ends
    /// there.
    pub(super) fn listed(
        &mut self,
        rest: Key,
        directories: Vec<NodeId>,
        is_last: bool,
        stamp: Option<Stamp>,
    ) {
        self.foresee(self.foreseen.len(), directories);
        match stamp {
            Some(stamp) if is_last => self.ends_at(rest, stamp),
            _ if is_last => {}
            _ => {
                self.foreseen.push(rest);
                self.limit_foreseen();
            }
        }
    }

    /// What to list ahead now, if anything; [`Plan::stop`] is to follow.
    pub(super) fn begin(&mut self) -> Option<Key> {
        if !self.has_work() {
            return None;
        }
        let key = self.foreseen.pop()?;
        self.running = Some(Running { key, wanted: true, depth: self.foreseen.len() });
        Some(key)
    }

    /// Whether [`Plan::begin`] would have something to say.
    pub(super) fn has_work(&mut self) -> bool {
        if self.entries <= READY / 2 && self.ready.len() <= READY_PARTS / 2 {
            self.is_full = false;
        }
        self.trust >= TRUST && !self.is_full && self.running.is_none() && !self.foreseen.is_empty()
    }

    /// Takes a part of what was begun. Whether to go on with the next.
    pub(super) fn progress(&mut self, part: Part) -> bool {
        let Some(mut running) = self.running.take_if(|running| running.wanted) else {
            self.given_up.extend(part.entries);
            return false;
        };
        // Below those of the parts before, since they come after them.
        let at = running.depth.min(self.foreseen.len());
        self.foresee(at, directories_in(part.entries.iter().map(|ready| &ready.entry)));
        let key = running.key;
        running.key = part.key_after(key);
        let is_last = part.is_last;
        self.put_back(key, part);
        if is_last {
            return false;
        }
        if self.is_full {
            self.foreseen.push(running.key);
            return false;
        }
        self.running = Some(running);
        true
    }

    /// The end of what [`Plan::begin`] began.
    pub(super) fn stop(&mut self) {
        self.running = None;
    }

    /// Whether entries are ready or being made: they hold references, and do not outlive a change.
    pub(super) fn is_ahead(&self) -> bool {
        self.entries > 0 || self.running.is_some()
    }

    /// Whether there are entries that were given up.
    pub(super) fn has_given_up(&self) -> bool {
        !self.given_up.is_empty()
    }

    /// The entries that were given up.
    pub(super) fn take_given_up(&mut self) -> Vec<Ready> {
        std::mem::take(&mut self.given_up)
    }

    #[cfg(test)]
    pub(super) fn foresee_for_test(&mut self, key: Key) {
        self.foreseen.push(key);
        self.trust = TRUST;
    }

    /// Returns the keys, those that were made first at the end.
    fn give_up_ready(&mut self) -> Vec<Key> {
        let mut parts: Vec<(u64, Key)> = Vec::with_capacity(self.ready.len());
        for (key, (order, part)) in self.ready.drain() {
            parts.push((order, key));
            self.given_up.extend(part.entries);
        }
        parts.sort_unstable_by(|a, b| b.cmp(a));
        self.entries = 0;
        self.is_full = false;
        parts.into_iter().map(|(_, key)| key).collect()
    }

    fn keep(&mut self, key: Key, part: Part) {
        self.made += 1;
        self.entries += part.entries.len();
        if let Some((_, old)) = self.ready.insert(key, (self.made, part)) {
            self.entries -= old.entries.len();
            self.given_up.extend(old.entries);
        }
        self.is_full |= self.entries >= READY || self.ready.len() >= READY_PARTS;
    }

    fn ends_at(&mut self, key: Key, stamp: Stamp) {
        if self.ends.len() >= MOST_ENDS {
            self.ends.clear();
        }
        self.ends.insert(key, stamp);
    }

    fn foresee(&mut self, at: usize, directories: Vec<NodeId>) {
        self.foreseen.splice(at..at, directories.into_iter().rev().map(|node| (node, 0)));
        self.limit_foreseen();
    }

    /// Forgets those that are farthest away.
    fn limit_foreseen(&mut self) {
        if self.foreseen.len() > MOST_FORESEEN {
            self.foreseen.drain(..self.foreseen.len() - MOST_FORESEEN / 2);
        }
    }
}

/// The directories among entries that can be listed.
pub(super) fn directories_in<'a>(entries: impl IntoIterator<Item = &'a DirEntry>) -> Vec<NodeId> {
    let listed = entries.into_iter().filter(|entry| entry.kind == Kind::Directory && entry.attr.is_some());
    listed.map(|entry| entry.node).collect()
}
