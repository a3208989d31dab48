//! Errors: what an operation answers, and what a mount that cannot be made says.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use crate::format::redirect::BrokenRedirect;
use crate::sys;

/// The result of an operation of the union.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why an operation failed. Every variant has exactly one errno, [`Error::errno`].
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A system call on a layer failed; its errno reaches the caller as it is.
    #[error(transparent)]
    Sys(#[from] sys::Error),
    /// The union itself refuses.
    #[error("{reason}")]
    Refused {
        /// The errno to answer.
        errno: Errno,
        /// Why, for the log.
        reason: &'static str,
    },
}

impl Error {
    /// A refusal by the union itself.
    pub const fn refused(errno: Errno, reason: &'static str) -> Self {
        Self::Refused { errno, reason }
    }

    /// The errno the caller gets.
    pub fn errno(&self) -> Errno {
        match self {
            Self::Sys(error) => error.errno(),
            Self::Refused { errno, .. } => *errno,
        }
    }
}

impl From<BrokenRedirect> for Error {
    fn from(_: BrokenRedirect) -> Self {
        Self::refused(Errno::INVAL, "broken overlay.redirect in a layer")
    }
}

/// Why a union could not be set up: names the option, the path, what was wrong and the remedy.
#[derive(Debug)]
pub struct SetupError {
    option: &'static str,
    path: Option<PathBuf>,
    problem: String,
    remedy: String,
}

impl SetupError {
    /// `option` is as the user knows it (`lowerdir`, `upperdir`, `workdir`, `mountpoint`, …).
    pub fn new(
        option: &'static str,
        path: Option<&Path>,
        problem: impl fmt::Display,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            option,
            path: path.map(Path::to_path_buf),
            problem: problem.to_string(),
            remedy: remedy.into(),
        }
    }
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.option)?;
        if let Some(path) = &self.path {
            write!(f, " '{}'", path.display())?;
        }
        write!(f, ": {}", self.problem)?;
        if !self.remedy.is_empty() {
            write!(f, " ({})", self.remedy)?;
        }
        Ok(())
    }
}

impl std::error::Error for SetupError {}
