//! Files for those who read and write data by themselves once they have it open.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::open_files::OpenFile;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::file::File;
use crate::types::NodeId;

/// The open file of a layer that has a node's data, and keeps having it.
#[derive(Debug)]
pub struct Data(Arc<OpenFile>);

impl AsFd for Data {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.fd.as_fd()
    }
}

impl File {
    /// [`Union::open_data`](crate::Union::open_data).
    pub(in crate::ops) fn open_data(&self, id: NodeId, writing: bool) -> Result<Option<Data>> {
        let node = self.node(id)?;
        if writing {
            self.ensure_upper(&node, Extent::All)?;
        }
        let replaceable = !self.is_read_only() && !node.is_upper();
        if replaceable {
            return Ok(None);
        }
        let file = self.open_file(&node, writing)?;
        if file.append_only {
            // The kernel would open it anew, for writing anywhere.
            return Ok(None);
        }
        let traceless = file.lower.is_none() || !self.store.usage(file.fd.as_fd())?.access_times;
        Ok(traceless.then_some(Data(file)))
    }

    /// [`Union::check_overwriting`](crate::Union::check_overwriting).
    pub(in crate::ops) fn check_overwriting(&self, id: NodeId) -> Result<()> {
        match self.open_file(&*self.node(id)?, true)?.append_only {
            true => Err(Error::refused(Errno::PERM, "the file is append-only")),
            false => Ok(()),
        }
    }
}
