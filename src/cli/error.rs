//! What is wrong with a command line.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;

/// A command line that cannot be understood: exit code 1. Names the option, its value and what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UsageError(String);

impl UsageError {
    /// An error in the words of `problem`.
    pub fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }

    /// Option `name` was given a value it does not take.
    pub fn bad_value(name: &[u8], value: Option<&[u8]>, expected: impl fmt::Display) -> Self {
        let name = show(name);
        match value {
            Some(value) => Self(format!("option '{name}={}': {expected}", show(value))),
            None => Self(format!("option '{name}': {expected}")),
        }
    }
}

impl fmt::Display for UsageError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for UsageError {}

/// Bytes for a message to a human.
pub(super) fn show(bytes: &[u8]) -> impl fmt::Display + '_ {
    OsStr::from_bytes(bytes).display()
}
