//! Calls on open files.

use std::os::fd::BorrowedFd;

use rustix::fs::{self, FallocateFlags, SeekFrom, StatVfsMountFlags};
use rustix::io::{self, Errno};

use super::{Error, Result};
use crate::types::FsUsage;

/// Reads at `offset` until `buf` is full or the file ends; the number of bytes read. Fewer than asked are the end of the file and
/// nothing else: FUSE takes them for it.
pub fn read_at(fd: BorrowedFd<'_>, buf: &mut [u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < buf.len() {
        match io::pread(fd, &mut buf[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(errno) => return Err(Error::new("pread", errno)),
        }
    }
    Ok(done)
}

/// Writes at `offset`; the number of bytes written, less than asked only when the filesystem stopped midway.
pub fn write_at(fd: BorrowedFd<'_>, data: &[u8], offset: u64) -> Result<usize> {
    let mut done = 0;
    while done < data.len() {
        match io::pwrite(fd, &data[done..], offset + done as u64) {
            Ok(0) => break,
            Ok(count) => done += count,
            Err(Errno::INTR) => {}
            Err(_) if done > 0 => break,
            Err(errno) => return Err(Error::new("pwrite", errno)),
        }
    }
    Ok(done)
}

/// Sets the size in bytes.
pub fn truncate(fd: BorrowedFd<'_>, size: u64) -> Result<()> {
    fs::ftruncate(fd, size).map_err(|errno| Error::new("ftruncate", errno))
}

/// `fallocate(2)` with its raw mode bits.
pub fn allocate(fd: BorrowedFd<'_>, mode: i32, offset: u64, len: u64) -> Result<()> {
    let flags = FallocateFlags::from_bits_retain(mode.cast_unsigned());
    loop {
        match fs::fallocate(fd, flags, offset, len) {
            Err(Errno::INTR) => {}
            other => return other.map_err(|errno| Error::new("fallocate", errno)),
        }
    }
}

/// Flushes to the disk: data only, or all.
pub fn sync(fd: BorrowedFd<'_>, data_only: bool) -> Result<()> {
    if data_only {
        fs::fdatasync(fd).map_err(|errno| Error::new("fdatasync", errno))
    } else {
        fs::fsync(fd).map_err(|errno| Error::new("fsync", errno))
    }
}

/// Where data or a hole begins at or after `offset`; `None` past the end (`ENXIO`).
pub fn seek_data(fd: BorrowedFd<'_>, offset: u64, hole: bool) -> Result<Option<u64>> {
    let target = if hole { SeekFrom::Hole(offset) } else { SeekFrom::Data(offset) };
    match fs::seek(fd, target) {
        Ok(found) => Ok(Some(found)),
        Err(Errno::NXIO) => Ok(None),
        Err(errno) => Err(Error::new("lseek", errno)),
    }
}

/// Copies a range between two files in the kernel; the number of bytes copied.
pub fn copy_range(
    from: BorrowedFd<'_>,
    from_offset: u64,
    to: BorrowedFd<'_>,
    to_offset: u64,
    len: usize,
) -> Result<usize> {
    let (mut from_offset, mut to_offset) = (from_offset, to_offset);
    fs::copy_file_range(from, Some(&mut from_offset), to, Some(&mut to_offset), len)
        .map_err(|errno| Error::new("copy_file_range", errno))
}

/// Makes `to` share all of `from`'s data (`FICLONE`).
pub fn clone_data(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> Result<()> {
    fs::ioctl_ficlone(to, from).map_err(|errno| Error::new("ioctl(FICLONE)", errno))
}

/// Usage of the filesystem.
#[allow(clippy::cast_possible_truncation, reason = "block sizes and name lengths are small")]
pub fn usage(fd: BorrowedFd<'_>) -> Result<FsUsage> {
    let raw = fs::fstatvfs(fd).map_err(|errno| Error::new("fstatvfs", errno))?;
    Ok(FsUsage {
        blocks: raw.f_blocks,
        blocks_free: raw.f_bfree,
        blocks_available: raw.f_bavail,
        files: raw.f_files,
        files_free: raw.f_ffree,
        block: raw.f_bsize as u32,
        fragment: raw.f_frsize as u32,
        name_max: raw.f_namemax as u32,
        access_times: !raw.f_flag.intersects(StatVfsMountFlags::RDONLY | StatVfsMountFlags::NOATIME),
    })
}

/// What tells a filesystem (or a subvolume of btrfs) from others, at every mount (`f_fsid`, statvfs(3)); 0 where it does not say.
pub fn fs_id(fd: BorrowedFd<'_>) -> Result<u64> {
    fs::fstatvfs(fd).map(|raw| raw.f_fsid).map_err(|errno| Error::new("fstatvfs", errno))
}

/// The magic number of the filesystem (`statfs(2)`), e.g. 0xEF53 for ext4.
pub fn fs_magic(fd: BorrowedFd<'_>) -> Result<u64> {
    fs::fstatfs(fd)
        .map(|raw| u64::try_from(raw.f_type).unwrap_or(0))
        .map_err(|errno| Error::new("fstatfs", errno))
}
