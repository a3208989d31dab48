//! Attributes: read and change.

use std::sync::atomic::Ordering;

use rustix::io::Errno;

use super::Union;
use super::ensure_upper::Extent;
use crate::error::{Error, Result};
use crate::idmap::{LayerId, NO_ID};
use crate::namespace::locks;
use crate::namespace::node::{Body, Home, Node};
use crate::types::{Attr, Caller, FsUsage, Kind, NodeId, SetAttr, Stat};
use std::os::fd::AsFd;

/// The set-id bits that a change by an unprivileged user takes away.
const SET_UID: u32 = libc::S_ISUID;
const SET_GID: u32 = libc::S_ISGID;
const GROUP_EXECUTE: u32 = libc::S_IXGRP;

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
    /// `EROFS` without upperdir, `EISDIR` for the size of a directory, `EINVAL` for an owner the id map does not know.
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
        // Nothing may have changed when this is refused.
        let owner = self.stored_owner(change)?;
        // A change of nothing is how the kernel passes on `chown(-1, -1)`, which updates ctime and clears set-id bits too: it
        // looks only at the latter for whether the caller may, and has forgotten them by then (`fuse_setattr`). A stranger's is
        // not refused, since what precedes his write to a file with capabilities comes as the same.
        let is_nothing = change == SetAttr::default();
        if is_nothing && !self.may_change_owner(caller, &node)? {
            return self.getattr(id);
        }
        let extent = change.size.map_or(Extent::All, Extent::UpTo);
        self.ensure_upper(&node, extent)?;
        let _gates = locks::lock(&[&node]);
        if let Some(size) = change.size {
            self.truncate(caller, &node, size)?;
        }
        if owner != (None, None) || is_nothing {
            self.change_owner(caller, &node, owner)?;
        }
        let place = self.place(&node)?;
        if let Some(perm) = change.perm {
            let perm = match perm & (SET_UID | SET_GID) {
                0 => perm,
                _ => self.earned_mode(caller, &self.stat(&node)?, perm),
            };
            self.store.chmod(place.at(), perm & 0o7777)?;
        }
        if change.atime.is_some() || change.mtime.is_some() {
            self.store.set_times(place.at(), change.atime, change.mtime)?;
        }
        let stat = self.stat(&node)?;
        Ok(self.attr_of(&node, &stat))
    }

    /// `caller` is about to change data of a file without our seeing it: set-id bits go as with any other write.
    pub fn written_unseen(&self, caller: Caller, id: NodeId) -> Result<Attr> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let _gates = locks::lock(&[&node]);
        let file = self.open_gated(&node, true)?;
        self.clear_set_id_for(caller, &file)?;
        let stat = self.stat(&node)?;
        Ok(self.attr_of(&node, &stat))
    }

    fn truncate(&self, caller: Caller, node: &Node, size: u64) -> Result<()> {
        let file = self.open_gated(node, true)?;
        self.clear_set_id_for(caller, &file)?;
        Ok(self.store.truncate(file.fd.as_fd(), size)?)
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

    fn change_owner(
        &self,
        caller: Caller,
        node: &Node,
        (uid, gid): (Option<u32>, Option<u32>),
    ) -> Result<()> {
        let place = self.place(node)?;
        let sgid = match node.kind {
            Kind::File if !self.may_keep_set_id(caller) => {
                self.set_id_to_clear(caller, &self.stat(node)?) & SET_GID
            }
            _ => 0,
        };
        self.store.chown(place.at(), uid, gid)?;
        if sgid != 0 {
            // The kernel lets us, who may keep it, keep a set-gid bit without group execution.
            let mode = self.stat(node)?.mode & 0o7777;
            self.store.chmod(place.at(), mode & !sgid)?;
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
    pub(super) fn clear_set_id_for(&self, caller: Caller, file: &super::OpenFile) -> Result<bool> {
        if self.may_keep_set_id(caller) {
            return Ok(false);
        }
        self.clear_set_id(caller, file)
    }

    /// [`Union::clear_set_id_for`] a caller known not to have `CAP_FSETID`.
    pub(super) fn clear_set_id(&self, caller: Caller, file: &super::OpenFile) -> Result<bool> {
        let stat = self.store.stat_fd(file.fd.as_fd())?;
        let clear = self.set_id_to_clear(caller, &stat);
        if clear == 0 {
            return Ok(false);
        }
        self.store.chmod(crate::sys::At::this(file.fd.as_fd()), stat.mode & 0o7777 & !clear)?;
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
        let fd = self.dirs.open(dir)?;
        Ok(self.store.usage(fd.as_fd())?)
    }

    pub(super) fn attr_of(&self, node: &Node, stat: &Stat) -> Attr {
        let map = &self.options.id_map;
        Attr {
            node: node.id,
            kind: stat.kind(),
            perm: u16::try_from(stat.mode & 0o7777).unwrap_or(0),
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
        Body::Lower(lower) if state.links.is_empty() && !lower.has_links => 0,
        Body::Lower(_) => stat.nlink,
        Body::Upper(upper) => {
            let extra = match (&upper.index, &upper.home) {
                (Some(entry), _) => entry.extra_links.load(Ordering::Relaxed),
                (None, Home::Parked(_)) => -1,
                (None, _) => 0,
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
