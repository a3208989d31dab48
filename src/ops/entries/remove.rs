//! Removing files and directories.

use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::marks::Mark;
use crate::layer::dir::RealDir;
use crate::layer::staging::Prepared;
use crate::namespace::locks;
use crate::namespace::node::{Body, Node};
use crate::namespace::walk::DirStack;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::entries::Entries;
use crate::ops::lookup::UpperDir;
use crate::ops::lookup::find::until_undisturbed;
use crate::ops::lookup::locate::stands_for;
use crate::types::{Name, NodeId, Stat};

impl Entries {
    /// [`Union::unlink`](crate::Union::unlink).
    pub(in crate::ops) fn unlink(&self, parent: NodeId, name: Name<'_>) -> Result<()> {
        let (parent, _) = self.dir_node(parent)?;
        let name: Arc<OsStr> = Arc::from(name.as_os_str());
        self.upper()?;
        until_undisturbed(|| self.try_unlink(&parent, &name))
    }

    fn try_unlink(&self, parent: &Arc<Node>, name: &Arc<OsStr>) -> Result<Option<()>> {
        let victim = self.find(parent, name)?;
        if victim.is_dir() {
            return Err(Error::refused(Errno::ISDIR, "is a directory"));
        }
        self.ensure_upper_dir(parent)?;
        self.prepare_removal(&victim, parent, name)?;
        let _gates = locks::lock(&[parent, &victim]);
        let _times = parent.times_change();
        let dir = self.upper_dir(parent)?;
        let located = self.locate(parent, &self.dir_stack(parent)?, name)?;
        if !stands_for(&located, &victim) {
            return Ok(None);
        }
        if located.upper.is_some() {
            let covers = self.shown_by_lowers(parent, name)?.is_some();
            let home = self.home_without(&victim, parent, name)?;
            let removed = if covers {
                self.whiteout_over_file(&dir, name)
            } else {
                self.store.unlink(dir.at(name)).map_err(Into::into)
            };
            removed?;
            self.name_removed(&victim, parent, name, home);
        } else {
            self.put_whiteout(&dir, name)?;
            victim.loses_lower_name();
            self.nodes.drop_link(&victim, parent, name);
        }
        parent.with_dir(|directory| directory.changes += 1);
        Ok(Some(()))
    }

    /// [`Union::rmdir`](crate::Union::rmdir).
    pub(in crate::ops) fn rmdir(&self, parent: NodeId, name: Name<'_>) -> Result<()> {
        let (parent, _) = self.dir_node(parent)?;
        let name: Arc<OsStr> = Arc::from(name.as_os_str());
        self.upper()?;
        until_undisturbed(|| self.try_rmdir(&parent, &name))
    }

    fn try_rmdir(&self, parent: &Arc<Node>, name: &Arc<OsStr>) -> Result<Option<()>> {
        let victim = self.find(parent, name)?;
        if !victim.is_dir() {
            return Err(Error::refused(Errno::NOTDIR, "not a directory"));
        }
        self.ensure_upper_dir(parent)?;
        let _gates = locks::lock(&[parent, &victim]);
        let _times = parent.times_change();
        let dir = self.upper_dir(parent)?;
        if !stands_for(&self.locate(parent, &self.dir_stack(parent)?, name)?, &victim) {
            return Ok(None);
        }
        if !self.is_empty(&victim)? {
            return Err(Error::refused(Errno::NOTEMPTY, "directory not empty"));
        }
        let covers = self.shown_by_lowers(parent, name)?.is_some();
        match self.dir_stack(&victim)?.upper {
            Some(upper) => {
                let removed = self.upper_dir(&victim)?;
                let before = self.store.stat(removed.this())?;
                let way = self.way_to_keep_dir()?;
                let prepared = if covers {
                    Some(self.whiteout_over_dir(&dir, name)?)
                } else if way.is_parked() {
                    Some(self.move_aside(&dir, name)?)
                } else {
                    self.remove_upper_dir(&dir, name)?;
                    None
                };
                let home = self.keep_dir(way, &upper, removed.held(), prepared);
                victim.with_dir(|directory| directory.home = home);
                self.keep_time_of_removed(&removed, before);
            }
            None => self.put_whiteout(&dir, name)?,
        }
        self.dir_removed(&victim, parent, name);
        parent.with_dir(|directory| directory.changes += 1);
        Ok(Some(()))
    }

    /// Whiteouts that went with a directory must not show as a change of it to those who have it open.
    fn keep_time_of_removed(&self, removed: &UpperDir, before: Option<Stat>) {
        let now = self.store.stat(removed.this()).ok().flatten();
        if now.map(|now| now.mtime) != before.map(|before| before.mtime) {
            self.restore_times(removed, before);
        }
    }

