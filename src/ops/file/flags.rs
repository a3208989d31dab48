//! Inode flags: `chattr(1)`, `lsattr(1)`.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{IFlags, OFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::node::Node;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::file::File;
use crate::types::{Kind, NodeId};

impl File {
    /// [`Union::get_flags`](crate::Union::get_flags).
    pub(in crate::ops) fn get_flags(&self, id: NodeId) -> Result<u32> {
        let node = self.node(id)?;
        let fd = self.open_for_flags(&node)?;
        Ok(self.store.flags(fd.as_fd())?.bits())
    }

    /// [`Union::set_flags`](crate::Union::set_flags).
    pub(in crate::ops) fn set_flags(&self, id: NodeId, flags: u32) -> Result<()> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let fd = self.open_for_flags(&node)?;
        self.store.set_flags(fd.as_fd(), IFlags::from_bits_retain(flags))?;
        // What is open for writing now would stay so, whatever the flags say.
        self.nodes.files.forget(node.id);
        Ok(())
    }

    fn open_for_flags(&self, node: &Arc<Node>) -> Result<OwnedFd> {
        if !matches!(node.kind, Kind::File | Kind::Directory) {
            return Err(Error::refused(Errno::NOTTY, "only files and directories have flags"));
        }
        self.at_place(node, |place| {
            let fd = self.store.open(place.at(), OFlags::RDONLY | OFlags::NONBLOCK, 0)?;
            let stat = self.store.stat_fd(fd.as_fd())?;
            Ok(place.is_right(&stat).then_some(fd))
        })
    }
}
