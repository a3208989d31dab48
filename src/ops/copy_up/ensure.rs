//! Getting a node into the upperdir, the only place where anything can be changed.

use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::locks;
use crate::namespace::node::{Body, Node};
use crate::ops::copy_up::CopyUp;
use crate::ops::lookup::UpperDir;
use crate::sys::At;
use crate::types::Stat;

/// How much of a file's data is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::ops) enum Extent {
    /// All of it.
    All,
    /// The first bytes only: the file is about to be truncated to this size.
    UpTo(u64),
}

/// What is changed on a copy, given it and what the lower file is, before anybody can see the copy.
pub(in crate::ops) type OnCopy<'c> = dyn Fn(At<'_>, &Stat) -> Result<()> + 'c;

impl CopyUp {
    /// Gets the node into the upperdir as `on_copy` leaves its copy: both become visible at once, or neither. Whether it did so:
    /// not when the node is, or comes meanwhile, into the upperdir otherwise.
    ///
    /// # Errors
    /// As [`CopyUp::ensure_upper`], and those of `on_copy`. Nothing has changed then.
    pub(in crate::ops) fn ensure_upper_with(
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

    /// The directory's upper part, made when it has none. Until the directory's gate is held it may yet be replaced: take
    /// `upper_dir` then.
    pub(in crate::ops) fn ensure_upper_dir(&self, node: &Arc<Node>) -> Result<UpperDir> {
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
}

fn is_removed(dir: &Node) -> bool {
    dir.peek_dir(|directory| directory.removed) == Some(true)
}
