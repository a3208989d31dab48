//! What names stand for, referenced for the length of an operation that changes them.

use std::ffi::OsStr;
use std::sync::Arc;

use rustix::io::Errno;

use super::Union;
use crate::error::{Error, Result};
use crate::namespace::node::Node;
use crate::namespace::refs::NodeRef;
use crate::namespace::walk::DirStack;

/// How often an operation begins again because others were faster.
pub(super) const DISTURBANCES: usize = 64;

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
    pub(super) fn find(&self, parent: &Arc<Node>, name: &Arc<OsStr>) -> Result<NodeRef<'_>> {
        let missing = || Error::refused(Errno::NOENT, "no such name");
        self.find_if_any(parent, name)?.ok_or_else(missing)
    }

    /// Like [`Union::find`]; `None` when nothing is shown.
    pub(super) fn find_if_any(&self, parent: &Arc<Node>, name: &Arc<OsStr>) -> Result<Option<NodeRef<'_>>> {
        if self.is_hidden(parent, name) {
            return Ok(None);
        }
        let adopted = self.adopt_name(parent, name, |stack| self.locate(parent, stack, name))?;
        Ok(adopted.map(|adopted| adopted.node))
    }

    pub(super) fn dir_stack(&self, node: &Node) -> Result<DirStack> {
        node.stack().ok_or(Error::refused(Errno::NOTDIR, "not a directory"))
    }
}
