//! From the outcome of an operation to the one reply of its request.

use std::panic::{AssertUnwindSafe, catch_unwind};

use fuser::{Errno, INodeNo, ReplyEmpty, ReplyXattr};

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

pub(super) fn reply_empty(outcome: Result<(), Errno>, reply: ReplyEmpty) {
    match outcome {
        Ok(()) => reply.ok(),
        Err(errno) => reply.error(errno),
    }
}

pub(super) fn reply_sized(outcome: Result<Vec<u8>, Errno>, size: u32, reply: ReplyXattr) {
    match outcome {
        Ok(value) if size == 0 => reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
        Ok(value) if value.len() <= size as usize => reply.data(&value),
        Ok(_) => reply.error(Errno::ERANGE),
        Err(errno) => reply.error(errno),
    }
}
