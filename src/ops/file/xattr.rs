//! Extended attributes, ACLs among them. Marks of union filesystems are hidden, what users set in their likeness is escaped.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::file::File;
use crate::owner::{ACCESS_ACL, DEFAULT_ACL, is_acl};
use crate::types::{Caller, NodeId};

impl File {
    /// [`Union::get_xattr`](crate::Union::get_xattr).
    pub(in crate::ops) fn get_xattr(&self, id: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        let node = self.node(id)?;
        let missing = || Error::refused(Errno::NODATA, "no such attribute");
        let on_disk = self.options.marks.name_on_disk(name);
        self.read_at_place(&node, |at| match self.store.get_xattr(at, &on_disk) {
            // Asking for an ACL is part of the kernel's permission check (`fuse_get_acl`), which any other error than
            // "no such attribute" would end: nobody but its owner could then use the file.
            Err(error) if is_acl(name) && error.errno() == Errno::OPNOTSUPP => Ok(None),
            other => Ok(other?),
        })?
        .and_then(|stored| self.owners.shown_xattr(name, stored))
        .ok_or_else(missing)
    }

    /// [`Union::list_xattr`](crate::Union::list_xattr).
    pub(in crate::ops) fn list_xattr(&self, caller: Caller, id: NodeId) -> Result<Vec<u8>> {
        let node = self.node(id)?;
        let on_disk = self.read_at_place(&node, |at| match self.store.list_xattr(at) {
            // A filesystem without attributes has an empty list of them.
            Err(error) if error.errno() == Errno::OPNOTSUPP => Ok(Vec::new()),
            other => Ok(other?),
        })?;
        let mut names = Vec::with_capacity(on_disk.len());
        for name in on_disk.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
            // The kernel hides attributes for the administrator when they are read, but leaves lists to us (`ovl_can_list`).
            if name.starts_with(b"trusted.") && !self.owners.is_administrator(caller) {
                continue;
            }
            if let Some(shown) = self.options.marks.name_in_union(OsStr::from_bytes(name)) {
                names.extend_from_slice(shown.as_bytes());
                names.push(0);
            }
        }
        Ok(names)
    }

    /// [`Union::set_xattr`](crate::Union::set_xattr).
    pub(in crate::ops) fn set_xattr(
        &self,
        caller: Caller,
        id: NodeId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<()> {
        let node = self.node(id)?;
        let on_disk = self.options.marks.name_on_disk(name);
        let value = self.owners.stored_xattr(name, value)?;
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

    /// [`Union::remove_xattr`](crate::Union::remove_xattr).
    pub(in crate::ops) fn remove_xattr(&self, id: NodeId, name: &OsStr) -> Result<()> {
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
            || self.owners.may_keep_set_id(caller)
            || self.owners.is_in_group_of(caller, &stat)
        {
            return Ok(None);
        }
        let place = self.held_place(node)?;
        let mode = self.modes.shown(&stat) & 0o7777;
        self.change_mode(place.at(), mode & !libc::S_ISGID)?;
        Ok(Some(mode))
    }
}
