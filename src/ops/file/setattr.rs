//! Changing attributes.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::file::File;
use crate::ops::insist;
use crate::sys::At;
use crate::types::{Attr, Caller, Kind, NewTime, NodeId, SetAttr, Stat};

/// A change of attributes, and for whom.
struct Wanted {
    caller: Caller,
    change: SetAttr,
    /// The owner and group to store. Some of neither is a change, too.
    owner: Option<(Option<u32>, Option<u32>)>,
}

impl Wanted {
    fn changes_times(&self) -> bool {
        self.change.atime.is_some() || self.change.mtime.is_some()
    }

    /// How many system calls it takes beside the truncation, about.
    fn steps(&self) -> usize {
        // An owner may take two.
        2 * usize::from(self.owner.is_some())
            + usize::from(self.change.perm.is_some())
            + usize::from(self.changes_times())
            + usize::from(self.change.size.is_some())
    }
}

impl File {
    /// [`Union::setattr`](crate::Union::setattr).
    pub(in crate::ops) fn setattr(&self, caller: Caller, id: NodeId, change: SetAttr) -> Result<Attr> {
        let node = self.node(id)?;
        if change.size.is_some() && node.kind != Kind::File {
            let errno = if node.is_dir() { Errno::ISDIR } else { Errno::INVAL };
            return Err(Error::refused(errno, "size of something that is no file"));
        }
        if change.perm.is_some() && node.kind == Kind::Symlink {
            // Before Linux 6.6 the kernel passes on `chmod /proc/self/fd/N`.
            return Err(Error::refused(Errno::OPNOTSUPP, "mode of a symlink"));
        }
        let owner = self.owners.stored(change.uid, change.gid)?;
        // A change of nothing is how the kernel passes on `chown(-1, -1)`, which updates ctime and clears set-id bits too: it
        // looks only at the latter for whether the caller may, and has forgotten them by then (`fuse_setattr`). A stranger's is
        // not refused, since what precedes his write to a file with capabilities comes as the same.
        let is_nothing = change == SetAttr::default();
        if is_nothing && !self.owners.may_change_owner(caller, &self.stat(&node)?) {
            return self.getattr(id);
        }
        let wanted = Wanted { caller, change, owner: (owner != (None, None) || is_nothing).then_some(owner) };
        self.change(&node, &wanted)
    }

    /// Makes the change on the copy if the file has to be copied up, else in its place; the attributes after it.
    fn change(&self, node: &Arc<Node>, wanted: &Wanted) -> Result<Attr> {
        let extent = wanted.change.size.map_or(Extent::All, Extent::UpTo);
        let on_copy = |at: At<'_>, stat: &Stat| self.change_copy(at, stat, wanted);
        if self.ensure_upper_with(node, extent, &on_copy)? {
            self.link_names_of_changed(node);
        } else {
            let _gates = locks::lock(&[node]);
            self.change_in_place(node, wanted)?;
        }
        self.attr_after(node)
    }

    /// The change has been made: other names that could not be given to the copy are found by the table, and by the index.
    fn link_names_of_changed(&self, node: &Arc<Node>) {
        if !node.is_dir()
            && let Err(error) = self.link_known_names(node)
        {
            log::warn!("a changed file's other names in the upperdir: {error}");
        }
    }

    /// The copy is of the wanted size already.
    fn change_copy(&self, at: At<'_>, stat: &Stat, wanted: &Wanted) -> Result<()> {
        if wanted.change.size.is_some() && !self.owners.may_keep_set_id(wanted.caller) {
            let clear = self.owners.set_id_to_clear(wanted.caller, stat);
            if clear != 0 {
                self.store.chmod(at, stat.mode & 0o7777 & !clear)?;
            }
        }
        self.change_metadata(at, wanted)
    }

