//! Directory streams.

use std::ffi::OsStr;
use std::mem::MaybeUninit;
use std::ops::ControlFlow;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{self, FileType, RawDir, SeekFrom};

use super::{Error, Result};
use crate::types::Kind;

/// One raw entry of a directory in one layer.
#[derive(Debug, Clone, Copy)]
pub struct RawEntry<'a> {
    /// The name; `.` and `..` included.
    pub name: &'a OsStr,
    /// Inode number in the layer.
    pub ino: u64,
    /// Kind, when the filesystem says so.
    pub kind: Option<Kind>,
    /// Where the stream goes on after this entry (`d_off`).
    pub next: u64,
}

/// Reads `dir` (open for reading, its position shared with nobody) from `start`, entry by entry, until `visit` breaks or the
/// directory ends.
pub fn read(
    dir: BorrowedFd<'_>,
    start: u64,
    visit: &mut dyn FnMut(RawEntry<'_>) -> ControlFlow<()>,
) -> Result<()> {
    if start != 0 {
        fs::seek(dir, SeekFrom::Start(start)).map_err(|errno| Error::new("lseek", errno))?;
    }
    let mut buf = [MaybeUninit::<u8>::uninit(); 32768];
    let mut stream = RawDir::new(dir, &mut buf);
    while let Some(entry) = stream.next() {
        let entry = entry.map_err(|errno| Error::new("getdents64", errno))?;
        let raw = RawEntry {
            name: OsStr::from_bytes(entry.file_name().to_bytes()),
            ino: entry.ino(),
            kind: kind(entry.file_type()),
            next: entry.next_entry_cookie(),
        };
        if visit(raw).is_break() {
            break;
        }
    }
    Ok(())
}

fn kind(file_type: FileType) -> Option<Kind> {
    Some(match file_type {
        FileType::RegularFile => Kind::File,
        FileType::Directory => Kind::Directory,
        FileType::Symlink => Kind::Symlink,
        FileType::Fifo => Kind::Fifo,
        FileType::Socket => Kind::Socket,
        FileType::CharacterDevice => Kind::CharDevice,
        FileType::BlockDevice => Kind::BlockDevice,
        FileType::Unknown => return None,
    })
}
