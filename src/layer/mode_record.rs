//! Records in the work directory of modes that are widened for a moment: the next mount puts back what a daemon that was killed could
//! not.
//!
//! A record is a symlink `#mode.INODE.MODE.WIDENED` (hexadecimal, and octal twice) to the path of the file below the upperdir.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::store::{Store, names_in};
use crate::sys::{self, At, Error, Result};
use crate::types::Stat;

const PREFIX: &str = "#mode.";
/// What may have been added to a mode: an owner's permissions.
const OWNERS: u32 = 0o700;

/// What a file's mode is while it is widened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModeRecord {
    /// Its inode number.
    pub ino: u64,
    /// The permission bits that it is to have.
    pub mode: u32,
    /// Those that it has for a moment.
    pub widened: u32,
}

impl ModeRecord {
    /// The name of the record.
    pub fn name(&self) -> OsString {
        OsString::from(format!("{PREFIX}{:x}.{:o}.{:o}", self.ino, self.mode, self.widened))
    }

    /// `None` for other names, and for modes that are widened by anything but what we may add.
    pub fn parse(name: &OsStr) -> Option<Self> {
        let mut fields = name.to_str()?.strip_prefix(PREFIX)?.split('.');
        let ino = u64::from_str_radix(fields.next()?, 16).ok()?;
        let mode = u32::from_str_radix(fields.next()?, 8).ok()?;
        let widened = u32::from_str_radix(fields.next()?, 8).ok()?;
        let is_valid =
            fields.next().is_none() && widened & !OWNERS == mode & !OWNERS && widened & mode == mode;
        is_valid.then_some(Self { ino, mode, widened })
    }

    fn is_of(&self, stat: &Stat) -> bool {
        stat.ino == self.ino && stat.mode & 0o7777 == self.widened
    }
}

/// The path of a file below the upperdir's root, as a record has it; `None` where it is not below, has no name, or too long a one.
pub fn path_below(root: BorrowedFd<'_>, at: At<'_>) -> Option<OsString> {
    let [root, dir] = [root, at.dir].map(|fd| sys::namei::path_of(fd).ok());
    let (root, mut path) = (root?, dir?);
    if !at.is_self() {
        path.push("/");
        path.push(at.name);
    }
    let below = path.as_bytes().strip_prefix(root.as_bytes())?;
    match below {
        [] => Some(OsString::from(".")),
        [b'/', rest @ ..] if rest.len() < 4096 => Some(OsString::from_vec(rest.to_vec())),
        _ => None,
    }
}

/// Puts the modes back that are recorded in a work directory. What cannot be is in the log: it is no reason not to mount.
pub fn put_back(store: &dyn Store, work: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> Result<()> {
    let readable = store.open(At::new(work, OsStr::new(".")), OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    for name in names_in(store, readable.as_fd())? {
        let Some(record) = ModeRecord::parse(&name) else { continue };
        match put_one_back(store, At::new(work, &name), upper, &record) {
            Ok(true) => {
                log::info!("{name:?}: the mode that a daemon could not put back is {:o} again", record.mode)
            }
            Ok(false) => {}
            Err(error) => log::warn!("{name:?}: a mode that was widened when a daemon ended: {error}"),
        }
    }
    Ok(())
}

/// Whether there was something to be put back. A record counts for files of its owner only, who could have changed them himself.
fn put_one_back(store: &dyn Store, at: At<'_>, upper: BorrowedFd<'_>, record: &ModeRecord) -> Result<bool> {
    let Some(own) = store.stat(at)? else { return Ok(false) };
    let path = store.read_link(at)?;
    let Some(file) = walk(store, upper, &path)? else { return Ok(false) };
    let stat = store.stat_fd(file.as_fd())?;
    if !record.is_of(&stat) || stat.uid != own.uid {
        return Ok(false);
    }
    store.chmod(At::this(file.as_fd()), record.mode)?;
    Ok(true)
}

fn walk(store: &dyn Store, root: BorrowedFd<'_>, path: &OsStr) -> Result<Option<OwnedFd>> {
    let mut at = store.open(At::new(root, OsStr::new(".")), OFlags::PATH | OFlags::DIRECTORY, 0)?;
    for name in path.as_bytes().split(|&byte| byte == b'/').filter(|name| *name != b".") {
        if matches!(name, b"" | b"..") {
            return Err(Error::new("openat", Errno::INVAL));
        }
        at = match store.open(At::new(at.as_fd(), OsStr::from_bytes(name)), OFlags::PATH, 0) {
            Err(error) if matches!(error.errno(), Errno::NOENT | Errno::NOTDIR) => return Ok(None),
            other => other?,
        };
    }
    Ok(Some(at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_only_ever_take_an_owners_permissions_away() {
        let record = ModeRecord { ino: 0xabc, mode: 0o444, widened: 0o644 };
        assert_eq!(record.name(), "#mode.abc.444.644");
        assert_eq!(ModeRecord::parse(&record.name()), Some(record));
        for name in [
            "#mode.abc.4755.755",
            "#mode.abc.444.464",
            "#mode.abc.644.444",
            "#mode.1.444",
            "#mode.1.444.644.1",
        ] {
            assert_eq!(ModeRecord::parse(OsStr::new(name)), None, "{name}");
        }
    }
}
