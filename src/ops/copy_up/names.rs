//! The names that a copied-up file has in the upperdir.

use std::ffi::OsStr;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::locks;
use crate::namespace::node::{Link, Node, State};
use crate::ops::copy_up::CopyUp;
use crate::ops::copy_up::ensure::Extent;

impl CopyUp {
    /// Makes sure that the node is in the upperdir, with (at least) `extent` of its data. Others that want the same wait for
    /// this node only.
    ///
    /// # Errors
    /// `EROFS` without upperdir; whatever keeps the copy from being complete. The lower file is visible and intact then.
    pub(in crate::ops) fn ensure_upper(&self, node: &Arc<Node>, extent: Extent) -> Result<()> {
        if !self.ensure_upper_with(node, extent, &|_, _| Ok(()))? || node.is_dir() {
            return Ok(());
        }
        self.link_known_names(node)
    }

    /// Gives a file just copied up all its names that are known, because a write does not say which one it was opened by:
    /// whoever reads the upperdir alone, to archive it say, must find the change under that one.
    pub(in crate::ops) fn link_known_names(&self, node: &Arc<Node>) -> Result<()> {
        let lower_names = |state: &State| -> Vec<Link> {
            state.links().iter().filter(|link| !link.in_upper).map(|link| (**link).clone()).collect()
        };
        let links = lower_names(&node.state.read());
        for link in links {
            match self.ensure_name_in_upper(node, &link.parent, &link.name) {
                // Removed meanwhile.
                Err(error) if error.errno() == Errno::NOENT => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// Makes sure that the upperdir has an upper file under this very name too: it may so far be there under others, or in the
    /// index, only. The caller holds no gate.
    pub(in crate::ops) fn ensure_name_in_upper(
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
