//! A session, for those who do not serve in it.

use std::io;
use std::sync::{Arc, OnceLock, Weak};

use fuser::{INodeNo, Notifier};

use super::crew::Crew;
use super::notify;
use crate::ops::Union;
use crate::sys::mount::Connection;
use crate::types::{Name, NodeId};

/// A session seen from outside: how it is, what its kernel remembers, and its end. It keeps neither the session nor its union alive.
#[derive(Clone)]
pub struct SessionHandle {
    union: Weak<Union>,
    crew: Weak<Crew>,
    notifier: Weak<OnceLock<Notifier>>,
    /// The minor number of the filesystem, where it is known.
    connection: Option<u32>,
}

/// How a session is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionState {
    /// Requests answered since it began.
    pub answered: u64,
    /// Requests that are being served.
    pub in_hand: usize,
    /// Threads that serve.
    pub threads: usize,
    /// Nodes in memory: files and directories that its kernel knows, and those that they lie in.
    pub nodes: usize,
}

impl SessionHandle {
    pub(super) fn new(
        union: &Arc<Union>,
        crew: &Arc<Crew>,
        notifier: &Arc<OnceLock<Notifier>>,
        connection: Option<u32>,
    ) -> Self {
        Self {
            union: Arc::downgrade(union),
            crew: Arc::downgrade(crew),
            notifier: Arc::downgrade(notifier),
            connection,
        }
    }

    /// How the session is; `None` when it has ended.
    pub fn state(&self) -> Option<SessionState> {
        let (union, crew) = (self.union.upgrade()?, self.crew.upgrade()?);
        let (answered, in_hand, threads) = crew.counts();
        Some(SessionState { answered, in_hand, threads, nodes: union.live_nodes() })
    }

    /// Lets the kernel ask for a node's attributes, data and listing again: for whoever has changed a layer by other ways than the
    /// union. Waits for those who use the node just now; not to be called by a thread that serves.
    pub fn refresh(&self, node: NodeId) {
        if let Some((union, notifier)) = self.union.upgrade().zip(self.notifier.upgrade()) {
            union.refresh(node);
            notify::attributes_changed(&notifier, INodeNo(node.0));
            notify::listing_changed(&notifier, INodeNo(node.0));
        }
    }

    /// Lets the kernel look a name up again. As [`SessionHandle::refresh`].
    pub fn refresh_name(&self, dir: NodeId, name: Name<'_>) {
        if let Some((union, notifier)) = self.union.upgrade().zip(self.notifier.upgrade()) {
            union.refresh(dir);
            notify::entry_changed(&notifier, INodeNo(dir.0), name.as_os_str());
        }
    }

    /// Ends the session whatever is under way: whoever uses the union gets ECONNABORTED, then ENOTCONN until it is unmounted. What was
    /// answered stays done.
    ///
    /// # Errors
    /// `ENOENT` where the filesystem's number or its connection is not known (`/sys/fs/fuse/connections` is not mounted, or the session
    /// has ended), `EACCES` for one who may not.
    pub fn abort(&self) -> io::Result<()> {
        let minor = self.connection.ok_or(io::ErrorKind::NotFound)?;
        Connection::abort(minor)
    }
}
