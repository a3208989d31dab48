//! Default ACLs: they decide whether the caller's umask counts at creation.

use std::ffi::OsStr;
use std::os::fd::AsFd;

use rustix::io::Errno;

use crate::error::Result;
use crate::layer::dir::RealDir;
use crate::namespace::node::Node;
use crate::ops::lookup::Lookup;
use crate::owner::DEFAULT_ACL;
use crate::sys::At;

impl Lookup {
    /// Whether the directory, whose upper part is `upper`, has a default ACL. Asked once and remembered.
    pub(in crate::ops) fn has_default_acl(&self, node: &Node, upper: &RealDir) -> Result<bool> {
        if let Some(known) = node.peek_dir(|directory| directory.default_acl).flatten() {
            return Ok(known);
        }
        let fd = self.nodes.dirs.open(upper)?;
        let found = match self.store.get_xattr(At::this(fd.as_fd()), OsStr::new(DEFAULT_ACL)) {
            Ok(value) => value.is_some(),
            Err(error) if error.errno() == Errno::OPNOTSUPP => false,
            Err(error) => return Err(error.into()),
        };
        node.with_dir(|directory| directory.default_acl = Some(found));
        Ok(found)
    }

    /// To be called when the default ACL of a directory may have changed.
    pub(in crate::ops) fn forget_default_acl(&self, node: &Node) {
        node.with_dir(|directory| directory.default_acl = None);
    }
}
