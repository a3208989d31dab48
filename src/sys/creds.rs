//! The identity files are created with, per thread.
#![allow(unsafe_code)]

use std::io;

use rustix::thread::{CapabilitySet, CapabilitySets, capabilities, set_capabilities};

/// While it lives, files this thread creates belong to somebody else. Restored on drop.
///
/// Only the identity changes: the thread keeps its capabilities, because access was already checked by the kernel on the
/// union (`default_permissions`), with the caller's supplementary groups that we do not have here.
#[derive(Debug)]
pub struct OwnedBy {
    uid: libc::uid_t,
    gid: libc::gid_t,
}

impl OwnedBy {
    /// Lets new files belong to `uid` and `gid`; without one, to the process's own. `None` when that takes nothing.
    pub fn assume(uid: Option<u32>, gid: Option<u32>) -> Option<Self> {
        let (own_uid, own_gid) = own();
        let (uid, gid) = (uid.unwrap_or(own_uid), gid.unwrap_or(own_gid));
        if (uid, gid) == (own_uid, own_gid) {
            return None;
        }
        let saved = capabilities(None).ok();
        // SAFETY: setfsgid and setfsuid take plain numbers and touch only this thread's credentials.
        unsafe {
            libc::setfsgid(gid);
            libc::setfsuid(uid);
        }
        // Leaving uid 0 drops the filesystem capabilities from the effective set (capabilities(7)); they are wanted still.
        if let Some(saved) = saved
            && let Err(error) = set_capabilities(None, saved)
        {
            log::debug!("capset after setfsuid({uid}): {error}");
        }
        Some(Self { uid: own_uid, gid: own_gid })
    }
}

impl Drop for OwnedBy {
    fn drop(&mut self) {
        // SAFETY: as in `assume`. Going back to uid 0 raises the filesystem capabilities again.
        unsafe {
            libc::setfsuid(self.uid);
            libc::setfsgid(self.gid);
        }
    }
}

/// The user and group of this process.
pub fn own() -> (u32, u32) {
    (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw())
}

/// Whether this process may act on files of other owners (`CAP_FOWNER` and `CAP_CHOWN` in its user namespace).
pub fn rules_files() -> bool {
    let wanted = CapabilitySet::CHOWN | CapabilitySet::FOWNER | CapabilitySet::DAC_OVERRIDE;
    capabilities(None).is_ok_and(|CapabilitySets { effective, .. }| effective.contains(wanted))
}

/// Gives up what would let this thread, and those it starts, write beyond the disk quotas of the owners of files
/// (`CAP_SYS_RESOURCE`; the kernel's overlayfs does the same, `ovl_fill_super`).
pub fn respect_quotas() -> io::Result<()> {
    let mut sets = capabilities(None)?;
    for set in [&mut sets.effective, &mut sets.permitted, &mut sets.inheritable] {
        set.remove(CapabilitySet::SYS_RESOURCE);
    }
    Ok(set_capabilities(None, sets)?)
}

/// Whether this process lives in the initial user namespace (user_namespaces(7): its map is the identity over all ids).
pub fn in_initial_user_namespace() -> bool {
    std::fs::read_to_string("/proc/self/uid_map").is_ok_and(|map| {
        let mut fields = map.split_ascii_whitespace();
        (fields.next(), fields.next(), fields.next()) == (Some("0"), Some("0"), Some("4294967295"))
    })
}

/// Whether this process administers the machine: `CAP_SYS_ADMIN` in the initial user namespace.
pub fn administers_machine() -> bool {
    in_initial_user_namespace()
        && capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::SYS_ADMIN))
}

/// The supplementary groups of a process, as `/proc` shows them; `None` when it cannot be seen.
pub fn groups_of(pid: u32) -> Option<Vec<u32>> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("Groups:"))?;
    Some(line.split_ascii_whitespace().filter_map(|gid| gid.parse().ok()).collect())
}
