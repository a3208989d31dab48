//! Work that takes long, done where it gets to run.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::mpsc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::copy_data::{self, Copied};
use crate::layer::waiting::Whereabouts;
use crate::ops::copy_up::CopyUp;

/// Bytes that take more than about a millisecond to copy.
const LONG_COPY: u64 = 4 << 20;

/// Work to be done by somebody.
pub type Work = Box<dyn FnOnce() + Send>;

impl CopyUp {
    fn work_long<T: Send + 'static>(&self, work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
        if !self.long_work.is_set() {
            return work();
        }
        let (done, outcome) = mpsc::sync_channel(1);
        self.long_work.call(Box::new(move || {
            // Whoever waits for it has the other end.
            done.send(work()).ok();
        }));
        outcome.recv().unwrap_or(Err(Error::refused(Errno::IO, "long work ended without an outcome")))
    }

    /// The first `size` bytes of a file, shared ([`copy_data::share`]) or copied ([`copy_data::data`]).
    pub(in crate::ops) fn copy_data(&self, from: &OwnedFd, to: BorrowedFd<'_>, size: u64) -> Result<Copied> {
        if copy_data::share(&*self.store, from.as_fd(), to, size) {
            return Ok(Copied::Shared);
        }
        let client = Whereabouts::here();
        // Where descriptors are scarce it is done here.
        if size >= LONG_COPY
            && let (Ok(from), Ok(to)) = (from.try_clone(), to.try_clone_to_owned())
        {
            let store = self.store.clone();
            self.work_long(move || Ok(copy_data::data(&*store, from.as_fd(), to.as_fd(), size, &client)?))?;
        } else {
            copy_data::data(&*self.store, from.as_fd(), to, size, &client)?;
        }
        Ok(Copied::InMemory)
    }

    /// `copy_file_range(2)` between two files of layers, each with its offset.
    pub(in crate::ops) fn copy_file_range(
        &self,
        from: (BorrowedFd<'_>, u64),
        to: (BorrowedFd<'_>, u64),
        len: usize,
    ) -> Result<usize> {
        if len as u64 >= LONG_COPY
            && let (Ok(source), Ok(target)) = (from.0.try_clone_to_owned(), to.0.try_clone_to_owned())
        {
            let (store, from, to) = (self.store.clone(), from.1, to.1);
            return self
                .work_long(move || Ok(store.copy_range(source.as_fd(), from, target.as_fd(), to, len)?));
        }
        Ok(self.store.copy_range(from.0, from.1, to.0, to.1, len)?)
    }
}
