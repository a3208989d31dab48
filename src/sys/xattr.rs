//! Extended attributes, by name in a directory or by descriptor.

use std::ffi::{CString, OsStr};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, XattrFlags};
use rustix::io::Errno;

use super::error::last_errno;
use super::{At, Result};

/// Most values are marks of a few bytes; the kernel's limit is 64 KiB (xattr(7)).
const FIRST_TRY: usize = 256;
const LIMIT: usize = 65536;

/// The value, or `None` when the file has none of that name.
///
/// # Errors
/// `EOPNOTSUPP` where the filesystem keeps no such attributes.
pub fn get(at: At<'_>, name: &OsStr) -> Result<Option<Vec<u8>>> {
    let direct = CString::new(name.as_bytes()).map_err(|_| Errno::INVAL).and_then(|name| {
        let file = CString::new(at.name.as_bytes()).map_err(|_| Errno::INVAL)?;
        grow(|buf| getxattrat(at, &file, &name, buf))
    });
    let found = match direct {
        // An old kernel, a container runtime that answers for it, or an `O_PATH` descriptor's own file.
        Err(Errno::NOSYS | Errno::PERM | Errno::BADF) => {
            let path = at.proc_path();
            grow(|buf| match at.is_self() {
                true => fs::getxattr(path.as_slice(), name, buf),
                false => fs::lgetxattr(path.as_slice(), name, buf),
            })
        }
        other => other,
    };
    match found {
        Ok(value) => Ok(Some(value)),
        Err(Errno::NODATA) => Ok(None),
        Err(errno) => Err(at.fail("getxattr", errno)),
    }
}

const SYS_GETXATTRAT: libc::c_long = 464;

/// `struct xattr_args` (linux/xattr.h).
#[repr(C)]
struct XattrArgs {
    value: u64,
    size: u32,
    flags: u32,
}

/// `getxattrat(2)`, of Linux 6.13, walks to the name only, and not through `/proc`: half the time.
#[allow(unsafe_code, reason = "neither libc nor rustix has the call")]
fn getxattrat(
    at: At<'_>,
    file: &CString,
    name: &CString,
    buf: &mut [u8],
) -> std::result::Result<usize, Errno> {
    let flags = libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH;
    let args = XattrArgs {
        value: buf.as_mut_ptr() as u64,
        size: u32::try_from(buf.len()).unwrap_or(u32::MAX),
        flags: 0,
    };
    // SAFETY: both names are NUL-terminated and only read; `args` has the size that is passed and names a buffer of its own, which
    // may be written to until the call returns.
    let found = unsafe {
        libc::syscall(
            SYS_GETXATTRAT,
            at.dir.as_raw_fd(),
            file.as_ptr(),
            flags,
            name.as_ptr(),
            &raw const args,
            size_of::<XattrArgs>(),
        )
    };
    usize::try_from(found).map_err(|_| last_errno())
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
