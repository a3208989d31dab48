//! Set-id bits: which a caller may give and keep, also where files are stored with another owner than they are shown with.

use super::Owners;
use crate::sys::creds;
use crate::types::{Caller, Stat};

/// The set-id bits that a change by an unprivileged user takes away.
const SET_UID: u32 = libc::S_ISUID;
const SET_GID: u32 = libc::S_ISGID;
const GROUP_EXECUTE: u32 = libc::S_IXGRP;

impl Owners {
    /// Whether the caller has `CAP_FSETID`, as `capable()` sees it.
    pub fn may_keep_set_id(&self, caller: Caller) -> bool {
        self.is_administrator(caller)
    }

    /// The set-id bits that a file loses (kernel: `setattr_should_drop_suidgid`).
    pub fn set_id_to_clear(&self, caller: Caller, stat: &Stat) -> u32 {
        let sgid = stat.mode & SET_GID;
        let lost = sgid != 0 && (stat.mode & GROUP_EXECUTE != 0 || !self.is_in_group_of(caller, stat));
        stat.mode & SET_UID | if lost { sgid } else { 0 }
    }

    /// `mode` without the set-id bits that `caller` must not give the file `stored`: where owners are squashed it is stored as the
    /// daemon's, often root's, and whoever can reach the layer would run what the caller has written with that one's rights.
    /// What he has himself he may give. Silently, as chmod(2) takes the set-gid bit from one who is not in the group. On a directory,
    /// the set-group-id bit says only what group its entries get.
    pub fn earned_mode(&self, caller: Caller, stored: &Stat, mode: u32) -> u32 {
        if stored.is_dir() { mode } else { self.without_unearned(caller, (stored.uid, stored.gid), mode) }
    }

    /// [`Owners::earned_mode`] of a file about to be made in the directory `dir`.
    pub fn earned_mode_of_new(&self, caller: Caller, dir: &Stat, mode: u32) -> u32 {
        let (uid, own_gid) = creds::own();
        let gid = if dir.mode & SET_GID != 0 { dir.gid } else { own_gid };
        self.without_unearned(caller, (uid, gid), mode)
    }

    fn without_unearned(&self, caller: Caller, (uid, gid): (u32, u32), mode: u32) -> u32 {
        if caller.uid == 0 {
            return mode;
        }
        let is_member =
            || caller.gid == gid || creds::groups_of(caller.pid).is_some_and(|groups| groups.contains(&gid));
        let mut kept = mode;
        if self.map.squash_uid.is_some() && caller.uid != uid {
            kept &= !SET_UID;
        }
        if self.map.squash_gid.is_some() && kept & SET_GID != 0 && !is_member() {
            kept &= !SET_GID;
        }
        kept
    }

    /// The permission bits of a copy: without the set-id bits that would be another owner's than they were in the lower file.
    pub fn copied_mode(&self, lower: &Stat) -> u32 {
        let (uid, gid) = creds::own();
        let mut mode = lower.mode & 0o7777;
        if self.map.squash_uid.is_some() && lower.uid != uid {
            mode &= !SET_UID;
        }
        if self.map.squash_gid.is_some() && lower.gid != gid && !lower.is_dir() {
            mode &= !SET_GID;
        }
        mode
    }
}
