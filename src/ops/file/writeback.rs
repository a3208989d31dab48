//! What the kernel's writeback cache hands over late. With it the kernel keeps the times of files, and ours must not be in
//! the way.

use std::collections::HashMap;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::copy_data::{self};
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::file::File;
use crate::ops::insist;
use crate::sys::At;
use crate::types::{Attr, Caller, NewTime, NodeId, SetAttr, Time};

/// The times that the kernel tells of files whose data is being changed meanwhile.
#[derive(Debug, Default)]
pub(in crate::ops) struct FlushedTimes(Mutex<HashMap<NodeId, Flushed>>);

#[derive(Debug, Default)]
struct Flushed {
    listeners: usize,
    last: Option<Time>,
}

impl FlushedTimes {
    fn listen(&self, node: NodeId) -> Listener<'_> {
        self.0.lock().entry(node).or_default().listeners += 1;
        Listener { times: self, node }
    }

    fn tell(&self, node: NodeId, time: Time) {
        if let Some(told) = self.0.lock().get_mut(&node) {
            told.last = Some(time);
        }
    }
}

struct Listener<'a> {
    times: &'a FlushedTimes,
    node: NodeId,
}

impl Listener<'_> {
    /// What was told last since somebody began to listen.
    fn heard(&self) -> Option<Time> {
        self.times.0.lock().get(&self.node).and_then(|told| told.last)
    }
}

impl Drop for Listener<'_> {
    fn drop(&mut self) {
        let mut times = self.times.0.lock();
        let Some(told) = times.get_mut(&self.node) else { return };
        told.listeners -= 1;
        if told.listeners == 0 {
            times.remove(&self.node);
        }
    }
}

impl File {
    /// [`Union::write_back`](crate::Union::write_back).
    pub(in crate::ops) fn write_back(&self, id: NodeId, offset: u64, data: &[u8]) -> Result<usize> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        // A time told between our looking at it and putting it back would be lost.
        let gates = locks::lock(&[&node]);
        let file = self.open_gated(&node, true)?;
        let before = self.store.stat_fd(file.fd.as_fd())?;
        if file.append_only {
            drop(gates);
            return self.append_back(&node, before.size, offset, data);
        }
        let written = copy_data::write_all(&*self.store, file.fd.as_fd(), data, offset);
        self.keep_time(At::this(file.fd.as_fd()), before.mtime);
        written.map(|()| data.len()).map_err(Into::into)
    }

    /// Writes what of pages lies behind the end of an append-only file, if the rest is as it was: pages come whole. Such a file
    /// keeps no time that it is given, either.
    fn append_back(&self, node: &Arc<Node>, end: u64, offset: u64, data: &[u8]) -> Result<usize> {
        let refused = Error::refused(Errno::PERM, "the file is append-only");
        let Some(known) = end.checked_sub(offset).and_then(|known| usize::try_from(known).ok()) else {
            return Err(refused);
        };
        let (known, new) = data.split_at(known.min(data.len()));
        let mut stored = vec![0; known.len()];
        let count = self.read(node.id, offset, &mut stored)?;
        if stored[..count] != *known {
            return Err(refused);
        }
        let file = self.open_file(node, true)?;
        copy_data::write_all(&*self.store, file.fd.as_fd(), new, end)?;
        Ok(data.len())
    }

    /// [`Union::with_flushed_time`](crate::Union::with_flushed_time).
    pub(in crate::ops) fn with_flushed_time<T>(
        &self,
        id: NodeId,
        change: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let node = self.node(id)?;
        // Copying up may take long, and the kernel tell the time meanwhile.
        let told = self.flushed_times.listen(id);
        self.ensure_upper(&node, Extent::All)?;
        let before = self.stat(&node)?.mtime;
        let changed = change();
        let _gates = locks::lock(&[&node]);
        let kept = (changed.is_ok() && is_recent(before)).then_some(before);
        if let Some(mtime) = told.heard().or(kept) {
            match self.held_place(&node) {
                Ok(place) => self.keep_time(place.at(), mtime),
                Err(error) => log::warn!("time of modification of a file: {error}"),
            }
        }
        changed
    }

    /// The data has been written, whatever becomes of its time.
    fn keep_time(&self, at: At<'_>, mtime: Time) {
        if let Err(error) = insist(|| Ok(self.store.set_times(at, None, Some(NewTime::At(mtime)))?)) {
            log::warn!("time of modification of a file: {error}");
        }
    }

    /// [`Union::flush_time`](crate::Union::flush_time).
    pub(in crate::ops) fn flush_time(&self, caller: Caller, id: NodeId, mtime: Time) -> Result<Attr> {
        let node = self.node(id)?;
        // Told first: an operation on the file that began before and misses it sets its own time, and that is seen by the look below.
        self.flushed_times.tell(id, mtime);
        let now = {
            let _gates = locks::lock(&[&node]);
            self.stat(&node)?
        };
        if now.mtime == mtime {
            return Ok(self.attr_of(&node, &now));
        }
        let attr =
            self.setattr(caller, id, SetAttr { mtime: Some(NewTime::At(mtime)), ..SetAttr::default() })?;
        // And again, for one that has begun since.
        self.flushed_times.tell(id, mtime);
        Ok(attr)
    }
}

/// Whether a time may be that of a request in hand. Where the kernel notes none, a file modified so recently keeps its time.
fn is_recent(time: Time) -> bool {
    let since = Duration::new(u64::try_from(time.sec).unwrap_or(0), time.nsec);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.checked_sub(since).is_some_and(|age| age < Duration::from_millis(100))
}
