//! Copying a file's data, by the cheapest means both filesystems have.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::store::Store;
use super::waiting::Whereabouts;
use crate::sys::{self, Result};

/// Bytes asked of one `copy_file_range`, as many as nobody minds waiting for; the kernel may copy fewer.
const CHUNK: u64 = 64 << 20;
/// Bytes moved at once where the kernel cannot copy by itself.
const BUFFER: usize = 1 << 20;

/// Whether copied data has to be waited for, if it is to survive a power cut under the name that the file gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Copied {
    /// It is in memory only.
    InMemory,
    /// There is none, or it is that of the lower file, which is on the disk. A journal has the sharing before the name (the
    /// kernel's `ovl_copy_up_file` does not wait then either).
    Shared,
}

/// Lets the empty file `to` share the first `size` bytes of `from` (reflink). Whether that is possible, and done.
pub fn share(store: &dyn Store, from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> bool {
    size == 0 || store.clone_data(from, to).is_ok()
}

/// Copies the first `size` bytes of `from` to the empty file `to`: in the kernel where possible, else through a buffer. Holes stay
/// holes.
///
/// # Errors
/// Those of the calls; `EIO` when the file ends before `size`; `EINTR` when nobody waits for it any more.
pub fn data(
    store: &dyn Store,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    size: u64,
    client: &Whereabouts,
) -> Result<()> {
    let mut copy = Copy { store, from, to, in_kernel: true, client };
    let mut position = 0;
    while position < size {
        let Some((start, end)) = next_extent(store, from, position, size)? else {
            break;
        };
        copy.extent(start, end)?;
        position = end;
    }
    // A hole at the end looks the same as an end that is gone.
    if position < size && store.stat_fd(from)?.size < size {
        return Err(ended_early());
    }
    store.truncate(to, size)
}

/// The next piece with data at or after `position`, within `size`.
fn next_extent(
    store: &dyn Store,
    from: BorrowedFd<'_>,
    position: u64,
    size: u64,
) -> Result<Option<(u64, u64)>> {
    let start = match store.seek_data(from, position, false) {
        Ok(Some(start)) if start < size => start,
        Ok(_) => return Ok(None),
        // A filesystem without SEEK_DATA: all of it is data.
        Err(_) => return Ok(Some((position, size))),
    };
    let end = store.seek_data(from, start, true).ok().flatten().unwrap_or(size);
    Ok(Some((start, end.min(size))))
}

/// A copy that is under way.
struct Copy<'a> {
    store: &'a dyn Store,
    from: BorrowedFd<'a>,
    to: BorrowedFd<'a>,
    in_kernel: bool,
    client: &'a Whereabouts,
}

impl Copy<'_> {
    fn extent(&mut self, start: u64, end: u64) -> Result<()> {
        let mut position = start;
        while self.in_kernel && position < end {
            self.go_on()?;
            let len = usize::try_from((end - position).min(CHUNK)).unwrap_or(BUFFER);
            match self.store.copy_range(self.from, position, self.to, position, len) {
                Ok(0) => self.in_kernel = false,
                Ok(count) => position += count as u64,
                Err(error) if error.errno() == Errno::INTR => {}
                Err(error) if cannot_copy_in_kernel(error.errno()) => self.in_kernel = false,
                Err(error) => return Err(error),
            }
        }
        let mut buf = Vec::new();
        while position < end {
            self.go_on()?;
            buf.resize(BUFFER, 0);
            let len = usize::try_from(end - position).unwrap_or(BUFFER).min(BUFFER);
            let count = self.store.read(self.from, &mut buf[..len], position)?;
            if count == 0 {
                return Err(ended_early());
            }
            write_all(self.store, self.to, &buf[..count], position)?;
            position += count as u64;
        }
        Ok(())
    }

    /// The kernel's overlayfs, too, ends a copy-up whose process was killed.
    fn go_on(&self) -> Result<()> {
        match self.client.is_interrupted() {
            true => Err(sys::Error::new("copy: its client is gone", Errno::INTR)),
            false => Ok(()),
        }
    }
}

/// The file was longer when it was looked at. A copy with zeros for the rest would be wrong, and nobody would know.
fn ended_early() -> sys::Error {
    sys::Error::new("copy: the lower file has become shorter", Errno::IO)
}

/// Writes all of `data` at `offset`.
///
/// # Errors
/// Those of pwrite(2); `EIO` when the filesystem takes nothing more and does not say why.
pub fn write_all(store: &dyn Store, to: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<()> {
    let mut done = 0;
    while done < data.len() {
        let count = store.write(to, &data[done..], offset + done as u64)?;
        if count == 0 {
            return Err(sys::Error::new("pwrite", Errno::IO));
        }
        done += count;
    }
    Ok(())
}

fn cannot_copy_in_kernel(errno: Errno) -> bool {
    matches!(errno, Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM)
}
