//! Extended attributes, by name in a directory or by descriptor.

use std::ffi::OsStr;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::{At, Result};

/// Most values are marks of a few bytes; the kernel's limit is 64 KiB (xattr(7)).
const FIRST_TRY: usize = 256;
const LIMIT: usize = 65536;

/// The value, or `None` when the file has none of that name.
///
/// # Errors
/// `EOPNOTSUPP` where the filesystem keeps no such attributes.
pub fn get(at: At<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let path = at.proc_path();
    match grow(|buf| {
        if at.is_self() {
            fs::getxattr(path.as_slice(), name, buf)
        } else {
            fs::lgetxattr(path.as_slice(), name, buf)
        }
    }) {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(at.fail("getxattr", errno)),
    }
}

/// All names, each ended by a NUL byte.
pub fn list(at: At<'_>) -> Result<Vec<u8>> {
    let path = at.proc_path();
    grow(|buf| {
        if at.is_self() { fs::listxattr(path.as_slice(), buf) } else { fs::llistxattr(path.as_slice(), buf) }
    })
    .map_err(|errno| at.fail("listxattr", errno))
}

/// Sets a value; `flags` are those of `setxattr(2)`.
pub fn set(at: At<'_>, name: &OsStr, value: &[u8], flags: i32) -> Result<()> {
    let flags = XattrFlags::from_bits_retain(flags.cast_unsigned());
    let path = at.proc_path();
    let set = if at.is_self() {
        fs::setxattr(path.as_slice(), name, value, flags)
    } else {
        fs::lsetxattr(path.as_slice(), name, value, flags)
    };
    set.map_err(|errno| at.fail("setxattr", errno))
}

/// Removes a value.
///
/// # Errors
/// `ENODATA` when there is none.
pub fn remove(at: At<'_>, name: &OsStr) -> Result<()> {
    let path = at.proc_path();
    let removed = if at.is_self() {
        fs::removexattr(path.as_slice(), name)
    } else {
        fs::lremovexattr(path.as_slice(), name)
    };
    removed.map_err(|errno| at.fail("removexattr", errno))
}

fn grow(
    mut call: impl FnMut(&mut [u8]) -> std::result::Result<usize, Errno>,
) -> std::result::Result<Vec<u8>, Errno> {
    let mut first = [0u8; FIRST_TRY];
    match call(&mut first) {
        Ok(len) => return Ok(first[..len].to_vec()),
        Err(Errno::RANGE) => {}
        Err(errno) => return Err(errno),
    }
    let mut buf = vec![0u8; LIMIT];
    let len = call(&mut buf)?;
    buf.truncate(len);
    Ok(buf)
}
