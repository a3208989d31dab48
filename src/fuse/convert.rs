//! Between the engine's values and `fuser`'s.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use fuser::{FileAttr, FileType, INodeNo, Request, TimeOrNow};

use crate::error::Error;
use crate::types::{Attr, Caller, Kind, NewTime, NodeId, SetAttr, Time};

pub(super) fn node(ino: INodeNo) -> NodeId {
    NodeId(ino.0)
}

pub(super) fn caller(request: &Request, umask: u32) -> Caller {
    Caller { uid: request.uid(), gid: request.gid(), pid: request.pid(), umask }
}

pub(super) fn errno(error: &Error) -> fuser::Errno {
    fuser::Errno::from_i32(error.errno().raw_os_error())
}

pub(super) fn attr(attr: &Attr) -> FileAttr {
    FileAttr {
        ino: INodeNo(attr.node.0),
        size: attr.size,
        blocks: attr.blocks,
        atime: system_time(attr.atime),
        mtime: system_time(attr.mtime),
        ctime: system_time(attr.ctime),
        crtime: UNIX_EPOCH,
        kind: file_type(attr.kind),
        perm: attr.perm,
        nlink: attr.nlink,
        uid: attr.uid,
        gid: attr.gid,
        rdev: attr.rdev,
        blksize: attr.blksize,
        flags: 0,
    }
}

/// What a negative entry consists of: node 0 says "nothing here, remember that" (`FUSE_LOOKUP` in the protocol).
pub(super) fn nothing() -> FileAttr {
    FileAttr {
        ino: INodeNo(0),
        size: 0,
        blocks: 0,
        atime: UNIX_EPOCH,
        mtime: UNIX_EPOCH,
        ctime: UNIX_EPOCH,
        crtime: UNIX_EPOCH,
        kind: FileType::RegularFile,
        perm: 0,
        nlink: 0,
        uid: 0,
        gid: 0,
        rdev: 0,
        blksize: 0,
        flags: 0,
    }
}

pub(super) fn file_type(kind: Kind) -> FileType {
    match kind {
        Kind::File => FileType::RegularFile,
        Kind::Directory => FileType::Directory,
        Kind::Symlink => FileType::Symlink,
        Kind::Fifo => FileType::NamedPipe,
        Kind::Socket => FileType::Socket,
        Kind::CharDevice => FileType::CharDevice,
        Kind::BlockDevice => FileType::BlockDevice,
    }
}

/// A device number from the protocol's 32 bits (kernel: `new_decode_dev`).
pub(super) fn device(encoded: u32) -> u64 {
    let major = (encoded & 0xf_ff00) >> 8;
    let minor = (encoded & 0xff) | ((encoded >> 12) & 0xf_ff00);
    rustix::fs::makedev(major, minor)
}

pub(super) fn new_time(time: TimeOrNow) -> NewTime {
    match time {
        TimeOrNow::Now => NewTime::Now,
        TimeOrNow::SpecificTime(time) => NewTime::At(from_fuser(time)),
    }
}

/// The time of modification, if `change` is how the kernel flushes the times that its writeback cache has kept: nothing else
/// comes with a time of change and nothing but it (`fuse_flush_times` in fs/fuse/dir.c).
pub(super) fn flushed_time(change: SetAttr, ctime: Option<SystemTime>) -> Option<Time> {
    match change.mtime {
        Some(NewTime::At(mtime)) if ctime.is_some() => {
            (SetAttr { mtime: None, ..change } == SetAttr::default()).then_some(mtime)
        }
        _ => None,
    }
}

/// Inode flags (`FS_*_FL`) as a `struct fsxattr` (linux/fs.h), of which only the flags mean anything for us.
pub(super) fn fsxattr(flags: u32) -> [u8; 28] {
    const PAIRS: [(u32, u32); 6] = [
        (0x0000_0010, 0x08),  // immutable
        (0x0000_0020, 0x10),  // append only
        (0x0000_0008, 0x20),  // synchronous
        (0x0000_0080, 0x40),  // no access times
        (0x0000_0040, 0x80),  // not dumped
        (0x2000_0000, 0x200), // project inherited
    ];
    let xflags: u32 = PAIRS.iter().filter(|pair| flags & pair.0 != 0).map(|pair| pair.1).sum();
    let mut raw = [0; 28];
    raw[..4].copy_from_slice(&xflags.to_ne_bytes());
    raw
}

fn system_time(time: Time) -> SystemTime {
    let nanos = Duration::from_nanos(time.nsec.into());
    let seconds = Duration::from_secs(time.sec.unsigned_abs());
    let whole = if time.sec >= 0 { UNIX_EPOCH.checked_add(seconds) } else { UNIX_EPOCH.checked_sub(seconds) };
    whole.and_then(|whole| whole.checked_add(nanos)).unwrap_or(UNIX_EPOCH)
}

/// Undoes what fuser 0.18 makes of a time in a request: before the epoch it counts the nanoseconds backwards, too
/// (`system_time_from_time`), though not so in replies.
fn from_fuser(time: SystemTime) -> Time {
    let seconds = |duration: Duration| i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => Time { sec: seconds(after), nsec: after.subsec_nanos() },
        Err(error) => {
            let before = error.duration();
            Time { sec: -seconds(before), nsec: before.subsec_nanos() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_and_after_the_epoch() {
        // As fuser reads requests.
        let decoded = |time: Time| match u64::try_from(time.sec) {
            Ok(after) => UNIX_EPOCH + Duration::new(after, time.nsec),
            Err(_) => UNIX_EPOCH - Duration::new(time.sec.unsigned_abs(), time.nsec),
        };
        for time in [
            Time { sec: 0, nsec: 0 },
            Time { sec: 1_700_000_000, nsec: 999_999_999 },
            Time { sec: -1, nsec: 1 },
            Time { sec: -5_000_000, nsec: 0 },
            Time { sec: 10_000_000_000, nsec: 7 },
        ] {
            assert_eq!(from_fuser(decoded(time)), time);
        }
    }

    #[test]
    fn nanoseconds_before_the_epoch_count_forwards() {
        let time = Time { sec: -1, nsec: 999_999_999 };
        assert_eq!(system_time(time), UNIX_EPOCH - Duration::from_nanos(1));
    }

    #[test]
    fn device_numbers() {
        let rdev = device((0x12 << 8) | 0x34 | (0x5 << 20));
        assert_eq!((rustix::fs::major(rdev), rustix::fs::minor(rdev)), (0x12, 0x534));
    }
}
