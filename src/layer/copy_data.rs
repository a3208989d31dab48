//! Copying a file's data, by the cheapest means both filesystems have.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::store::Store;
use crate::sys::{self, Result};

/// Bytes asked of one `copy_file_range`; the kernel may copy fewer.
const CHUNK: u64 = 1 << 30;
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

/// Copies the first `size` bytes of `from` to the empty file `to`: shared by reflink where possible, else copied in the
/// kernel, else through a buffer. Holes stay holes.
///
/// # Errors
/// Those of the calls; `EIO` when the file ends before `size`.
pub fn data(store: &dyn Store, from: BorrowedFd<'_>, to: BorrowedFd<'_>, size: u64) -> Result<Copied> {
    if size == 0 || store.clone_data(from, to).is_ok() {
        return Ok(Copied::Shared);
    }
    let mut in_kernel = true;
    let mut position = 0;
    while position < size {
        let Some((start, end)) = next_extent(store, from, position, size)? else {
            break;
        };
        copy_extent(store, from, to, start, end, &mut in_kernel)?;
        position = end;
    }
    // A hole at the end looks the same as an end that is gone.
    if position < size && store.stat_fd(from)?.size < size {
        return Err(ended_early());
    }
    store.truncate(to, size)?;
    Ok(Copied::InMemory)
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

fn copy_extent(
    store: &dyn Store,
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    start: u64,
    end: u64,
    in_kernel: &mut bool,
) -> Result<()> {
    let mut position = start;
    while *in_kernel && position < end {
        let len = usize::try_from((end - position).min(CHUNK)).unwrap_or(BUFFER);
        match store.copy_range(from, position, to, position, len) {
            Ok(0) => *in_kernel = false,
            Ok(count) => position += count as u64,
            Err(error) if error.errno() == Errno::INTR => {}
            Err(error) if cannot_copy_in_kernel(error.errno()) => *in_kernel = false,
            Err(error) => return Err(error),
        }
    }
    let mut buf = Vec::new();
    while position < end {
        buf.resize(BUFFER, 0);
        let len = usize::try_from(end - position).unwrap_or(BUFFER).min(BUFFER);
        let count = store.read(from, &mut buf[..len], position)?;
        if count == 0 {
            return Err(ended_early());
        }
        write_all(store, to, &buf[..count], position)?;
        position += count as u64;
    }
    Ok(())
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
