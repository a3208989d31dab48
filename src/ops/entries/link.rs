//! Hard links.

use std::ffi::OsStr;
use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::locks;
use crate::namespace::node::{Link, Node};
use crate::namespace::refs::Entry;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::entries::Entries;
use crate::ops::lookup::UpperDir;
use crate::types::{Attr, Name, NodeId};

impl Entries {
    /// [`Union::link`](crate::Union::link).
    pub(in crate::ops) fn link(
        &self,
        id: NodeId,
        new_parent: NodeId,
        new_name: Name<'_>,
    ) -> Result<Entry<'_>> {
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
}
