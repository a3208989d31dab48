//! Getting a node into the upperdir, the only place where anything can be changed.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use super::Union;
use crate::error::{Error, Result};
use crate::layer::dir::RealDir;
use crate::namespace::locks;
use crate::namespace::node::{Body, Link, Node, State};
use crate::sys::At;
use crate::types::Stat;

/// How much of a file's data is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    All,
    /// The first bytes only: the file is about to be truncated to this size.
    UpTo(u64),
}

/// What is changed on a copy, given it and what the lower file is, before anybody can see the copy.
pub(super) type OnCopy<'c> = dyn Fn(At<'_>, &Stat) -> Result<()> + 'c;

/// A directory of the upperdir: the only thing that entries can be made in or removed from.
#[derive(Debug, Clone)]
pub(super) struct UpperDir {
    pub(super) real: Arc<RealDir>,
    fd: Arc<OwnedFd>,
}

impl UpperDir {
    pub(super) fn at<'a>(&'a self, name: &'a std::ffi::OsStr) -> At<'a> {
        At::new(self.fd.as_fd(), name)
    }

    pub(super) fn this(&self) -> At<'_> {
        At::this(self.fd.as_fd())
    }

    /// What keeps it reachable when it has no name any more.
    pub(super) fn held(&self) -> Arc<OwnedFd> {
        self.fd.clone()
    }
}

fn is_removed(dir: &Node) -> bool {
    dir.peek_dir(|directory| directory.removed) == Some(true)
}

impl Union {
    /// Makes sure that the node is in the upperdir, with (at least) `extent` of its data. Others that want the same wait for
    /// this node only.
    ///
    /// # Errors
    /// `EROFS` without upperdir; whatever keeps the copy from being complete. The lower file is visible and intact then.
    pub(super) fn ensure_upper(&self, node: &Arc<Node>, extent: Extent) -> Result<()> {
        if !self.ensure_upper_with(node, extent, &|_, _| Ok(()))? || node.is_dir() {
            return Ok(());
        }
        self.link_known_names(node)
    }

    /// Gets the node into the upperdir as `on_copy` leaves its copy: both become visible at once, or neither. Whether it did so:
    /// not when the node is, or comes meanwhile, into the upperdir otherwise.
    ///
    /// # Errors
    /// As [`Union::ensure_upper`], and those of `on_copy`. Nothing has changed then.
    pub(super) fn ensure_upper_with(
        &self,
        node: &Arc<Node>,
        extent: Extent,
        on_copy: &OnCopy<'_>,
    ) -> Result<bool> {
        self.upper()?;
        if node.is_upper() {
            return Ok(false);
        }
        if node.is_dir() {
            return match self.ensure_parent_upper(node).and_then(|()| self.copy_up_dir(node, on_copy)) {
                Err(error) if error.errno() == Errno::NOENT && is_removed(node) => {
                    self.copy_up_removed_dir(node, on_copy)
                }
                other => other,
            };
        }
        loop {
            if let Some(copied) = self.try_copy_up(node, extent, on_copy)? {
                return Ok(copied);
            }
        }
    }

    fn ensure_parent_upper(&self, node: &Arc<Node>) -> Result<()> {
        let link = node.link().ok_or(Error::refused(Errno::NOENT, "the directory was removed"))?;
        self.ensure_upper_dir(&link.parent).map(drop)
    }

    /// Copies a file up; whether it was this call that did, `None` when its name changed meanwhile.
    fn try_copy_up(&self, node: &Arc<Node>, extent: Extent, on_copy: &OnCopy<'_>) -> Result<Option<bool>> {
        let link = node.link();
        if let Some(link) = &link {
            self.ensure_upper_dir(&link.parent)?;
        }
        let _gates = locks::lock(&[node]);
        let lower = match &node.state.read().body {
            Body::Lower(lower) => lower.clone(),
            _ => return Ok(Some(false)),
        };
        match (link, node.link()) {
            (Some(link), Some(now)) if now.is(&link.parent, &link.name) => {
                let parent = self.upper_dir(&link.parent)?;
                self.copy_up_file(node, &lower, Some((&link, &parent)), (extent, on_copy))?;
            }
            (None, None) => self.copy_up_file(node, &lower, None, (extent, on_copy))?,
            _ => return Ok(None),
        }
        Ok(Some(true))
    }

    /// Gives a file just copied up all its names that are known, because a write does not say which one it was opened by:
    /// whoever reads the upperdir alone, to archive it say, must find the change under that one.
    pub(super) fn link_known_names(&self, node: &Arc<Node>) -> Result<()> {
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

    /// The directory's upper part, made when it has none. Until the directory's gate is held it may yet be replaced: take
    /// [`Union::upper_dir`] then.
    pub(super) fn ensure_upper_dir(&self, node: &Arc<Node>) -> Result<UpperDir> {
        self.upper()?;
        let mut chain = vec![node.clone()];
        while let Some(last) = chain.last()
            && !last.is_upper()
        {
            let link = last.link().ok_or(Error::refused(Errno::NOENT, "the directory was removed"))?;
            chain.push(link.parent);
        }
        while let Some(next) = chain.pop() {
            if !next.is_upper() {
                self.copy_up_dir(&next, &|_, _| Ok(()))?;
            }
        }
        self.upper_dir(node)
    }

    /// The upper part of a directory that has one.
    pub(super) fn upper_dir(&self, node: &Node) -> Result<UpperDir> {
        let upper = node.stack().and_then(|stack| stack.upper);
        let real = upper.ok_or(Error::refused(Errno::NOTDIR, "no directory of the upperdir"))?;
        let fd = self.nodes.dirs.open(&real)?;
        Ok(UpperDir { real, fd })
    }
}
