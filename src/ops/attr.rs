//! Attributes: read and change.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::ensure_upper::Extent;
use super::{Union, insist};
use crate::error::{Error, Result};
use crate::idmap::{LayerId, NO_ID};
use crate::namespace::locks;
use crate::namespace::node::{Body, Home, Node};
use crate::namespace::open_files::OpenFile;
use crate::sys::At;
use crate::types::{Attr, Caller, FsUsage, Kind, NewTime, NodeId, SetAttr, Stat};
use std::os::fd::{AsFd, BorrowedFd};

/// The set-id bits that a change by an unprivileged user takes away.
const SET_UID: u32 = libc::S_ISUID;
const SET_GID: u32 = libc::S_ISGID;
const GROUP_EXECUTE: u32 = libc::S_IXGRP;

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

impl Union {
    /// The attributes of a node.
    pub fn getattr(&self, id: NodeId) -> Result<Attr> {
        let node = self.node(id)?;
        let stat = self.stat(&node)?;
        Ok(self.attr_of(&node, &stat))
    }

    /// Changes attributes, copying the file up first; a smaller size copies only what is left.
    ///
    /// # Errors
    /// `EROFS` without upperdir, `EISDIR` for the size of a directory, `EINVAL` for an owner the id map does not know. Nothing has
    /// changed then.
    pub fn setattr(&self, caller: Caller, id: NodeId, change: SetAttr) -> Result<Attr> {
        let node = self.node(id)?;
        if change.size.is_some() && node.kind != Kind::File {
            let errno = if node.is_dir() { Errno::ISDIR } else { Errno::INVAL };
            return Err(Error::refused(errno, "size of something that is no file"));
        }
        if change.perm.is_some() && node.kind == Kind::Symlink {
            // Before Linux 6.6 the kernel passes on `chmod /proc/self/fd/N`.
            return Err(Error::refused(Errno::OPNOTSUPP, "mode of a symlink"));
        }
        let owner = self.stored_owner(change)?;
        // A change of nothing is how the kernel passes on `chown(-1, -1)`, which updates ctime and clears set-id bits too: it
        // looks only at the latter for whether the caller may, and has forgotten them by then (`fuse_setattr`). A stranger's is
        // not refused, since what precedes his write to a file with capabilities comes as the same.
        let is_nothing = change == SetAttr::default();
        if is_nothing && !self.may_change_owner(caller, &node)? {
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

    /// Attributes after a change.
    pub(super) fn attr_after(&self, node: &Node) -> Result<Attr> {
        insist(|| self.stat(node)).map(|stat| self.attr_of(node, &stat))
    }

    /// The copy is of the wanted size already.
    fn change_copy(&self, at: At<'_>, stat: &Stat, wanted: &Wanted) -> Result<()> {
        if wanted.change.size.is_some() && !self.may_keep_set_id(wanted.caller) {
            let clear = self.set_id_to_clear(wanted.caller, stat);
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
        let may_clear = !self.may_keep_set_id(wanted.caller);
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

    /// Gives a file of the upperdir another size, or the same, which its times tell (POSIX, ftruncate).
    pub(super) fn truncate(&self, file: BorrowedFd<'_>, size: u64) -> Result<()> {
        self.store.truncate(file, size)?;
        if self.is_upper_served()
            && let Err(error) =
                insist(|| Ok(self.store.set_times(At::this(file), None, Some(NewTime::Now))?))
        {
            log::warn!("time of a file after its truncation: {error}");
        }
        Ok(())
    }

    fn change_metadata(&self, at: At<'_>, wanted: &Wanted) -> Result<()> {
        let change = &wanted.change;
        if let Some(owner) = wanted.owner {
            self.change_owner(wanted.caller, at, owner)?;
        }
        if let Some(perm) = change.perm {
            let perm = match perm & (SET_UID | SET_GID) {
                0 => perm,
                _ => self.earned_mode(wanted.caller, &self.stat_at(at)?, perm),
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

    /// `caller` is about to change data of a file without our seeing it: set-id bits go as with any other write.
    pub fn written_unseen(&self, caller: Caller, id: NodeId) -> Result<Attr> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let _gates = locks::lock(&[&node]);
        let file = self.open_gated(&node, true)?;
        self.clear_set_id_for(caller, &file)?;
        self.attr_after(&node)
    }

    /// Takes all data away, as opening with `O_TRUNC` does, copying none of it up. Returns whether the mode changed by it.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn empty(&self, caller: Caller, id: NodeId) -> Result<bool> {
        let node = self.node(id)?;
        let mode = self.stat(&node)?.mode;
        let change = SetAttr { size: Some(0), ..SetAttr::default() };
        let attr = self.change(&node, &Wanted { caller, change, owner: None })?;
        Ok(u32::from(attr.perm) != mode & 0o7777)
    }

    /// The owner and group to store, where they are to be changed.
    fn stored_owner(&self, change: SetAttr) -> Result<(Option<u32>, Option<u32>)> {
        let to_layer = |id: Option<LayerId>| match id {
            None | Some(LayerId::Keep) => Ok(None),
            Some(LayerId::Id(id)) => Ok(Some(id)),
            Some(LayerId::Unmapped) => Err(Error::refused(Errno::INVAL, "the id map has no such owner")),
        };
        let uid = to_layer(change.uid.map(|uid| self.options.id_map.uid_to_layer(uid)))?;
        let gid = to_layer(change.gid.map(|gid| self.options.id_map.gid_to_layer(gid)))?;
        Ok((uid, gid))
    }

    fn change_owner(&self, caller: Caller, at: At<'_>, (uid, gid): (Option<u32>, Option<u32>)) -> Result<()> {
        let sgid = if self.may_keep_set_id(caller) {
            0
        } else {
            let stat = self.stat_at(at)?;
            let lost = self.set_id_to_clear(caller, &stat) & SET_GID;
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

    fn may_change_owner(&self, caller: Caller, node: &Node) -> Result<bool> {
        let owner = self.options.id_map.uid_to_union(self.stat(node)?.uid);
        Ok(caller.uid == 0 || (owner == caller.uid && owner != NO_ID))
    }

    /// Whether the caller has `CAP_FSETID`, as `capable()` sees it.
    pub(super) fn may_keep_set_id(&self, caller: Caller) -> bool {
        self.is_administrator(caller)
    }

    /// Whether `capable()` says yes to the caller: only the root of the initial user namespace has capabilities there.
    pub(super) fn is_administrator(&self, caller: Caller) -> bool {
        caller.uid == 0 && self.options.real_root
    }

    /// Takes the set-id bits away that a change of the data by `caller` must not leave. Returns whether there were any.
    pub(super) fn clear_set_id_for(&self, caller: Caller, file: &OpenFile) -> Result<bool> {
        if self.may_keep_set_id(caller) {
            return Ok(false);
        }
        self.clear_set_id(caller, file)
    }

    /// [`Union::clear_set_id_for`] a caller known not to have `CAP_FSETID`.
    pub(super) fn clear_set_id(&self, caller: Caller, file: &OpenFile) -> Result<bool> {
        let stat = self.store.stat_fd(file.fd.as_fd())?;
        let clear = self.set_id_to_clear(caller, &stat);
        if clear == 0 {
            return Ok(false);
        }
        let _steady = self.steady_mode();
        let stat = self.store.stat_fd(file.fd.as_fd())?;
        self.store.chmod(At::this(file.fd.as_fd()), stat.mode & 0o7777 & !clear)?;
        Ok(true)
    }

    /// The set-id bits that a file loses (kernel: `setattr_should_drop_suidgid`).
    fn set_id_to_clear(&self, caller: Caller, stat: &Stat) -> u32 {
        let sgid = stat.mode & SET_GID;
        let lost = sgid != 0 && (stat.mode & GROUP_EXECUTE != 0 || !self.is_in_group_of(caller, stat));
        stat.mode & SET_UID | if lost { sgid } else { 0 }
    }

    /// Whether the caller is in the group of a file.
    pub(super) fn is_in_group_of(&self, caller: Caller, stat: &Stat) -> bool {
        let group = self.options.id_map.gid_to_union(stat.gid);
        if group == NO_ID {
            return false;
        }
        caller.gid == group
            || crate::sys::creds::groups_of(caller.pid).is_some_and(|groups| groups.contains(&group))
    }

    /// Usage of the filesystem that takes the writes; of the top-most lowerdir's without upperdir.
    pub fn statfs(&self) -> Result<FsUsage> {
        let dir = match &self.upper {
            Some(upper) => &upper.root,
            None => self.roots.first().ok_or(Error::refused(Errno::STALE, "no layer"))?,
        };
        let fd = self.nodes.dirs.open(dir)?;
        Ok(self.store.usage(fd.as_fd())?)
    }

    pub(super) fn attr_of(&self, node: &Node, stat: &Stat) -> Attr {
        let map = &self.options.id_map;
        Attr {
            node: node.id,
            kind: stat.kind(),
            perm: u16::try_from(self.modes.shown(stat) & 0o7777).unwrap_or(0),
            nlink: links_in_union(node, stat),
            uid: map.uid_to_union(stat.uid),
            gid: map.gid_to_union(stat.gid),
            rdev: u32::try_from(encode_device(stat.rdev)).unwrap_or(0),
            size: stat.size,
            blocks: stat.blocks,
            blksize: stat.blksize,
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }
}

/// Merged directories have one link: counting would mean reading them (kernel: `ovl_getattr`). What was removed has none,
/// wherever its content is kept.
fn links_in_union(node: &Node, stat: &Stat) -> u32 {
    let state = node.state.read();
    match &state.body {
        Body::Directory(directory) if directory.removed => 0,
        Body::Directory(directory) if directory.stack.is_merged() => 1,
        Body::Directory(_) => stat.nlink,
        Body::Lower(lower) if state.links().is_empty() && !lower.has_links => 0,
        Body::Lower(_) => stat.nlink,
        Body::Upper(upper) => {
            let extra = match (&upper.index, &upper.home) {
                (Some(entry), _) => entry.extra_links.load(Ordering::Relaxed),
                (None, Home::Parked(_)) => upper.extra_links - 1,
                (None, _) => upper.extra_links,
            };
            u32::try_from((i64::from(stat.nlink) + extra).max(0)).unwrap_or(u32::MAX)
        }
    }
}

/// The device number as the kernel's FUSE protocol carries it (`new_encode_dev`).
fn encode_device(rdev: u64) -> u64 {
    let major = u64::from(rustix::fs::major(rdev));
    let minor = u64::from(rustix::fs::minor(rdev));
    (minor & 0xff) | (major << 8) | ((minor & !0xff) << 12)
}
