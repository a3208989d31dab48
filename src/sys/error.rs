use std::ffi::{OsStr, OsString};
use std::{fmt, io};

use rustix::io::Errno;

/// The result of a system call.
pub type Result<T> = std::result::Result<T, Error>;

/// A failed system call: which one, on what, and why.
#[derive(Debug)]
pub struct Error {
    call: &'static str,
    subject: Option<OsString>,
    errno: Errno,
}

impl Error {
    /// `call` is the system call's name.
    pub fn new(call: &'static str, errno: Errno) -> Self {
        Self { call, subject: None, errno }
    }

    /// Like [`Error::new`], with the name the call was made on.
    pub fn on(call: &'static str, subject: &OsStr, errno: Errno) -> Self {
        Self { call, subject: Some(subject.to_owned()), errno }
    }

    /// Of the libc call that has just failed.
    pub(super) fn last(call: &'static str) -> Self {
        Self::new(call, last_errno())
    }

    /// The errno of the call.
    pub fn errno(&self) -> Errno {
        self.errno
    }
}

/// The errno of the libc call that has just failed.
pub(super) fn last_errno() -> Errno {
    Errno::from_io_error(&io::Error::last_os_error()).unwrap_or(Errno::IO)
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.subject {
            Some(subject) => write!(f, "{}({subject:?}): {}", self.call, self.errno),
            None => write!(f, "{}: {}", self.call, self.errno),
        }
    }
}

impl std::error::Error for Error {}
