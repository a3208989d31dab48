//! From the outcome of an operation to the one reply of its request.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuser::{Errno, INodeNo};

use super::{convert, crew};
use crate::error::Result;

/// Runs one operation, unless its user has too many that do not end. A failure is logged and becomes its errno; a panic is a bug of ours, and the mount lives on.
pub(super) fn run<T>(
    name: &'static str,
    node: INodeNo,
    operation: impl FnOnce() -> Result<T>,
) -> Result<T, Errno> {
    if crew::refused() {
        log::debug!("{name} of node {}: too many requests of its user do not end", node.0);
        return Err(Errno::ETIMEDOUT);
    }
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => {
            log::debug!("{name} of node {}: {error}", node.0);
            Err(convert::errno(&error))
        }
        Err(_) => {
            log::error!("{name} of node {}: panic, please report it", node.0);
            Err(Errno::EIO)
        }
    }
}
