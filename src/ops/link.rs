//! Hard links and symlink targets.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use super::Union;
use super::ensure_upper::{Extent, UpperDir};
use crate::error::{Error, Result};
use crate::namespace::locks;
use crate::namespace::node::{Link, Node};
use crate::namespace::refs::Entry;
use crate::types::{Attr, Kind, Name, NodeId};

impl Union {
    /// The target of a symlink.
    ///
    /// # Errors
    /// `EINVAL` when the node is no symlink.
    pub fn read_link(&self, id: NodeId) -> Result<OsString> {
        let node = self.node(id)?;
        if node.kind != Kind::Symlink {
            return Err(Error::refused(Errno::INVAL, "not a symlink"));
        }
        self.read_at_place(&node, |at| Ok(self.store.read_link(at)?))
    }

    /// Gives a file another name, copying it up first.
    ///
    /// # Errors
    /// `EPERM` for directories, `EEXIST`, `ENOENT` for a file that has no name left, `EMLINK` from the filesystem.
    pub fn link(&self, id: NodeId, new_parent: NodeId, new_name: Name<'_>) -> Result<Entry<'_>> {
        let node = self.node(id)?;
        let parent = self.dir_node(new_parent)?.0;
        if node.is_dir() {
            return Err(Error::refused(Errno::PERM, "directories have one name"));
        }
        self.check_new_name(&parent, new_name.as_os_str())?;
        let attr = self.link_node(&node, &parent, new_name)?;
        Ok(Entry { node, attr })
    }

    fn link_node(&self, node: &Arc<Node>, parent: &Arc<Node>, new_name: Name<'_>) -> Result<Attr> {
        if node.link().is_none() && self.getattr(node.id)?.nlink == 0 {
            return Err(Error::refused(Errno::NOENT, "the file was removed"));
        }
        self.ensure_upper(node, Extent::All)?;
        self.ensure_upper_dir(parent)?;
        let name: Arc<OsStr> = Arc::from(new_name.as_os_str());
        let gates = locks::lock(&[parent, node]);
        let _times = parent.times_change();
        let dir = self.upper_dir(parent)?;
        let over_whiteout = self.check_free(parent, &name)?;
        self.announce_name(&dir, &name)?;
        if let Some(entry) = node.index_entry() {
            self.note_links(&entry)?;
        }
        // Before the name is there: by its marks the file is found under it.
        if parent.peek_dir(|directory| directory.impure) == Some(false) && self.may_have_origin(node) {
            self.mark_impure(parent, &dir)?;
        }
        match self.link_to(node, &dir, &name, over_whiteout) {
            // The upperdir may hold whiteouts although no lowerdir is below it.
            Err(error) if error.errno() == Errno::EXIST && self.is_whiteout(parent, &name)? => {
                self.link_to(node, &dir, &name, true)?;
            }
            other => other?,
        }
        parent.with_dir(|directory| directory.changes += 1);
        self.nodes.add_link(node, Link { parent: parent.clone(), name, in_upper: true });
        let attr = self.attr_after(node)?;
        drop(gates);
        Ok(attr)
    }

    fn link_to(&self, node: &Node, dir: &UpperDir, name: &OsStr, over_whiteout: bool) -> Result<()> {
        let place = self.held_place(node)?;
        if !over_whiteout {
            return Ok(self.store.link(place.at(), dir.at(name))?);
        }
        let prepared = self.upper()?.staging.prepare()?;
        self.store.link(place.at(), prepared.at())?;
        self.store.rename(prepared.at(), dir.at(name), RenameFlags::empty())?;
        prepared.published();
        Ok(())
    }

    /// Whether the file's number may differ from its upper file's, so that lookups must read its origin.
    pub(super) fn may_have_origin(&self, node: &Node) -> bool {
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

    /// Makes sure that the upperdir has an upper file under this very name too: it may so far be there under others, or in the
    /// index, only. The caller holds no gate.
    pub(super) fn ensure_name_in_upper(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &Arc<OsStr>,
    ) -> Result<()> {
        self.ensure_upper_dir(parent)?;
        let _gates = locks::lock(&[parent, node]);
        let dir = self.upper_dir(parent)?;
        if self.store.stat(dir.at(name))?.is_some() {
            return Ok(());
        }
        let lower = self.shown_by_lowers(parent, name)?;
        let lower = lower.ok_or(Error::refused(Errno::NOENT, "the name is gone"))?;
        let times = self.store.stat(dir.this())?;
        self.announce_name(&dir, name)?;
        match node.index_entry() {
            Some(entry) => {
                self.mark_impure(parent, &dir)?;
                self.despite_mode_of_dir(&dir, || {
                    self.link_from_index(&entry, lower.stat.nlink, dir.at(name))
                })?;
            }
            None => {
                let place = self.held_place(node)?;
                self.despite_mode_of_dir(&dir, || Ok(self.store.link(place.at(), dir.at(name))?))?;
                node.loses_lower_name();
            }
        }
        self.restore_times(&dir, times);
        self.nodes.add_link(node, Link { parent: parent.clone(), name: name.clone(), in_upper: true });
        self.changed_in_passing(node);
        self.changed_in_passing(parent);
        Ok(())
    }
}
