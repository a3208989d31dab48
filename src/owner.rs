//! Owners: to whom files belong in the layers and in the union, and what a caller may leave on files that are his or others'. All that
//! depends on who somebody is, is decided here.

pub mod acl;
pub mod capability;
pub mod idmap;
mod set_id;

use std::borrow::Cow;
use std::ffi::OsStr;

use rustix::io::Errno;

use self::idmap::{IdMap, LayerId, NO_ID};
use crate::error::{Error, Result};
use crate::sys::creds::{self, OwnedBy};
use crate::types::{Caller, Stat};

/// The attribute that is a file's access ACL.
pub const ACCESS_ACL: &str = "system.posix_acl_access";
/// The attribute of a directory that says which ACL new entries begin with.
pub const DEFAULT_ACL: &str = "system.posix_acl_default";
/// The attribute that holds a program's capabilities.
pub const CAPABILITY: &str = "security.capability";

/// Whether an attribute is an ACL, which is a mode, too.
pub fn is_acl(name: &OsStr) -> bool {
    name == ACCESS_ACL || name == DEFAULT_ACL
}

/// The rules of one union.
#[derive(Debug)]
pub struct Owners {
    map: IdMap,
    /// We may act on files of other owners, so modes never stand in our way.
    pub privileged: bool,
    /// `CAP_FSETID` of callers counts: uid 0 is the real root (capable() looks at the initial user namespace).
    real_root: bool,
}

impl Owners {
    /// With the rights that the process has.
    pub fn of_process(map: IdMap) -> Self {
        Self { map, privileged: creds::rules_files(), real_root: creds::in_initial_user_namespace() }
    }

    /// The owner and group that the union shows.
    pub fn shown(&self, stat: &Stat) -> (u32, u32) {
        (self.map.uid_to_union(stat.uid), self.map.gid_to_union(stat.gid))
    }

    /// The owner and group to store, where they are to be changed.
    ///
    /// # Errors
    /// `EINVAL` for somebody whom the id map does not know.
    pub fn stored(&self, uid: Option<u32>, gid: Option<u32>) -> Result<(Option<u32>, Option<u32>)> {
        let to_layer = |id: Option<LayerId>| match id {
            None | Some(LayerId::Keep) => Ok(None),
            Some(LayerId::Id(id)) => Ok(Some(id)),
            Some(LayerId::Unmapped) => Err(Error::refused(Errno::INVAL, "the id map has no such owner")),
        };
        let uid = to_layer(uid.map(|uid| self.map.uid_to_layer(uid)))?;
        let gid = to_layer(gid.map(|gid| self.map.gid_to_layer(gid)))?;
        Ok((uid, gid))
    }

    /// The owner and group that a copy of the file is given: its own, unless owners are squashed.
    pub fn of_copy(&self, stat: &Stat) -> (Option<u32>, Option<u32>) {
        let kept = |id: LayerId, own: u32| if id == LayerId::Keep { None } else { Some(own) };
        let (uid, gid) = self.shown(stat);
        (kept(self.map.uid_to_layer(uid), stat.uid), kept(self.map.gid_to_layer(gid), stat.gid))
    }

    /// Lets files that this thread makes be the caller's, for as long as what is returned lives. Root who has no id in the union (Podman
    /// on the host, in a container's tree) makes them as we do: they are his on the host, and in the union whose those of 0 are.
    ///
    /// # Errors
    /// `EOVERFLOW` for somebody whom the id map does not know.
    pub fn of_new(&self, caller: Caller) -> Result<Option<OwnedBy>> {
        if !self.privileged {
            return Ok(None);
        }
        let stored = |id: LayerId| match id {
            LayerId::Id(id) => Ok(Some(id)),
            LayerId::Keep => Ok(None),
            LayerId::Unmapped if caller.uid == 0 => Ok(None),
            LayerId::Unmapped => Err(Error::refused(Errno::OVERFLOW, "the id map has no such owner")),
        };
        let uid = stored(self.map.uid_to_layer(caller.uid))?;
        let gid = stored(self.map.gid_to_layer(caller.gid))?;
        Ok(OwnedBy::assume(uid, gid))
    }

    /// Whether the caller may change the owner of a file, be it to the same.
    pub fn may_change_owner(&self, caller: Caller, stat: &Stat) -> bool {
        let owner = self.map.uid_to_union(stat.uid);
        caller.uid == 0 || (owner == caller.uid && owner != NO_ID)
    }

    /// Whether `capable()` says yes to the caller: only the root of the initial user namespace has capabilities there.
    pub fn is_administrator(&self, caller: Caller) -> bool {
        caller.uid == 0 && self.real_root
    }

    /// Whether the caller is in the group of a file.
    pub fn is_in_group_of(&self, caller: Caller, stat: &Stat) -> bool {
        let group = self.map.gid_to_union(stat.gid);
        if group == NO_ID {
            return false;
        }
        caller.gid == group || creds::groups_of(caller.pid).is_some_and(|groups| groups.contains(&group))
    }

    /// An attribute's value as users of the union see it; `None` when it concerns none of them.
    pub fn shown_xattr(&self, name: &OsStr, stored: Vec<u8>) -> Option<Vec<u8>> {
        if is_acl(name) {
            return Some(acl::to_union(&self.map, stored));
        }
        if name == CAPABILITY { capability::to_union(&self.map, stored) } else { Some(stored) }
    }

    /// An attribute's value as the layer is to store it.
    ///
    /// # Errors
    /// `EINVAL` for an ACL or a capability that names somebody whom the id map does not know.
    pub fn stored_xattr<'v>(&self, name: &OsStr, shown: &'v [u8]) -> Result<Cow<'v, [u8]>> {
        let unmapped = Error::refused(Errno::INVAL, "the id map has no such user or group");
        if is_acl(name) {
            return acl::to_layer(&self.map, shown).map(Cow::Owned).map_err(|acl::Unmapped| unmapped);
        }
        if name == CAPABILITY {
            return capability::to_layer(&self.map, shown).map(Cow::Owned).ok_or(unmapped);
        }
        Ok(Cow::Borrowed(shown))
    }
}
