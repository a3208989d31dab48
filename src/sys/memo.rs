//! Memos: short texts that processes leave for each other, and that are gone with whoever left them.
//!
//! A memo is a file without a name, at a descriptor whose number others know: `/proc/PID/fd` leads there, those only who may look
//! into that process. Nothing is written to any disk, and nobody else can take part.
//!
//! Not found by `/proc/locks`: whoever reads that stops all who take locks on any file of the machine, and waits until they have
//! (10 to 20 ms, measured on Linux 6.18; `locks_start` in fs/locks.c).

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use parking_lot::Mutex;
use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{DupFlags, dup3, fcntl_dupfd_cloexec};

/// What the file is called, which is shown in `/proc/PID/fd`.
const NAME: &str = "unionfuse";
const LINK: &[u8] = b"/memfd:unionfuse (deleted)";
/// Memos have the first descriptor that is free from one of these on: the first one unless so many are not allowed.
const NUMBERS: [i32; 2] = [1000, 100];
/// A union has one memo, and few processes have more unions. Looking at all descriptors of a process takes longer.
const FEW: i32 = 4;
/// No memo is longer, in bytes: that of a mountpoint and a few numbers.
const LONGEST: u64 = 16 << 10;

/// The memos of this process. Not to be found by its descriptors: another thread that reads a memo just now has it open, too, and
/// has it still when it is gone.
static OWN: Mutex<Vec<Found>> = Mutex::new(Vec::new());

/// A text for others to read, as long as it lives.
#[derive(Debug)]
pub struct Memo {
    fd: OwnedFd,
    number: u64,
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
    /// Those of memfd_create(2) and write(2); EINVAL or EMFILE where no descriptor is allowed that others would look at.
    pub fn leave(text: &[u8]) -> io::Result<Self> {
        let mut file = File::from(memfd_create(NAME, MemfdFlags::CLOEXEC)?);
        file.write_all(text)?;
        let stat = file.metadata()?;
        let [usual, low] = NUMBERS;
        let fd = fcntl_dupfd_cloexec(&file, usual).or_else(|_| fcntl_dupfd_cloexec(&file, low))?;
        let (pid, number) = (std::process::id(), stat.ino());
        OWN.lock().push(Found { pid, number, uid: stat.uid(), text: text.to_vec() });
        Ok(Self { fd, number })
    }

    /// Replaces the text at once: others see the old memo or the new one.
    ///
    /// # Errors
    /// As [`Memo::leave`], and the old one stays.
    pub fn replace(&mut self, text: &[u8]) -> io::Result<()> {
        let mut new = Self::leave(text)?;
        dup3(&new.fd, &mut self.fd, DupFlags::CLOEXEC)?;
        std::mem::swap(&mut self.number, &mut new.number);
        Ok(())
    }

    /// Its number among all memos.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The memos of all processes that this one may look into, but for this one itself.
    ///
    /// # Errors
    /// Those of reading `/proc`. What cannot be seen of a single process is left out.
    pub fn others(&self) -> io::Result<Vec<Found>> {
        // Of whom this one was forked from, there may be some left.
        let own = std::process::id();
        let is_another = |memo: &&Found| memo.pid == own && memo.number != self.number;
        let mut found: Vec<Found> = OWN.lock().iter().filter(is_another).cloned().collect();
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
            if pid == own {
                continue;
            }
            for memo in memos_of(pid) {
                // Also in a process that was forked meanwhile.
                let known = found.iter().any(|other| other.number == memo.number);
                if memo.number != self.number && !known {
                    found.push(memo);
                }
            }
        }
        Ok(found)
    }
}

impl Drop for Memo {
    fn drop(&mut self) {
        OWN.lock().retain(|memo| memo.number != self.number);
    }
}

/// What is at a descriptor of a process.
enum Slot {
    /// Nothing, or nothing to be seen.
    Empty,
    Other,
    Memo(Found),
}

fn memos_of(pid: u32) -> Vec<Found> {
    let fds = Path::new("/proc").join(pid.to_string()).join("fd");
    let mut found = Vec::new();
    for first in NUMBERS {
        for number in first..first + FEW {
            match look(pid, fds.join(number.to_string())) {
                Slot::Empty => {}
                Slot::Memo(memo) if number < first + FEW - 1 => found.push(memo),
                // It has that many unions, or files open.
                Slot::Memo(_) | Slot::Other => return search(pid, &fds, first),
            }
        }
    }
    found
}

fn search(pid: u32, fds: &Path, from: i32) -> Vec<Found> {
    // Nothing where the process is gone, or not to be looked into.
    let open = fs::read_dir(fds).into_iter().flatten().flatten();
    let numbers = open.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let slots =
        numbers.filter(|number| *number >= from).map(|number| look(pid, fds.join(number.to_string())));
    slots.filter_map(|slot| if let Slot::Memo(memo) = slot { Some(memo) } else { None }).collect()
}

fn look(pid: u32, path: PathBuf) -> Slot {
    match fs::read_link(&path) {
        Ok(link) if link.as_os_str().as_bytes() == LINK => {}
        Ok(_) => return Slot::Other,
        Err(_) => return Slot::Empty,
    }
    let read = || -> io::Result<Found> {
        let file = File::open(&path)?;
        let stat = file.metadata()?;
        let mut text = Vec::new();
        file.take(LONGEST).read_to_end(&mut text)?;
        Ok(Found { pid, number: stat.ino(), uid: stat.uid(), text })
    };
    read().map_or(Slot::Empty, Slot::Memo)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Others who look have it open while they read it.
    #[test]
    fn a_memo_is_gone_with_its_owner_whoever_reads_it() {
        let memo = Memo::leave(b"old").unwrap();
        let path = Path::new("/proc/self/fd").join(std::os::fd::AsRawFd::as_raw_fd(&memo.fd).to_string());
        let (number, read) = (memo.number(), File::open(path).unwrap());
        assert_eq!(read.metadata().unwrap().ino(), number);
        drop(memo);
        let next = Memo::leave(b"new").unwrap();
        assert!(next.others().unwrap().iter().all(|found| found.number != number));
    }
}
