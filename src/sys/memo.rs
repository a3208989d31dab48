//! Memos: short texts that processes leave for each other, and that are gone with whoever left them.
//!
//! A memo is a file without a name, locked by its owner. `/proc/locks` tells who holds a lock on such a file, and `/proc/PID/fd`
//! leads to it: to those only who may look into that process. Nothing is written to any disk, and nobody else can take part.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FlockOperation, MemfdFlags, flock, memfd_create};
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};

/// What the file is called, which is shown in `/proc/PID/fd`.
const NAME: &str = "unionfuse";
const LINK: &[u8] = b"/memfd:unionfuse (deleted)";
/// Memos have descriptors from this number on, where they are found at once; any other one where so many are not allowed.
const USUAL: i32 = 1000;
/// No memo is longer, in bytes: that of a mountpoint and a few numbers.
const LONGEST: u64 = 16 << 10;

/// A text for others to read, as long as it lives.
#[derive(Debug)]
pub struct Memo {
    fd: OwnedFd,
    inode: (u64, u64),
}

/// A memo that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// Who left it; this process, perhaps.
    pub pid: u32,
    /// Its number, which no other one has at the same time.
    pub number: u64,
    /// The user that left it, whoever has it now.
    pub uid: u32,
    /// What it says.
    pub text: Vec<u8>,
}

impl Memo {
    /// Leaves a memo.
    ///
    /// # Errors
    /// Those of memfd_create(2), write(2) and flock(2).
    pub fn leave(text: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?);
        file.write_all(text)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive)?;
        let stat = file.metadata()?;
        let fd = fcntl_dupfd_cloexec(&file, USUAL).unwrap_or_else(|_| file.into());
        Ok(Self { fd, inode: (stat.dev(), stat.ino()) })
    }

    /// Replaces the text at once: others see the old memo or the new one.
    ///
    /// # Errors
    /// As [`Memo::leave`], and the old one stays.
    pub fn replace(&mut self, text: &[u8]) -> io::Result<()> {
        let new = Self::leave(text)?;
        dup3(&new.fd, &mut self.fd, DupFlags::CLOEXEC)?;
        self.inode = new.inode;
        Ok(())
    }

    /// Its number among all memos.
    pub fn number(&self) -> u64 {
        self.inode.1
    }

    /// The memos of all processes that this one may look into, but for this one itself.
    ///
    /// # Errors
    /// Those of reading `/proc/locks`. What cannot be seen of a single process is left out.
    pub fn others(&self) -> io::Result<Vec<Found>> {
        let locks = fs::read_to_string("/proc/locks")?;
        let (dev, own) = self.inode;
        let holders = locks.lines().filter_map(holder).filter(|(_, inode)| inode.0 == dev && inode.1 != own);
        Ok(holders.filter_map(|(pid, inode)| find(pid, inode)).collect())
    }
}

/// Who holds the lock that a line of `/proc/locks` is about, and on what, if it is one as memos have
/// (`lock_get_status` in fs/locks.c).
fn holder(line: &str) -> Option<(u32, (u64, u64))> {
    let mut fields = line.split_ascii_whitespace().skip(1);
    if fields.next()? != "FLOCK" {
        return None;
    }
    let pid = fields.nth(2)?.parse().ok()?;
    let mut inode = fields.next()?.split(':');
    let mut hex = || u32::from_str_radix(inode.next()?, 16).ok();
    let dev = rustix::fs::makedev(hex()?, hex()?);
    Some((pid, (dev, inode.next()?.parse().ok()?)))
}

fn find(pid: u32, inode: (u64, u64)) -> Option<Found> {
    let fds = Path::new("/proc").join(pid.to_string()).join("fd");
    // Nothing where the process is gone, or not to be looked into.
    let open = fs::read_dir(&fds).ok()?.flatten();
    let mut numbers: Vec<i32> = open.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable_by_key(|number| *number < USUAL);
    for number in numbers {
        let path = fds.join(number.to_string());
        if fs::read_link(&path).ok().is_none_or(|link| link.as_os_str().as_bytes() != LINK) {
            continue;
        }
        let Ok(file) = File::open(&path) else { continue };
        let Ok(stat) = file.metadata() else { continue };
        if (stat.dev(), stat.ino()) == inode {
            let mut text = Vec::new();
            file.take(LONGEST).read_to_end(&mut text).ok()?;
            return Some(Found { pid, number: inode.1, uid: stat.uid(), text });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locks_are_taken_apart() {
        let line = "12: FLOCK  ADVISORY  WRITE 4711 00:01:2049 0 EOF";
        assert_eq!(holder(line), Some((4711, (rustix::fs::makedev(0, 1), 2049))));
        assert_eq!(holder("1: -> FLOCK  ADVISORY  WRITE 4711 00:01:2049 0 EOF"), None);
        assert_eq!(holder("1: POSIX  ADVISORY  WRITE 4711 08:02:2049 0 EOF"), None);
        assert_eq!(holder(""), None);
    }

    #[test]
    fn a_memo_is_there_for_others_until_it_is_dropped() {
        let mut memo = Memo::leave(b"before").unwrap();
        let other = Memo::leave(b"other").unwrap();
        let seen = |number| other.others().unwrap().into_iter().find(|found| found.number == number);
        assert_eq!(seen(memo.number()).unwrap().text, b"before");
        assert_eq!(seen(other.number()), None);
        memo.replace(b"now").unwrap();
        let found = seen(memo.number()).unwrap();
        assert_eq!((found.text.as_slice(), found.pid), (&b"now"[..], std::process::id()));
        let number = memo.number();
        drop(memo);
        assert_eq!(seen(number), None);
    }
}
