//! Names relative to open directories.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use smallvec::SmallVec;

/// A file named relative to an open directory; the empty name is the descriptor's own file.
#[derive(Debug, Clone, Copy)]
pub struct At<'a> {
    /// The directory, or the file itself when `name` is empty.
    pub dir: BorrowedFd<'a>,
    /// One component, or empty.
    pub name: &'a OsStr,
}

impl<'a> At<'a> {
    /// `name` in `dir`.
    pub fn new(dir: BorrowedFd<'a>, name: &'a OsStr) -> Self {
        Self { dir, name }
    }

    /// The file that `fd` is open on (`O_PATH` will do).
    pub fn this(fd: BorrowedFd<'a>) -> Self {
        Self { dir: fd, name: OsStr::new("") }
    }

    /// Whether this is the descriptor's own file.
    pub fn is_self(&self) -> bool {
        self.name.is_empty()
    }

    /// A path for the calls that have no `*at` form, through `/proc/self/fd`. It still names one component below an open
    /// directory, so it cannot be led elsewhere.
    pub(super) fn proc_path(&self) -> SmallVec<[u8; 320]> {
        use std::io::Write;
        let mut path = SmallVec::new();
        // Writing to a SmallVec cannot fail.
        let _ = write!(path, "/proc/self/fd/{}", self.dir.as_raw_fd());
        if !self.is_self() {
            path.push(b'/');
            path.extend_from_slice(self.name.as_bytes());
        }
        path
    }

    pub(super) fn fail(&self, call: &'static str, errno: Errno) -> super::Error {
        super::Error::on(call, self.name, errno)
    }
}
