//! Copy-up of a whole directory tree, for renaming a lower directory where redirects are off.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::AsFd;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::marks::Mark;
use crate::layer::store::names_in;
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::namespace::refs::NodeRef;
use crate::ops::copy_up::CopyUp;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::lookup::UpperDir;
use crate::sys::At;
use crate::types::Kind;

impl CopyUp {
    /// Copies everything the union shows in `top` up, after which its directories need no lowerdir any more and are marked
    /// opaque. The union looks the same after each step, so it may stop at any.
    pub(in crate::ops) fn copy_up_tree(&self, top: &Arc<Node>) -> Result<()> {
        let mut inner: Vec<NodeRef<'_>> = Vec::new();
        self.copy_up_entries(top, &mut inner)?;
        let mut next = 0;
        while let Some(node) = inner.get(next).map(|node| (**node).clone()) {
            next += 1;
            self.copy_up_entries(&node, &mut inner)?;
        }
        for node in inner.iter().rev().map(|node| &**node).chain([top]) {
            self.cut_off_lowers(node)?;
        }
        Ok(())
    }

    /// Copies a directory and the files in it up; its directories are added to `inner`.
    fn copy_up_entries<'a>(&'a self, node: &Arc<Node>, inner: &mut Vec<NodeRef<'a>>) -> Result<()> {
        self.ensure_upper_dir(node)?;
        for name in self.entry_names(node)? {
            let name: Arc<OsStr> = Arc::from(name);
            let Some(child) = self.find_if_any(node, &name)? else {
                continue;
            };
            if child.is_dir() {
                inner.push(child);
                continue;
            }
            self.ensure_upper(&child, Extent::All)?;
            self.ensure_name_in_upper(&child, node, &name)?;
        }
        Ok(())
    }

    fn entry_names(&self, node: &Arc<Node>) -> Result<Vec<OsString>> {
        let mut names = Vec::new();
        self.read_dir(node.id, 0, false, &mut |entry, _| {
            if entry.name != "." && entry.name != ".." {
                names.push(entry.name);
            }
            ControlFlow::Continue(())
        })?;
        Ok(names)
    }

    /// Marks a directory opaque whose entries are all in the upperdir, and removes the whiteouts that thereby lose their sense.
    fn cut_off_lowers(&self, node: &Arc<Node>) -> Result<()> {
        let _gates = locks::lock(&[node]);
        let dir = self.upper_dir(node)?;
        // Without lower directories lookups would find it under the number of its upper one.
        self.nodes.renumber(dir.real.real_id(), node.id);
        // Without attributes nothing could keep the whiteouts' effect until the tree has moved, so they stay.
        let opaque = self.upper()?.format.has_xattrs();
        if opaque {
            self.record_dir_origin(node, &dir)?;
            self.set_opaque(dir.this())?;
        }
        node.with_dir(|directory| {
            directory.cut_off_from = directory.stack.lowers.first().cloned();
            directory.stack.lowers = Arc::new([]);
            directory.redirect = None;
        });
        self.changed_in_passing(node);
        if opaque { self.remove_whiteouts(&dir) } else { Ok(()) }
    }

    /// Makes the number last that the directory has by its lower one. A directory of the upperdir that was merely merged with
    /// that one has no origin yet.
    fn record_dir_origin(&self, node: &Arc<Node>, dir: &UpperDir) -> Result<()> {
        let Some(link) = node.link() else { return Ok(()) };
        if let Some(origin) = self.origin_of_dir(node, dir.this())?
            && self.read_marks(dir.this())?.origin.as_ref() != Some(&origin)
        {
            self.set_mark(dir.this(), Mark::Origin, &origin)?;
            self.mark_impure(&link.parent, &self.upper_dir(&link.parent)?)?;
        }
        Ok(())
    }

    fn remove_whiteouts(&self, dir: &UpperDir) -> Result<()> {
        let fd = self.nodes.dirs.open_for_reading(&dir.real)?;
        let times = self.store.stat(dir.this())?;
        for name in names_in(&*self.store, fd.as_fd())? {
            let at: At<'_> = dir.at(&name);
            let Some(stat) = self.store.stat(at)? else { continue };
            let marked = || Ok::<_, Error>(dir.real.has_xattr_whiteouts() && self.read_marks(at)?.whiteout);
            if stat.is_whiteout_device() || (stat.kind() == Kind::File && stat.size == 0 && marked()?) {
                self.store.unlink(at)?;
            }
        }
        self.restore_times(dir, times);
        Ok(())
    }
}
