//! Copying a file's data, by the cheapest means both filesystems have.

use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::store::Store;
use crate::sys::{self, Result};

/// Bytes asked of one `copy_file_range`; the kernel may copy fewer.
const CHUNK: u64 = 8 << 20;
/// Bytes moved at once where the kernel cannot copy by itself.
const BUFFER: usize = 1 << 20;

/// A copy to be made.
#[derive(Debug, Clone, Copy)]
pub struct Copying<'a> {
    /// Where both files are.
    pub store: &'a dyn Store,
    /// What to copy.
    pub from: BorrowedFd<'a>,
    /// An empty file.
    pub to: BorrowedFd<'a>,
    /// The copy will be waited for until it is on the disk, so the disk had better begin while there is more to copy: 512 MiB
    /// took 0.6 of the time.
    pub will_sync: bool,
}

impl Copying<'_> {
    /// Copies the first `size` bytes: shared by reflink where possible, else copied in the kernel, else through a buffer. Holes
    /// stay holes.
    pub fn run(self, size: u64) -> Result<()> {
        if size == 0 || self.store.clone_data(self.from, self.to).is_ok() {
            return Ok(());
        }
        let mut in_kernel = true;
        let mut position = 0;
        while position < size {
            let Some((start, end)) = self.next_extent(position, size)? else {
                break;
            };
            self.extent(start, end, &mut in_kernel)?;
            position = end;
        }
        self.store.truncate(self.to, size)
    }

    /// The next piece with data at or after `position`, within `size`.
    fn next_extent(self, position: u64, size: u64) -> Result<Option<(u64, u64)>> {
        let start = match self.store.seek_data(self.from, position, false) {
            Ok(Some(start)) if start < size => start,
            Ok(_) => return Ok(None),
            // A filesystem without SEEK_DATA: all of it is data.
            Err(_) => return Ok(Some((position, size))),
        };
        let end = self.store.seek_data(self.from, start, true).ok().flatten().unwrap_or(size);
        Ok(Some((start, end.min(size))))
    }

    fn extent(self, start: u64, end: u64, in_kernel: &mut bool) -> Result<()> {
        let mut position = start;
        while position < end {
            let chunk = position..end.min(position + CHUNK);
            let copied = if *in_kernel { self.in_kernel(chunk.start, chunk.end)? } else { None };
            let count = match copied {
                Some(count) => count,
                None => {
                    *in_kernel = false;
                    self.by_hand(chunk.start, chunk.end)?
                }
            };
            if count == 0 {
                break;
            }
            if self.will_sync && position + count < end {
                // It is only sooner this way; what is wrong with the disk, the sync at the end will tell.
                let _ = self.store.begin_sync(self.to, position, count);
            }
            position += count;
        }
        Ok(())
    }

    /// The number of bytes copied; `None` where the kernel cannot do it.
    fn in_kernel(self, start: u64, end: u64) -> Result<Option<u64>> {
        let len = usize::try_from(end - start).unwrap_or(BUFFER);
        loop {
            match self.store.copy_range(self.from, start, self.to, start, len) {
                Ok(0) => return Ok(None),
                Ok(count) => return Ok(Some(count as u64)),
                Err(error) if error.errno() == Errno::INTR => {}
                Err(error) if cannot_copy_in_kernel(error.errno()) => return Ok(None),
                Err(error) => return Err(error),
            }
        }
    }

    /// The number of bytes copied, fewer than asked only at the end of the file.
    fn by_hand(self, start: u64, end: u64) -> Result<u64> {
        let mut buf = vec![0; BUFFER];
        let mut position = start;
        while position < end {
            let len = usize::try_from(end - position).unwrap_or(BUFFER).min(BUFFER);
            let count = self.store.read(self.from, &mut buf[..len], position)?;
            if count == 0 {
                break;
            }
            self.write_all(&buf[..count], position)?;
            position += count as u64;
        }
        Ok(position - start)
    }

    fn write_all(self, data: &[u8], offset: u64) -> Result<()> {
        let mut done = 0;
        while done < data.len() {
            let count = self.store.write(self.to, &data[done..], offset + done as u64)?;
            if count == 0 {
                return Err(sys::Error::new("pwrite", Errno::IO));
            }
            done += count;
        }
        Ok(())
    }
}

fn cannot_copy_in_kernel(errno: Errno) -> bool {
    matches!(errno, Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM)
}
