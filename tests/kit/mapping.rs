//! Memory mappings of files.
#![allow(unsafe_code, reason = "mmap has no safe form")]

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

/// A mapping of the start of a file, unmapped when dropped.
pub struct Mapping {
    address: *mut u8,
    length: usize,
}

impl Mapping {
    /// `MAP_SHARED`, for writing too if asked.
    pub fn shared(file: &File, length: usize, writable: bool) -> io::Result<Mapping> {
        let protection = libc::PROT_READ | if writable { libc::PROT_WRITE } else { 0 };
        // SAFETY: a new mapping at an address of the kernel's choice touches no memory in use.
        let address =
            unsafe { libc::mmap(null_mut(), length, protection, libc::MAP_SHARED, file.as_raw_fd(), 0) };
        if address == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Mapping { address: address.cast(), length })
    }

    /// A copy of `len` bytes at `at`.
    pub fn read(&self, at: usize, len: usize) -> Vec<u8> {
        assert!(at + len <= self.length);
        // SAFETY: in bounds; volatile, because the bytes may change under us.
        (at..at + len).map(|i| unsafe { self.address.add(i).read_volatile() }).collect()
    }

    /// Stores `data` at `at`; the mapping must be writable.
    pub fn write(&self, at: usize, data: &[u8]) {
        assert!(at + data.len() <= self.length);
        for (i, byte) in data.iter().enumerate() {
            // SAFETY: in bounds.
            unsafe { self.address.add(at + i).write_volatile(*byte) };
        }
    }

    /// `msync(MS_SYNC)` of all of it.
    pub fn sync(&self) -> io::Result<()> {
        // SAFETY: exactly the range that was mapped.
        match unsafe { libc::msync(self.address.cast(), self.length, libc::MS_SYNC) } {
            0 => Ok(()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: exactly the range that was mapped, and nothing borrows from it.
        unsafe { libc::munmap(self.address.cast(), self.length) };
    }
}