    /// Truncates last, for that cannot be undone.
    fn change_in_place(&self, node: &Node, wanted: &Wanted) -> Result<()> {
        let Some(size) = wanted.change.size else {
            // A copy-up of an entry would put back the times from before.
            let _times = node.times_change();
            let place = self.held_place(node)?;
            let before = if wanted.steps() > 1 { Some(self.stat(node)?) } else { None };
            return self
                .change_metadata(place.at(), wanted)
                .inspect_err(|_| self.restore(place.at(), before));
        };
        let file = self.open_gated(node, true)?;
        let this = At::this(file.fd.as_fd());
        let may_clear = !self.owners.may_keep_set_id(wanted.caller);
        let before = if may_clear || wanted.steps() > 1 { Some(self.store.stat_fd(this.dir)?) } else { None };
        let changed = self
            .clear_set_id_for(wanted.caller, &file)
            .and_then(|_| self.change_metadata(this, wanted))
            .and_then(|()| self.truncate(this.dir, size));
        changed.inspect_err(|_| self.restore(this, before))?;
        if wanted.changes_times() {
            // The truncation has changed them once more.
            let SetAttr { atime, mtime, .. } = wanted.change;
            if let Err(error) = insist(|| Ok(self.store.set_times(this, atime, mtime)?)) {
                log::warn!("times of a file after its truncation: {error}");
            }
        }
        Ok(())
    }

    fn change_metadata(&self, at: At<'_>, wanted: &Wanted) -> Result<()> {
        let change = &wanted.change;
        if let Some(owner) = wanted.owner {
            self.change_owner(wanted.caller, at, owner)?;
        }
        if let Some(perm) = change.perm {
            let perm = match perm & (libc::S_ISUID | libc::S_ISGID) {
                0 => perm,
                _ => self.owners.earned_mode(wanted.caller, &self.stat_at(at)?, perm),
            };
            self.change_mode(at, perm & 0o7777)?;
        }
        if wanted.changes_times() {
            self.store.set_times(at, change.atime, change.mtime)?;
        }
        Ok(())
    }

    /// Puts back what a change that failed has changed before that. Failing, too, is in the log.
    fn restore(&self, at: At<'_>, before: Option<Stat>) {
        let Some(before) = before else { return };
        let restored = self.stat_at(at).and_then(|now| {
            if (now.uid, now.gid) != (before.uid, before.gid) {
                self.store.chown(at, Some(before.uid), Some(before.gid))?;
            }
            // A change of the owner takes set-id bits away, too.
            if before.kind() != Kind::Symlink && self.stat_at(at)?.mode != before.mode {
                self.change_mode(at, before.mode & 0o7777)?;
            }
            if (now.atime, now.mtime) != (before.atime, before.mtime) {
                self.store.set_times(at, Some(NewTime::At(before.atime)), Some(NewTime::At(before.mtime)))?;
            }
            Ok(())
        });
        if let Err(error) = restored {
            log::error!("attributes after a change that failed: {error}");
        }
    }

    fn stat_at(&self, at: At<'_>) -> Result<Stat> {
        self.store.stat(at)?.ok_or(Error::refused(Errno::STALE, "the file is gone"))
    }

    /// [`Union::written_unseen`](crate::Union::written_unseen).
    pub(in crate::ops) fn written_unseen(&self, caller: Caller, id: NodeId) -> Result<Attr> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let _gates = locks::lock(&[&node]);
        let file = self.open_gated(&node, true)?;
        self.clear_set_id_for(caller, &file)?;
        self.attr_after(&node)
    }

    /// [`Union::empty`](crate::Union::empty).
    pub(in crate::ops) fn empty(&self, caller: Caller, id: NodeId) -> Result<bool> {
        let node = self.node(id)?;
        let mode = self.stat(&node)?.mode;
        let change = SetAttr { size: Some(0), ..SetAttr::default() };
        let attr = self.change(&node, &Wanted { caller, change, owner: None })?;
        Ok(u32::from(attr.perm) != mode & 0o7777)
    }

    fn change_owner(&self, caller: Caller, at: At<'_>, (uid, gid): (Option<u32>, Option<u32>)) -> Result<()> {
        let sgid = if self.owners.may_keep_set_id(caller) {
            0
        } else {
            let stat = self.stat_at(at)?;
            let lost = self.owners.set_id_to_clear(caller, &stat) & libc::S_ISGID;
            if stat.kind() == Kind::File { lost } else { 0 }
        };
        self.store.chown(at, uid, gid)?;
        if sgid != 0 {
            // The kernel lets us, who may keep it, keep a set-gid bit without group execution.
            let mode = self.stat_at(at)?.mode & 0o7777;
            self.change_mode(at, mode & !sgid)?;
        }
        Ok(())
    }
}
