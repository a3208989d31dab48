//! Finding: what names stand for, where files are, and what they are. Changes nothing that users see.

pub(super) mod acl;
pub(super) mod adopt;
mod attr;
mod catch_up;
pub(super) mod find;
mod index;
pub(super) mod list;
pub(super) mod locate;
pub(super) mod modes;
mod origin;
pub(super) mod place;
pub(super) mod upper_dir;

use std::ffi::OsStr;
use std::sync::Arc;

use rustix::io::Errno;

pub(super) use self::upper_dir::UpperDir;
use super::{Hook, Options};
use crate::error::{Error, Result};
use crate::format::marks::Marks;
use crate::layer::HIDDEN_WORK;
use crate::layer::dir::RealDir;
use crate::layer::marker;
use crate::layer::probe::WhiteoutStyle;
use crate::layer::stack::Upper;
use crate::layer::store::Store;
use crate::namespace::changes::Changes;
use crate::namespace::node::Node;
use crate::namespace::nodes::Nodes;
use crate::namespace::refs::NodeRef;
use crate::namespace::snapshot::Order;
use crate::namespace::walk::{DirStack, Walker};
use crate::owner::Owners;
use crate::sys::At;
use crate::types::{Kind, NodeId};

/// The layers, the nodes, and what both have in common for all operations.
#[derive(Debug)]
pub(super) struct Lookup {
    pub(super) store: Arc<dyn Store>,
    pub(super) nodes: Arc<Nodes>,
    pub(super) upper: Option<Upper>,
    pub(super) roots: Arc<[Arc<RealDir>]>,
    pub(super) order: Order,
    pub(super) options: Options,
    pub(super) owners: Owners,
    pub(super) modes: modes::Modes,
    pub(super) changes: Changes,
    pub(super) attributes_changed: Hook<(NodeId, Kind)>,
}

impl Lookup {
    pub(in crate::ops) fn dir_stack(&self, node: &Node) -> Result<DirStack> {
        node.stack().ok_or(Error::refused(Errno::NOTDIR, "not a directory"))
    }

    pub(in crate::ops) fn changed_in_passing(&self, node: &Node) {
        self.attributes_changed.call((node.id, node.kind));
    }

    /// Reading updates the access time of a file of the upperdir, which is a change. To be called after it.
    pub(in crate::ops) fn has_read(&self, is_upper: bool) {
        if is_upper {
            drop(self.changes.begin());
        }
    }

    /// Whether nothing can be changed: there is no upperdir, or it is only looked at.
    pub(in crate::ops) fn is_read_only(&self) -> bool {
        self.upper.as_ref().is_none_or(|upper| upper.read_only)
    }

    /// Whether somebody else may change the upperdir meanwhile: whatever was answered may be different at the next moment.
    pub(in crate::ops) fn is_view(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| upper.read_only)
    }

    pub(in crate::ops) fn upper(&self) -> Result<&Upper> {
        let writable = self.upper.as_ref().filter(|upper| !upper.read_only);
        writable.ok_or(Error::refused(Errno::ROFS, "there is no upperdir that may be changed"))
    }

    /// The root of the upperdir, to read there.
    pub(in crate::ops) fn upper_root(&self) -> Result<&Arc<RealDir>> {
        let upper = self.upper.as_ref().ok_or(Error::refused(Errno::STALE, "there is no upperdir"))?;
        Ok(&upper.root)
    }

    pub(in crate::ops) fn node(&self, id: NodeId) -> Result<NodeRef<'_>> {
        self.nodes.get(id).ok_or(Error::refused(Errno::STALE, "unknown node"))
    }

    pub(in crate::ops) fn dir_node(&self, id: NodeId) -> Result<(NodeRef<'_>, DirStack)> {
        let node = self.node(id)?;
        let stack = node.stack().ok_or(Error::refused(Errno::NOTDIR, "not a directory"))?;
        Ok((node, stack))
    }

    fn walker(&self) -> Walker<'_> {
        Walker {
            store: &*self.store,
            dirs: &self.nodes.dirs,
            roots: &self.roots,
            marks: self.options.marks,
            workdir: self.upper.as_ref().and_then(|upper| upper.work),
        }
    }

    /// The marks of a file or directory of a layer.
    pub(in crate::ops) fn read_marks(&self, at: At<'_>) -> Result<Marks> {
        Ok(marker::read(&*self.store, self.options.marks, at)?)
    }

    /// The name that the union never shows and that cannot be made in it.
    fn is_hidden(&self, parent: &Node, name: &OsStr) -> bool {
        parent.id == NodeId::ROOT && name == HIDDEN_WORK && self.upper.is_some()
    }

    pub(in crate::ops) fn check_new_name(&self, parent: &Node, name: &OsStr) -> Result<()> {
        if self.is_hidden(parent, name) {
            return Err(Error::refused(Errno::INVAL, "the name is reserved for the workdir of the union"));
        }
        Ok(())
    }

    /// Whether the upperdir's filesystem is one that may know files by their names alone.
    pub(in crate::ops) fn is_upper_served(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| upper.root.layer().served)
    }

    /// Whether a mode that denies us, who own the file, may be changed for a moment: only the one union that writes may.
    pub(in crate::ops) fn may_change_modes(&self) -> bool {
        !self.owners.privileged && !self.is_view()
    }

    /// Whether whiteouts are files with an attribute, since devices cannot be made.
    pub(in crate::ops) fn whiteouts_are_attributes(&self) -> bool {
        self.upper.as_ref().is_some_and(|upper| upper.format.whiteouts == WhiteoutStyle::Xattr)
    }
}
