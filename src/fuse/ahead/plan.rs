//! What to list next, and what is listed already. Does nothing itself.

use std::collections::{HashMap, VecDeque};

use super::changes::Stamp;
use crate::types::{DirEntry, Kind, NodeId};

/// After so many listings that were foreseen, the next ones are made ahead.
const TRUST: i32 = 2;

/// So many entries are kept ready, and more are made when half of them are taken.
const READY: usize = 2048;

/// The same of parts, since a directory may be empty.
const READY_PARTS: usize = 256;

/// So many parts are kept at all, and so many are foreseen.
const MOST_PARTS: usize = 1024;
const MOST_FORESEEN: usize = 16_384;

/// How far from the next one a listing may be to count as foreseen: some programs sort.
const LOOK: usize = 1024;

/// How many listings pass by without being foreseen after the union changed under what was made ahead.
const PAUSE: i32 = 16;
const PAUSE_MAX: i32 = 1024;

/// A part of a listing: a directory, and the cookie after which it begins.
pub(super) type Key = (NodeId, u64);

/// Entries as they were at a moment.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) entries: VecDeque<DirEntry>,
    /// Whether the directory ends with them.
    pub(super) is_last: bool,
    pub(super) stamp: Stamp,
}

impl Part {
    fn key_after(&self, begin: Key) -> Key {
        (begin.0, self.entries.back().map_or(begin.1, |entry| entry.cookie))
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
    /// Somebody may have come first.
    wanted: bool,
    /// How much was foreseen before its own directories were.
    depth: usize,
}

/// The plan. Entries it gives up are collected: they hold references.
#[derive(Debug, Default)]
pub(super) struct Plan {
    ready: HashMap<Key, Part>,
    entries: usize,
    /// A stack: a walk goes into a directory before it goes on beside it.
    foreseen: Vec<Key>,
    running: Option<Running>,
    trust: i32,
    pause: i32,
    /// Enough is ready: nothing is made until half of it is taken.
    is_full: bool,
    given_up: Vec<DirEntry>,
}

impl Plan {
    /// Somebody asks for a part of a listing.
    pub(super) fn ask(&mut self, key: Key, is_current: impl FnOnce(Stamp) -> bool) -> Asked {
        if let Some(part) = self.ready.remove(&key) {
            return self.answer(part, is_current);
        }
        if self.running.as_ref().is_some_and(|running| running.key == key && running.wanted) {
            self.trust = (self.trust + 1).min(TRUST);
            return Asked::Underway;
        }
        let first = self.foreseen.len().saturating_sub(LOOK);
        match self.foreseen[first..].iter().rposition(|foreseen| *foreseen == key) {
            Some(at) => {
                self.foreseen.remove(first + at);
                self.trust = (self.trust + 1).min(TRUST);
            }
            // Somebody goes back to a place of his own.
            None if key.1 != 0 => {}
            None => {
                let trust = self.trust;
                self.start_anew();
                self.trust = (trust + 1).min(0);
            }
        }
        Asked::Missing
    }

    fn answer(&mut self, part: Part, is_current: impl FnOnce(Stamp) -> bool) -> Asked {
        self.entries -= part.entries.len();
        if is_current(part.stamp) {
            if !part.entries.is_empty() {
                self.pause = (self.pause - 1).max(0);
            }
            return Asked::Ready(part);
        }
        self.given_up.extend(part.entries);
        Asked::Missing
    }

    /// The union changes, and what was listed ahead is out of date.
    pub(super) fn upset(&mut self) {
        self.start_anew();
        self.pause = (self.pause * 2).clamp(PAUSE, PAUSE_MAX);
        self.trust = -self.pause;
    }

    /// The part behind one that was taken, if it is ready.
    pub(super) fn go_on(&mut self, key: Key, is_current: impl FnOnce(Stamp) -> bool) -> Option<Part> {
        match self.ready.remove(&key).map(|part| self.answer(part, is_current))? {
            Asked::Ready(part) => Some(part),
            Asked::Underway | Asked::Missing => None,
        }
    }

    /// Somebody has waited for a part, and makes it himself if it is still underway.
    pub(super) fn make_instead(&mut self, key: Key) {
        if let Some(running) = self.running.as_mut().filter(|running| running.key == key) {
            running.wanted = false;
        }
    }

    /// Takes back what of a part did not fit into an answer that ends at `key`.
    pub(super) fn put_back(&mut self, key: Key, rest: Part) {
        if !rest.entries.is_empty() || rest.is_last {
            self.keep(key, rest);
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
            Some(stamp) if is_last => self.keep(rest, Part { entries: VecDeque::new(), is_last, stamp }),
            _ if is_last => {}
            _ => self.foreseen.push(rest),
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
        self.foresee(at, directories_in(&part.entries));
        let key = running.key;
        running.key = part.key_after(key);
        let is_last = part.is_last;
        self.keep(key, part);
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

    /// Gives everything up that is ready, and what was foreseen.
    pub(super) fn start_anew(&mut self) {
        self.given_up.extend(self.ready.drain().flat_map(|(_, part)| part.entries));
        self.entries = 0;
        self.is_full = false;
        self.foreseen.clear();
        self.trust = self.trust.min(0);
        if let Some(running) = &mut self.running {
            running.wanted = false;
        }
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
    pub(super) fn take_given_up(&mut self) -> Vec<DirEntry> {
        std::mem::take(&mut self.given_up)
    }

    #[cfg(test)]
    pub(super) fn foresee_for_test(&mut self, key: Key) {
        self.foreseen.push(key);
        self.trust = TRUST;
    }

    fn keep(&mut self, key: Key, part: Part) {
        if self.ready.len() >= MOST_PARTS {
            self.start_anew();
        }
        self.entries += part.entries.len();
        self.is_full |= self.entries >= READY || self.ready.len() >= READY_PARTS;
        if let Some(old) = self.ready.insert(key, part) {
            self.entries -= old.entries.len();
            self.given_up.extend(old.entries);
        }
    }

    fn foresee(&mut self, at: usize, directories: Vec<NodeId>) {
        if self.foreseen.len() + directories.len() <= MOST_FORESEEN {
            self.foreseen.splice(at..at, directories.into_iter().rev().map(|node| (node, 0)));
        }
    }
}

/// The directories among entries that can be listed.
pub(super) fn directories_in<'a>(entries: impl IntoIterator<Item = &'a DirEntry>) -> Vec<NodeId> {
    let listed = entries.into_iter().filter(|entry| entry.kind == Kind::Directory && entry.attr.is_some());
    listed.map(|entry| entry.node).collect()
}
