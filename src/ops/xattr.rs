//! Extended attributes, ACLs among them. Marks of union filesystems are hidden, what users set in their likeness is escaped.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::Union;
use super::acl::DEFAULT_ACL;
use super::ensure_upper::Extent;
use crate::error::{Error, Result};
use crate::idmap::{acl, capability};
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::types::{Caller, NodeId};

const ACCESS_ACL: &str = "system.posix_acl_access";
const CAPABILITY: &str = "security.capability";

impl Union {
    /// The value of an attribute.
    ///
    /// # Errors
    /// `ENODATA` when there is none, `EOPNOTSUPP` where the layer's filesystem keeps no such attributes (but ACLs: a file there
    /// has none).
    pub fn get_xattr(&self, id: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        let node = self.node(id)?;
        let missing = || Error::refused(Errno::NODATA, "no such attribute");
        let on_disk = self.options.marks.name_on_disk(name);
        self.read_at_place(&node, |at| match self.store.get_xattr(at, &on_disk) {
            // Asking for an ACL is part of the kernel's permission check (`fuse_get_acl`), which any other error than
            // "no such attribute" would end: nobody but its owner could then use the file.
            Err(error) if is_acl(name) && error.errno() == Errno::OPNOTSUPP => Ok(None),
            other => Ok(other?),
        })?
        .and_then(|stored| self.shown_value(name, stored))
        .ok_or_else(missing)
    }

    /// An attribute's value as users of the union see it; `None` when it concerns none of them.
    fn shown_value(&self, name: &OsStr, stored: Vec<u8>) -> Option<Vec<u8>> {
        let map = &self.options.id_map;
        if is_acl(name) {
            return Some(acl::to_union(map, stored));
        }
        if name == CAPABILITY { capability::to_union(map, stored) } else { Some(stored) }
    }

    /// An attribute's value as the layer is to store it.
    fn stored_value<'v>(&self, name: &OsStr, shown: &'v [u8]) -> Result<Cow<'v, [u8]>> {
        let map = &self.options.id_map;
        let unmapped = Error::refused(Errno::INVAL, "the id map has no such user or group");
        if is_acl(name) {
            return acl::to_layer(map, shown).map(Cow::Owned).map_err(|acl::Unmapped| unmapped);
        }
        if name == CAPABILITY {
            return capability::to_layer(map, shown).map(Cow::Owned).ok_or(unmapped);
        }
        Ok(Cow::Borrowed(shown))
    }

    /// The names of all attributes that the caller may see, each ended by a NUL byte.
    pub fn list_xattr(&self, caller: Caller, id: NodeId) -> Result<Vec<u8>> {
        let node = self.node(id)?;
        let on_disk = self.read_at_place(&node, |at| match self.store.list_xattr(at) {
            // A filesystem without attributes has an empty list of them.
            Err(error) if error.errno() == Errno::OPNOTSUPP => Ok(Vec::new()),
            other => Ok(other?),
        })?;
        let mut names = Vec::with_capacity(on_disk.len());
        for name in on_disk.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            // The kernel hides attributes for the administrator when they are read, but leaves lists to us (`ovl_can_list`).
            if name.starts_with(b"trusted.") && !self.is_administrator(caller) {
                continue;
            }
            if let Some(shown) = self.options.marks.name_in_union(OsStr::from_bytes(name)) {
                names.extend_from_slice(shown.as_bytes());
                names.push(0);
            }
        }
        Ok(names)
    }

    /// Sets an attribute, copying the file up first; `flags` as for `setxattr(2)`.
    ///
    /// # Errors
    /// `EINVAL` for an ACL or a capability that names somebody whom the id map does not know.
    pub fn set_xattr(
        &self,
        caller: Caller,
        id: NodeId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<()> {
        let node = self.node(id)?;
        let on_disk = self.options.marks.name_on_disk(name);
        let value = self.stored_value(name, value)?;
        self.ensure_upper(&node, Extent::All)?;
        let _gates = locks::lock(&[&node]);
        let place = self.held_place(&node)?;
        let cleared = match name == ACCESS_ACL {
            true => self.clear_set_gid_before_acl(caller, &node)?,
            false => None,
        };
        let set = {
            // An ACL is a mode, too.
            let _steady = is_acl(name).then(|| self.steady_mode());
            self.store.set_xattr(place.at(), &on_disk, &value, flags)
        };
        if let (Err(_), Some(mode)) = (&set, cleared)
            && let Err(error) = self.change_mode(place.at(), mode)
        {
            log::error!("mode of a file whose ACL could not be set: {error}");
        }
        if name == DEFAULT_ACL {
            self.forget_default_acl(&node);
        }
        Ok(set?)
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// `ENODATA` when there is none; the file is then not copied up.
    pub fn remove_xattr(&self, id: NodeId, name: &OsStr) -> Result<()> {
        let node = self.node(id)?;
        let on_disk = self.options.marks.name_on_disk(name);
        if !node.is_upper() {
            self.upper()?;
            self.get_xattr(id, name)?;
        }
        self.ensure_upper(&node, Extent::All)?;
        let _gates = locks::lock(&[&node]);
        let place = self.held_place(&node)?;
        self.store.remove_xattr(place.at(), &on_disk)?;
        if name == DEFAULT_ACL {
            self.forget_default_acl(&node);
        }
        Ok(())
    }

    /// Setting an access ACL takes the set-gid bit away unless the caller is in the file's group or has `CAP_FSETID`
    /// (kernel: `posix_acl_update_mode`). The mode before, if that has changed it.
    fn clear_set_gid_before_acl(&self, caller: Caller, node: &Node) -> Result<Option<u32>> {
        let stat = self.stat(node)?;
        if stat.mode & libc::S_ISGID == 0
            || self.may_keep_set_id(caller)
            || self.is_in_group_of(caller, &stat)
        {
            return Ok(None);
        }
        let place = self.held_place(node)?;
        let mode = self.modes.shown(&stat) & 0o7777;
        self.change_mode(place.at(), mode & !libc::S_ISGID)?;
        Ok(Some(mode))
    }
}

fn is_acl(name: &OsStr) -> bool {
    name == ACCESS_ACL || name == DEFAULT_ACL
}

/// Names of attributes as `listxattr(2)` gives them, one by one.
pub(super) fn names(list: &[u8]) -> impl Iterator<Item = OsString> {
    list.split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).to_owned())
}