    pub(in crate::ops) fn dir_removed(&self, victim: &Arc<Node>, parent: &Arc<Node>, name: &OsStr) {
        victim.with_dir(|directory| directory.removed = true);
        self.nodes.drop_link(victim, parent, name);
    }

    /// A lower file with several names is copied up before one is removed, because the number of its links can only be kept on
    /// its copy (kernel: `ovl_nlink_start`); an indexed one gets the name first that is then replaced.
    pub(in crate::ops) fn prepare_removal(
        &self,
        node: &Arc<Node>,
        parent: &Arc<Node>,
        name: &Arc<OsStr>,
    ) -> Result<()> {
        let has_index = self.upper()?.staging.index().is_some();
        let (lower_with_links, indexed) = match &node.state.read().body {
            Body::Lower(lower) => (lower.has_links, false),
            Body::Upper(upper) => (false, upper.index.is_some()),
            Body::Directory(_) => (false, false),
        };
        if lower_with_links && has_index {
            self.ensure_upper(node, Extent::All)?;
        }
        if node.index_entry().is_some() && (indexed || lower_with_links) {
            self.ensure_name_in_upper(node, parent, name)?;
        }
        Ok(())
    }

    /// Removes a directory of the upperdir that the union shows as empty: whiteouts may be left in it.
    pub(in crate::ops) fn remove_upper_dir(&self, dir: &UpperDir, name: &OsStr) -> Result<()> {
        match self.store.rmdir(dir.at(name)) {
            Err(error) if matches!(error.errno(), Errno::NOTEMPTY | Errno::EXIST) => {}
            other => return Ok(other?),
        }
        self.move_aside(dir, name).map(drop)
    }

    /// Moves a directory of the upperdir to where changes are prepared.
    fn move_aside(&self, dir: &UpperDir, name: &OsStr) -> Result<Prepared<'_>> {
        let prepared = self.upper()?.staging.prepare()?;
        self.despite_mode(dir.at(name), || {
            Ok(self.store.rename(dir.at(name), prepared.at(), RenameFlags::NOREPLACE)?)
        })?;
        Ok(prepared)
    }

    /// Puts an opaque directory without whiteouts in the place of one that only the union shows as empty, as the same node.
    /// What is to replace it may yet fail to, so it stays what it was: by its number too. The caller holds both gates. Returns the
    /// new directory, and where the old one is.
    pub(in crate::ops) fn make_physically_empty(
        &self,
        node: &Node,
        parent: &Node,
        dir: &UpperDir,
        name: &Arc<OsStr>,
    ) -> Result<(Arc<RealDir>, Prepared<'_>)> {
        let stat = self.store.stat(dir.at(name))?.ok_or(Error::refused(Errno::NOENT, "directory is gone"))?;
        let prepared = self.upper()?.staging.prepare()?;
        self.store.mkdir(prepared.at(), 0o700)?;
        self.copy_metadata(dir.at(name), &stat, prepared.at())?;
        if let Some(origin) = self.origin_of_dir(node, dir.at(name))? {
            self.set_mark(prepared.at(), Mark::Origin, &origin)?;
            self.mark_impure(parent, dir)?;
        }
        self.set_opaque(prepared.at())?;
        let empty = self.store.stat(prepared.at())?;
        let real = empty.ok_or(Error::refused(Errno::IO, "the emptied directory is gone"))?.real_id();
        // A lookup that finds it before the node knows of it must come to this node.
        self.nodes.renumber(real, node.id);
        let publish = || Ok(self.store.rename(prepared.at(), dir.at(name), RenameFlags::EXCHANGE)?);
        self.despite_mode(dir.at(name), publish).inspect_err(|_| self.nodes.unnumber(real))?;
        let upper = RealDir::child(&dir.real, name.clone(), real.ino);
        // Before the old one's whiteouts are removed with it: a lookup that misses them must find that it was overtaken.
        node.with_dir(|directory| {
            directory.stack = DirStack { upper: Some(upper.clone()), lowers: Arc::new([]) };
            directory.redirect = None;
            directory.impure = false;
            directory.copies += 1;
        });
        parent.with_dir(|directory| directory.copies += 1);
        Ok((upper, prepared))
    }

    pub(in crate::ops) fn is_physically_empty(&self, dir: &RealDir) -> Result<bool> {
        let fd = self.nodes.dirs.open_for_reading(dir)?;
        let mut empty = true;
        self.store.read_dir(fd.as_fd(), 0, &mut |entry| {
            if entry.name == "." || entry.name == ".." {
                return std::ops::ControlFlow::Continue(());
            }
            empty = false;
            std::ops::ControlFlow::Break(())
        })?;
        Ok(empty)
    }
}
