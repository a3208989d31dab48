//! What names stand for, referenced for the length of an operation that changes them.

use std::ffi::OsStr;
use std::sync::Arc;

use rustix::io::Errno;

use super::Union;
use crate::error::{Error, Result};
use crate::namespace::node::Node;
use crate::namespace::walk::DirStack;
use crate::types::NodeId;

/// How often an operation begins again because others were faster.
pub(super) const DISTURBANCES: usize = 64;

/// A reference to a node for the length of an operation.
pub(super) struct Borrowed<'a> {
    union: &'a Union,
    node: Arc<Node>,
}

impl std::ops::Deref for Borrowed<'_> {
    type Target = Arc<Node>;

    fn deref(&self) -> &Arc<Node> {
        &self.node
    }
}

impl Drop for Borrowed<'_> {
    fn drop(&mut self) {
        self.union.forget(self.node.id, 1);
    }
}

/// Repeats an attempt that answers `None`: with the gates held it has found that a name which it had looked up before stands for another
/// file by now.
pub(super) fn until_undisturbed<T>(attempt: impl Fn() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..DISTURBANCES {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
    }
    Err(Error::refused(Errno::STALE, "the names do not hold still; was a layer changed from outside?"))
}

impl Union {
    /// What the union shows under a name, referenced for the length of an operation.
    pub(super) fn find(&self, parent: &Arc<Node>, name: &Arc<OsStr>) -> Result<Borrowed<'_>> {
        let missing = || Error::refused(Errno::NOENT, "no such name");
        self.find_if_any(parent, name)?.ok_or_else(missing)
    }

    /// Like [`Union::find`]; `None` when nothing is shown.
    pub(super) fn find_if_any(&self, parent: &Arc<Node>, name: &Arc<OsStr>) -> Result<Option<Borrowed<'_>>> {
        if self.is_hidden(parent, name) {
            return Ok(None);
        }
        let adopted = self.adopt_name(parent, name, |stack| self.locate(parent, stack, name))?;
        Ok(adopted.map(|adopted| Borrowed { union: self, node: adopted.node }))
    }

    /// A directory, referenced for the length of an operation that gives it children: without a reference it could be forgotten
    /// meanwhile, and they would hang on a node that nobody finds.
    pub(super) fn borrow_dir(&self, id: NodeId) -> Result<Borrowed<'_>> {
        let (node, _) = self.dir_node(id)?;
        match self.table.pin(&node) {
            true => Ok(Borrowed { union: self, node }),
            false => Err(Error::refused(Errno::STALE, "unknown node")),
        }
    }

    pub(super) fn dir_stack(&self, node: &Node) -> Result<DirStack> {
        node.stack().ok_or(Error::refused(Errno::NOTDIR, "not a directory"))
    }
}
