//! The ioctls that are filesystem operations rather than a driver's: inode flags.

use rustix::io::Errno;

use super::convert;
use crate::error::{Error, Result};
use crate::ops::Union;
use crate::ops::effects::Done;
use crate::types::NodeId;

/// By number on 64-bit machines (linux/fs.h). Before it sets flags, the kernel asks for the old ones in the third form.
const FS_IOC_GETFLAGS: u32 = 0x8008_6601;
const FS_IOC_SETFLAGS: u32 = 0x4008_6602;
const FS_IOC_FSGETXATTR: u32 = 0x801c_581f;

/// Whether a command changes anything.
pub(super) fn changes(command: u32) -> bool {
    command == FS_IOC_SETFLAGS
}

/// Answers an ioctl that changes nothing.
///
/// # Errors
/// `ENOTTY` for all but those on inode flags.
pub(super) fn answer(union: &Union, node: NodeId, command: u32) -> Result<Vec<u8>> {
    match command {
        FS_IOC_GETFLAGS => Ok(union.get_flags(node)?.to_ne_bytes().to_vec()),
        FS_IOC_FSGETXATTR => Ok(convert::fsxattr(union.get_flags(node)?).to_vec()),
        _ => Err(Error::refused(Errno::NOTTY, "no such ioctl")),
    }
}

/// Does what an ioctl asks for that changes something: sets inode flags.
///
/// # Errors
/// `EINVAL` without flags.
pub(super) fn change(union: &Union, node: NodeId, data: &[u8]) -> Result<Done<Vec<u8>>> {
    // The kernel passes `unsigned int`, whatever the size in the command's number says (fs/fuse/ioctl.c).
    let flags = data.first_chunk::<4>().ok_or(Error::refused(Errno::INVAL, "flags are missing"))?;
    Ok(union.set_flags(node, u32::from_ne_bytes(*flags))?.map(|()| Vec::new()))
}
