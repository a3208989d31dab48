//! Attributes as the union shows them.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::atomic::Ordering;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::node::{Body, Home, Node};
use crate::ops::insist;
use crate::ops::lookup::Lookup;
use crate::types::{Attr, FsUsage, Kind, NodeId, Stat};

impl Lookup {
    /// [`Union::getattr`](crate::Union::getattr).
    pub(in crate::ops) fn getattr(&self, id: NodeId) -> Result<Attr> {
        let node = self.node(id)?;
        let stat = self.stat(&node)?;
        Ok(self.attr_of(&node, &stat))
    }

    /// Attributes after a change.
    pub(in crate::ops) fn attr_after(&self, node: &Node) -> Result<Attr> {
        insist(|| self.stat(node)).map(|stat| self.attr_of(node, &stat))
    }

    pub(in crate::ops) fn attr_of(&self, node: &Node, stat: &Stat) -> Attr {
        let (uid, gid) = self.owners.shown(stat);
        Attr {
            node: node.id,
            kind: stat.kind(),
            perm: u16::try_from(self.modes.shown(stat) & 0o7777).unwrap_or(0),
            nlink: links_in_union(node, stat),
            uid,
            gid,
            rdev: u32::try_from(encode_device(stat.rdev)).unwrap_or(0),
            size: stat.size,
            blocks: stat.blocks,
            blksize: stat.blksize,
            atime: stat.atime,
            mtime: stat.mtime,
            ctime: stat.ctime,
        }
    }

    /// [`Union::read_link`](crate::Union::read_link).
    pub(in crate::ops) fn read_link(&self, id: NodeId) -> Result<OsString> {
        let node = self.node(id)?;
        if node.kind != Kind::Symlink {
            return Err(Error::refused(Errno::INVAL, "not a symlink"));
        }
        let target = self.read_at_place(&node, |at| Ok(self.store.read_link(at)?))?;
        self.has_read(node.is_upper());
        Ok(target)
    }

    /// [`Union::statfs`](crate::Union::statfs).
    pub(in crate::ops) fn statfs(&self) -> Result<FsUsage> {
        let dir = match &self.upper {
            Some(upper) => &upper.root,
            None => self.roots.first().ok_or(Error::refused(Errno::STALE, "no layer"))?,
        };
        let fd = self.nodes.dirs.open(dir)?;
        Ok(self.store.usage(fd.as_fd())?)
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
