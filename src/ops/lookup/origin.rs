//! Origins: which lower file a copy is of, and the number that it has by that.

use std::os::fd::AsFd;

use crate::error::Result;
use crate::format::origin;
use crate::layer::dir::RealDir;
use crate::namespace::node::{Link, Node};
use crate::namespace::walk::Found;
use crate::ops::lookup::Lookup;
use crate::sys::At;
use crate::types::NodeId;

impl Lookup {
    /// The value of `overlay.origin` for a copy of `from`; `None` where it cannot be recorded.
    pub(in crate::ops) fn origin_of(&self, from: At<'_>, dir: &RealDir) -> Result<Option<Vec<u8>>> {
        let filesystem = self.nodes.numbers().filesystem(dir.layer());
        let records = self.is_view() || self.upper()?.format.has_xattrs();
        let Some(filesystem) = filesystem.filter(|filesystem| filesystem.handles && records) else {
            return Ok(None);
        };
        let handle = self.store.handle(from)?;
        Ok(handle.and_then(|handle| origin::encode(&handle, &filesystem.uuid)))
    }

    /// The value of `overlay.origin` that gives a directory the number it has by its lower one, also after that is cut off.
    pub(in crate::ops) fn origin_of_dir(&self, node: &Node, upper: At<'_>) -> Result<Option<Vec<u8>>> {
        match self.dir_stack(node)?.lowers.first() {
            Some(lower) => {
                let fd = self.nodes.dirs.open(lower)?;
                self.origin_of(At::this(fd.as_fd()), lower)
            }
            None => Ok(self.read_marks(upper)?.origin),
        }
    }

    /// The number of the lower file under the same name, if it is the origin: for origins that do not tell by themselves, be
    /// it that two filesystems have the same UUID or that the form of their handles is not known.
    pub(in crate::ops) fn number_of_same_name(&self, origin: &[u8], link: &Link) -> Result<Option<NodeId>> {
        let lower = self.origin_of_same_name(link, origin)?;
        Ok(lower.and_then(|lower| self.nodes.numbers().of(lower.dir.layer(), &lower.stat)))
    }

    /// The number of the file that an origin's handle opens, when it does so on one of our filesystems only. Root can find out.
    pub(in crate::ops) fn number_by_handle(&self, origin: &[u8]) -> Option<NodeId> {
        let origin = origin::decode(origin)?;
        let mut numbers: Vec<NodeId> = Vec::new();
        let mut tried: Vec<u64> = Vec::new();
        for root in self.roots.iter() {
            let layer = root.layer();
            let same = self.nodes.numbers().filesystem(layer).is_some_and(|known| known.uuid == origin.uuid);
            if !same || tried.contains(&layer.dev) {
                continue;
            }
            tried.push(layer.dev);
            let opened = self
                .nodes
                .dirs
                .open_for_reading(root)
                .and_then(|mount| self.store.open_handle(mount.as_fd(), origin.kind, origin.bytes))
                .and_then(|file| self.store.stat_fd(file.as_fd()));
            numbers.extend(opened.ok().and_then(|stat| self.nodes.numbers().of(layer, &stat)));
        }
        match numbers[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    pub(super) fn origin_of_same_name(&self, link: &Link, origin: &[u8]) -> Result<Option<Found>> {
        let Some(lower) = self.shown_by_lowers(&link.parent, &link.name)? else {
            return Ok(None);
        };
        let fd = self.nodes.dirs.open(&lower.dir)?;
        let own = self.origin_of(At::new(fd.as_fd(), &lower.name), &lower.dir)?;
        Ok((own.as_deref() == Some(origin)).then_some(lower))
    }

    /// Whether the file's number may differ from its upper file's, so that lookups must read its origin.
    pub(in crate::ops) fn may_have_origin(&self, node: &Node) -> bool {
        match &node.state.read().body {
            crate::namespace::node::Body::Upper(upper) => {
                self.nodes.numbers().of_upper_ino(upper.real).is_none_or(|own| own != node.id)
            }
            crate::namespace::node::Body::Directory(directory) => match &directory.stack.upper {
                // A tree copied up completely keeps its origins.
                Some(upper) if directory.stack.lowers.is_empty() => {
                    self.nodes.numbers().of_upper_ino(upper.real_id()).is_none_or(|own| own != node.id)
                }
                _ => true,
            },
            crate::namespace::node::Body::Lower(_) => true,
        }
    }
}
