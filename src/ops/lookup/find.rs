//! What names stand for, referenced for the length of an operation that changes them.

use std::ffi::OsStr;
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::node::Node;
use crate::namespace::refs::{Entry, NodeRef};
use crate::ops::lookup::Lookup;
use crate::types::{Name, NodeId};

/// How often an operation begins again because others were faster.
pub(in crate::ops) const DISTURBANCES: usize = 64;

impl Lookup {
    /// [`Union::lookup`](crate::Union::lookup).
    pub(in crate::ops) fn lookup(&self, parent: NodeId, name: Name<'_>) -> Result<Option<Entry<'_>>> {
        let (node, _) = self.dir_node(parent)?;
        let name = name.as_os_str();
        if self.is_hidden(&node, name) {
            return Ok(None);
        }
        let name: Arc<OsStr> = Arc::from(name);
        let adopted = self.adopt_name(&node, &name, |stack| self.locate(&node, stack, &name))?;
        Ok(adopted.map(|adopted| self.entry(adopted)))
    }

    /// What the union shows under a name, referenced for the length of an operation.
    pub(in crate::ops) fn find(&self, parent: &Arc<Node>, name: &Arc<OsStr>) -> Result<NodeRef<'_>> {
        let missing = || Error::refused(Errno::NOENT, "no such name");
        self.find_if_any(parent, name)?.ok_or_else(missing)
    }

    /// Like [`Lookup::find`]; `None` when nothing is shown.
    pub(in crate::ops) fn find_if_any(
        &self,
        parent: &Arc<Node>,
        name: &Arc<OsStr>,
    ) -> Result<Option<NodeRef<'_>>> {
        if self.is_hidden(parent, name) {
            return Ok(None);
        }
        let adopted = self.adopt_name(parent, name, |stack| self.locate(parent, stack, name))?;
        Ok(adopted.map(|adopted| adopted.node))
    }
}

/// Repeats an attempt that answers `None`: with the gates held it has found that a name which it had looked up before stands for another
/// file by now.
pub(in crate::ops) fn until_undisturbed<T>(attempt: impl Fn() -> Result<Option<T>>) -> Result<T> {
    for _ in 0..DISTURBANCES {
        if let Some(done) = attempt()? {
            return Ok(done);
        }
    }
    Err(Error::refused(Errno::STALE, "the names do not hold still; was a layer changed from outside?"))
}
