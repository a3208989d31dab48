//! Set-id bits where files are stored with another owner than they are shown with.

use super::Union;
use super::ensure_upper::UpperDir;
use crate::error::Result;
use crate::sys::creds;
use crate::types::{Caller, Stat};

/// Those that give rights on a file that is no directory; on one, the set-group-id bit says what group entries get.
const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;

impl Union {
    /// `mode` without the set-id bits that `caller` must not give the file `stored`: where owners are squashed it is stored as the
    /// daemon's, often root's, and whoever can reach the layer would run what the caller has written with that one's rights.
    /// What he has himself he may give. Silently, as chmod(2) takes the set-gid bit from one who is not in the group.
    pub(super) fn earned_mode(&self, caller: Caller, stored: &Stat, mode: u32) -> u32 {
        if stored.is_dir() { mode } else { self.without_unearned(caller, (stored.uid, stored.gid), mode) }
    }

    /// [`Union::earned_mode`] of a file about to be made in `dir`.
    pub(super) fn earned_mode_of_new(&self, caller: Caller, dir: &UpperDir, mode: u32) -> Result<u32> {
        if mode & SET_ID == 0 {
            return Ok(mode);
        }
        let (uid, own_gid) = creds::own();
        let inherited = self.store.stat(dir.this())?.filter(|dir| dir.mode & libc::S_ISGID != 0);
        Ok(self.without_unearned(caller, (uid, inherited.map_or(own_gid, |dir| dir.gid)), mode))
    }

    fn without_unearned(&self, caller: Caller, (uid, gid): (u32, u32), mode: u32) -> u32 {
        let map = &self.options.id_map;
        if caller.uid == 0 {
            return mode;
        }
        let is_member =
            || caller.gid == gid || creds::groups_of(caller.pid).is_some_and(|groups| groups.contains(&gid));
        let mut kept = mode;
        if map.squash_uid.is_some() && caller.uid != uid {
            kept &= !libc::S_ISUID;
        }
        if map.squash_gid.is_some() && kept & libc::S_ISGID != 0 && !is_member() {
            kept &= !libc::S_ISGID;
        }
        kept
    }

    /// The permission bits of a copy: without the set-id bits that would be another owner's than they were in the lower file.
    pub(super) fn copied_mode(&self, lower: &Stat) -> u32 {
        let map = &self.options.id_map;
        let (uid, gid) = creds::own();
        let mut mode = lower.mode & 0o7777;
        if map.squash_uid.is_some() && lower.uid != uid {
            mode &= !libc::S_ISUID;
        }
        if map.squash_gid.is_some() && lower.gid != gid && !lower.is_dir() {
            mode &= !libc::S_ISGID;
        }
        mode
    }
}
