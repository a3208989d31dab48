//! What the kernel's writeback cache hands over late. With it the kernel keeps the times of files, and ours must not be in
//! the way.

use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustix::io::Errno;

use super::Union;
use super::ensure_upper::Extent;
use crate::error::{Error, Result};
use crate::layer::copy_data;
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::sys::At;
use crate::types::{Attr, Caller, NewTime, NodeId, SetAttr, Time};

impl Union {
    /// Writes pages of the kernel's cache, copying the file up first. The time of modification stays: it is that of the
    /// `write(2)` long before, and the kernel tells it with [`Union::flush_time`] only if it is not what it was told. Returns the
    /// bytes written.
    pub fn write_back(&self, id: NodeId, offset: u64, data: &[u8]) -> Result<usize> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let file = self.open_file(&node, true)?;
        let before = self.store.stat_fd(file.fd.as_fd())?;
        if file.append_only {
            return self.append_back(&node, before.size, offset, data);
        }
        let count = self.store.write(file.fd.as_fd(), data, offset)?;
        self.store.set_times(At::this(file.fd.as_fd()), None, Some(NewTime::At(before.mtime)))?;
        Ok(count)
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

    /// Runs a change of the data whose time the kernel has noted before it sent it (Linux 6.1). Most often it tells that time
    /// later; but when it has told it already, that is the time that stays.
    pub fn with_flushed_time<T>(&self, id: NodeId, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let node = self.node(id)?;
        // Copying up may take long, and the kernel tell the time meanwhile.
        self.ensure_upper(&node, Extent::All)?;
        let before = self.stat(&node)?.mtime;
        let changed = change()?;
        if is_recent(before) {
            let _gates = locks::lock(&[&node]);
            self.store.set_times(self.place(&node)?.at(), None, Some(NewTime::At(before)))?;
        }
        Ok(changed)
    }

    /// Takes over the time of modification that the kernel has kept. It also tells it of files whose change of status is
    /// all that is new, such as one name less: nothing is copied up for that.
    pub fn flush_time(&self, caller: Caller, id: NodeId, mtime: Time) -> Result<Attr> {
        let now = self.getattr(id)?;
        if now.mtime == mtime {
            return Ok(now);
        }
        self.setattr(caller, id, SetAttr { mtime: Some(NewTime::At(mtime)), ..SetAttr::default() })
    }
}

/// Whether a time may be that of a request in hand. Where the kernel notes none, a file modified so recently keeps its time.
fn is_recent(time: Time) -> bool {
    let since = Duration::new(u64::try_from(time.sec).unwrap_or(0), time.nsec);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    now.checked_sub(since).is_some_and(|age| age < Duration::from_millis(100))
}
