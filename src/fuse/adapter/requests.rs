//! Each decodes a request, calls one operation of the union, replies once.

use std::cell::RefCell;
use std::ffi::OsStr;
use std::io;
use std::ops::ControlFlow;
use std::path::Path;
use std::time::{Duration, SystemTime};

use fuser::{
    BsdFileFlags, CopyFileRangeFlags, Errno, FileHandle, Filesystem, FopenFlags, Generation, INodeNo,
    InitFlags, IoctlFlags, KernelConfig, LockOwner, OpenFlags, PollEvents, PollFlags, PollNotifier,
    RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory, ReplyDirectoryPlus, ReplyEmpty,
    ReplyEntry, ReplyIoctl, ReplyLseek, ReplyOpen, ReplyPoll, ReplyStatfs, ReplyWrite, ReplyXattr, Request,
    TimeOrNow, WriteFlags,
};

use super::Adapter;
use super::serve::{Sized, Written};
use crate::fuse::answer::run;
use crate::fuse::crew;
use crate::fuse::passthrough::{self, Access};
use crate::fuse::{convert, ioctl, notify};
use crate::ops::Union;
use crate::types::{Kind, Name, RenameMode, SetAttr};

/// The largest write the kernel sends at once, in bytes; also what a reading thread keeps ready.
const MAX_WRITE: u32 = 1 << 20;

/// The longest copy between files that is made at once, in bytes: nobody can end it.
const LONGEST_COPY: u64 = 128 << 20;

/// A read of this many bytes or more is one of a stream, which the kernel asks for ahead of the reader.
const STREAM: u32 = 64 << 10;

thread_local! {
    static READ_BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

impl Filesystem for Adapter {
    /// Without `FUSE_ASYNC_DIO`: with it the kernel drops cached pages only before an asynchronous direct write, and a buffered
    /// read meanwhile puts the old ones back for ever (`fuse_direct_IO`).
    fn init(&mut self, _req: &Request, config: &mut KernelConfig) -> io::Result<()> {
        if self.extra {
            return Ok(());
        }
        let mut wanted = InitFlags::FUSE_DO_READDIRPLUS
            | InitFlags::FUSE_PARALLEL_DIROPS
            | InitFlags::FUSE_DONT_MASK
            | InitFlags::FUSE_HANDLE_KILLPRIV_V2;
        wanted |= match self.is_view {
            true => InitFlags::FUSE_AUTO_INVAL_DATA | InitFlags::FUSE_DIRECT_IO_ALLOW_MMAP,
            false => {
                InitFlags::FUSE_NO_OPENDIR_SUPPORT
                    | InitFlags::FUSE_CACHE_SYMLINKS
                    | InitFlags::FUSE_EXPLICIT_INVAL_DATA
            }
        };
        if self.passthrough.is_some() {
            passthrough::negotiate(config)?;
        } else if !self.is_view {
            wanted |= InitFlags::FUSE_NO_OPEN_SUPPORT;
        }
        if self.config.acl {
            wanted |= InitFlags::FUSE_POSIX_ACL;
        }
        if self.config.writeback && !self.is_view {
            wanted |= InitFlags::FUSE_WRITEBACK_CACHE;
        }
        let available = wanted & config.capabilities();
        if available != wanted {
            log::warn!("the kernel lacks {:?}: slower, or less exact", wanted & !available);
        }
        // Both are asked for within what the kernel offers, so neither can fail.
        config.add_capabilities(available).map_err(|_| io::Error::other("INIT flags"))?;
        config.set_max_write(MAX_WRITE).map_err(|_| io::Error::other("max_write"))?;
        if let Some(prefetch) = &self.prefetch {
            prefetch.start();
        }
        Ok(())
    }

    fn lookup(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        self.look(req, "lookup", parent, reply, |union| {
            let found = union.lookup(convert::node(parent), Name::new(name)?)?;
            // Given to the kernel only if it still waits for the answer.
            Ok(found.map(|entry| if crew::commit() { entry.give_to_kernel() } else { entry.attr }))
        });
    }

    fn forget(&self, _req: &Request, ino: INodeNo, nlookup: u64) {
        // There is no reply to a forget; a failure is in the log.
        let _ = run("forget", ino, || {
            self.union.forget(convert::node(ino), nlookup);
            Ok(())
        });
    }

    fn getattr(&self, req: &Request, ino: INodeNo, _fh: Option<FileHandle>, reply: ReplyAttr) {
        self.look(req, "getattr", ino, reply, |union| union.getattr(convert::node(ino)));
    }

    fn setattr(
        &self,
        req: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        atime: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        ctime: Option<SystemTime>,
        _fh: Option<FileHandle>,
        _crtime: Option<SystemTime>,
        _chgtime: Option<SystemTime>,
        _bkuptime: Option<SystemTime>,
        _flags: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let change = SetAttr {
            perm: mode,
            uid,
            gid,
            size,
            atime: atime.map(convert::new_time),
            mtime: mtime.map(convert::new_time),
        };
        let (caller, node) = (convert::caller(req, 0), convert::node(ino));
        // The kernel announces so that it is about to write to a file with set-id bits or capabilities; it has taken the
        // latter away by then.
        let before_writing = change == SetAttr::default()
            && self.passthrough.as_ref().is_some_and(|open| open.is_written_unseen(node));
        let writeback = self.config.writeback;
        self.change(req, "setattr", ino, reply, |union| {
            let _own = notify::answering(ino);
            match convert::flushed_time(change, ctime) {
                _ if before_writing => union.written_unseen(caller, node),
                Some(mtime) if writeback => union.flush_time(caller, node, mtime),
                _ => union.setattr(caller, node, change),
            }
        });
    }

    fn readlink(&self, req: &Request, ino: INodeNo, reply: ReplyData) {
        self.look(req, "readlink", ino, reply, |union| union.read_link(convert::node(ino)));
    }

    fn mknod(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        rdev: u32,
        reply: ReplyEntry,
    ) {
        let (caller, kind) = (convert::caller(req, umask), Kind::from_mode(mode));
        let (node, rdev) = (convert::node(parent), convert::device(rdev));
        self.change(req, "mknod", parent, reply, |union| {
            union.mknod(caller, node, Name::new(name)?, kind, mode, rdev)
        });
    }

    fn mkdir(&self, req: &Request, parent: INodeNo, name: &OsStr, mode: u32, umask: u32, reply: ReplyEntry) {
        let (caller, node) = (convert::caller(req, umask), convert::node(parent));
        self.change(req, "mkdir", parent, reply, |union| union.mkdir(caller, node, Name::new(name)?, mode));
    }

    fn symlink(&self, req: &Request, parent: INodeNo, name: &OsStr, target: &Path, reply: ReplyEntry) {
        let (caller, node, target) = (convert::caller(req, 0), convert::node(parent), target.as_os_str());
        self.change(req, "symlink", parent, reply, |union| {
            union.symlink(caller, node, Name::new(name)?, target)
        });
    }

    fn unlink(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(req, "unlink", parent, reply, |union| {
            union.unlink(convert::node(parent), Name::new(name)?)
        });
    }

    fn rmdir(&self, req: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        self.change(req, "rmdir", parent, reply, |union| {
            union.rmdir(convert::node(parent), Name::new(name)?)
        });
    }

    fn rename(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let mode = if flags.is_empty() {
            RenameMode::Replace
        } else if flags == RenameFlags::RENAME_NOREPLACE {
            RenameMode::NoReplace
        } else if flags == RenameFlags::RENAME_EXCHANGE {
            RenameMode::Exchange
        } else {
            return reply.error(Errno::EINVAL);
        };
        let (from, to) = (convert::node(parent), convert::node(newparent));
        self.change(req, "rename", parent, reply, |union| {
            union.rename(from, Name::new(name)?, to, Name::new(newname)?, mode)
        });
    }

    fn link(&self, req: &Request, ino: INodeNo, newparent: INodeNo, newname: &OsStr, reply: ReplyEntry) {
        self.change(req, "link", ino, reply, |union| {
            union.link(convert::node(ino), convert::node(newparent), Name::new(newname)?)
        });
    }

    /// Refused once, after which the kernel opens files by itself and sends reads and writes by node. In a view, an open file
    /// is to stay readable whatever becomes of its name, and its data are those of the moment.
    fn open(&self, req: &Request, ino: INodeNo, flags: OpenFlags, reply: ReplyOpen) {
        if self.is_view {
            let _busy = self.looking(req);
            return match run("open", ino, || self.union.open_view(convert::node(ino))) {
                Ok(()) => reply.opened(FileHandle(0), FopenFlags::FOPEN_DIRECT_IO),
                Err(errno) => reply.error(errno),
            };
        }
        let Some(open) = &self.passthrough else { return reply.error(Errno::ENOSYS) };
        let _busy = self.busy(req);
        let (caller, access) = (convert::caller(req, 0), Access::of(flags));
        match run("open", ino, || self.open_through(open, caller, ino, access, &reply)) {
            Ok(way) => way.reply_opened(reply),
            Err(errno) => reply.error(errno),
        }
    }

    fn release(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        _flush: bool,
        reply: ReplyEmpty,
    ) {
        let _busy = self.busy(req);
        if let Some(open) = &self.passthrough {
            open.release(convert::node(ino), Access::of(flags));
        }
        reply.ok();
    }

    fn read(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        size: u32,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let _busy = if size < STREAM { self.looking(req) } else { self.looking_ahead(req) };
        READ_BUFFER.with_borrow_mut(|buffer| {
            let size = size as usize;
            if buffer.len() < size {
                buffer.resize(size, 0);
            }
            let outcome =
                run("read", ino, || self.union.read(convert::node(ino), offset, &mut buffer[..size]));
            match outcome {
                Ok(count) => reply.data(&buffer[..count]),
                Err(errno) => reply.error(errno),
            }
        });
    }

    fn write(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        data: &[u8],
        write_flags: WriteFlags,
        _flags: OpenFlags,
        _lock_owner: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        let kill = write_flags.contains(WriteFlags::FUSE_WRITE_KILL_SUIDGID);
        let clear_set_id = kill.then(|| convert::caller(req, 0));
        let (node, writeback) = (convert::node(ino), self.config.writeback);
        self.change(req, "write", ino, reply, |union| {
            let _own = notify::answering(ino);
            let written = match write_flags.contains(WriteFlags::FUSE_WRITE_CACHE) {
                true if writeback => union.write_back(node, offset, data),
                true => union.write_pages(node, offset, data, clear_set_id),
                // Not gathered, since it takes set-id bits away.
                false if writeback => {
                    union.with_flushed_time(node, || union.write(node, offset, data, clear_set_id))
                }
                false => union.write(node, offset, data, clear_set_id),
            };
            Ok(written?.map(Written))
        });
    }

    /// Refused once: nothing is to be done at close.
    fn flush(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _lock_owner: LockOwner,
        reply: ReplyEmpty,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fsync(&self, req: &Request, ino: INodeNo, _fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.settle(req, "fsync", ino, reply, |union| union.fsync(convert::node(ino), datasync));
    }

    /// Refused once, after which the kernel caches listings for as long as the directory is unchanged. Those of a view are not
    /// cached.
    fn opendir(&self, _req: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
        if self.is_view {
            return reply.opened(FileHandle(0), FopenFlags::empty());
        }
        reply.error(Errno::ENOSYS);
    }

    fn readdir(&self, req: &Request, ino: INodeNo, _fh: FileHandle, offset: u64, mut reply: ReplyDirectory) {
        let _busy = self.looking(req);
        let mut given = false;
        let outcome = run("readdir", ino, || {
            self.union.read_dir(convert::node(ino), offset, false, &mut |entry, _| {
                let kind = convert::file_type(entry.kind);
                match reply.add(INodeNo(entry.node.0), entry.cookie, kind, &entry.name) {
                    true => ControlFlow::Break(()),
                    false => {
                        given = true;
                        ControlFlow::Continue(())
                    }
                }
            })
        });
        match outcome {
            // The error comes again where it came, at the next request.
            Err(errno) if !given => reply.error(errno),
            _ => reply.ok(),
        }
    }

    fn readdirplus(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        mut reply: ReplyDirectoryPlus,
    ) {
        let _busy = self.looking(req);
        let mut given = false;
        let outcome = run("readdirplus", ino, || {
            self.list(ino, offset, &mut |entry| {
                // What is in the answer is referenced by it.
                if !crew::commit() {
                    return ControlFlow::Break(());
                }
                let ino = INodeNo(entry.node.0);
                let (attr, ttl) = match &entry.attr {
                    Some(attr) => (convert::attr(attr), self.lifetime(attr)),
                    // The kernel takes only number and kind of `.` and `..`; anything else it has to look up.
                    None => {
                        let kind = convert::file_type(entry.kind);
                        (fuser::FileAttr { ino, kind, ..convert::nothing() }, Duration::ZERO)
                    }
                };
                match reply.add(ino, entry.cookie, &entry.name, &ttl, &attr, Generation(0)) {
                    true => ControlFlow::Break(()),
                    false => {
                        given = true;
                        ControlFlow::Continue(())
                    }
                }
            })
        });
        match outcome {
            // What is in the reply is referenced, and must reach the kernel.
            Err(errno) if !given => reply.error(errno),
            _ => reply.ok(),
        }
    }

    fn fsyncdir(&self, req: &Request, ino: INodeNo, fh: FileHandle, datasync: bool, reply: ReplyEmpty) {
        self.fsync(req, ino, fh, datasync, reply);
    }

    fn statfs(&self, req: &Request, ino: INodeNo, reply: ReplyStatfs) {
        self.look(req, "statfs", ino, reply, Union::statfs);
    }

    fn setxattr(
        &self,
        req: &Request,
        ino: INodeNo,
        name: &OsStr,
        value: &[u8],
        flags: i32,
        _position: u32,
        reply: ReplyEmpty,
    ) {
        if !self.config.xattr {
            return reply.error(Errno::ENOSYS);
        }
        let (caller, node) = (convert::caller(req, 0), convert::node(ino));
        self.change(req, "setxattr", ino, reply, |union| union.set_xattr(caller, node, name, value, flags));
    }

    fn getxattr(&self, req: &Request, ino: INodeNo, name: &OsStr, size: u32, reply: ReplyXattr) {
        if !self.config.xattr {
            return reply.error(Errno::ENOSYS);
        }
        let reply = Sized { reply, size };
        self.look(req, "getxattr", ino, reply, |union| union.get_xattr(convert::node(ino), name));
    }

    fn listxattr(&self, req: &Request, ino: INodeNo, size: u32, reply: ReplyXattr) {
        if !self.config.xattr {
            return reply.error(Errno::ENOSYS);
        }
        let (caller, reply) = (convert::caller(req, 0), Sized { reply, size });
        self.look(req, "listxattr", ino, reply, |union| union.list_xattr(caller, convert::node(ino)));
    }

    fn removexattr(&self, req: &Request, ino: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        if !self.config.xattr {
            return reply.error(Errno::ENOSYS);
        }
        self.change(req, "removexattr", ino, reply, |union| union.remove_xattr(convert::node(ino), name));
    }

    /// Refused once where the kernel opens by itself: it then makes a file by `mknod`, which is one request instead of two.
    fn create(
        &self,
        req: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        flags: i32,
        reply: ReplyCreate,
    ) {
        let Some(open) = &self.passthrough else { return reply.error(Errno::ENOSYS) };
        let _busy = self.busy(req);
        let caller = convert::caller(req, umask);
        let outcome = run("create", parent, || {
            let made =
                self.union.mknod(caller, convert::node(parent), Name::new(name)?, Kind::File, mode, 0)?;
            let made = self.tell(req, made);
            let access = Access::of(OpenFlags(flags));
            let way = open.open(&self.union, made.node.id(), access, |file| reply.open_backing(file))?;
            Ok((way, made.give_to_kernel()))
        });
        match outcome {
            Ok((way, attr)) => way.reply_created(self.lifetime(&attr), &convert::attr(&attr), reply),
            Err(errno) => reply.error(errno),
        }
    }

    /// Refused once: files are always ready, and the kernel knows.
    fn poll(
        &self,
        _req: &Request,
        _ino: INodeNo,
        _fh: FileHandle,
        _ph: PollNotifier,
        _events: PollEvents,
        _flags: PollFlags,
        reply: ReplyPoll,
    ) {
        reply.error(Errno::ENOSYS);
    }

    fn fallocate(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        let (caller, node, writeback) = (convert::caller(req, 0), convert::node(ino), self.config.writeback);
        self.change(req, "fallocate", ino, reply, |union| {
            let allocate = || union.allocate(caller, node, mode, offset, length);
            if writeback { union.with_flushed_time(node, allocate) } else { allocate() }
        });
    }

    fn ioctl(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        _flags: IoctlFlags,
        cmd: u32,
        in_data: &[u8],
        _out_size: u32,
        reply: ReplyIoctl,
    ) {
        let node = convert::node(ino);
        if ioctl::changes(cmd) {
            return self.change(req, "ioctl", ino, reply, |union| ioctl::change(union, node, in_data));
        }
        self.look(req, "ioctl", ino, reply, |union| ioctl::answer(union, node, cmd));
    }

    fn lseek(
        &self,
        req: &Request,
        ino: INodeNo,
        _fh: FileHandle,
        offset: i64,
        whence: i32,
        reply: ReplyLseek,
    ) {
        if !matches!(whence, libc::SEEK_DATA | libc::SEEK_HOLE) {
            return reply.error(Errno::EINVAL);
        }
        let Ok(offset) = u64::try_from(offset) else { return reply.error(Errno::ENXIO) };
        let hole = whence == libc::SEEK_HOLE;
        self.look(req, "lseek", ino, reply, |union| union.seek(convert::node(ino), offset, hole));
    }

    fn copy_file_range(
        &self,
        req: &Request,
        ino_in: INodeNo,
        _fh_in: FileHandle,
        offset_in: u64,
        ino_out: INodeNo,
        _fh_out: FileHandle,
        offset_out: u64,
        len: u64,
        _flags: CopyFileRangeFlags,
        reply: ReplyWrite,
    ) {
        let (caller, writeback) = (convert::caller(req, 0), self.config.writeback);
        // The reply carries 32 bits; a shorter copy is asked for again.
        let len = usize::try_from(len.min(LONGEST_COPY)).unwrap_or(0);
        let from = (convert::node(ino_in), offset_in);
        let to = (convert::node(ino_out), offset_out);
        self.change(req, "copy_file_range", ino_in, reply, |union| {
            let copy = || union.copy_range(caller, from, to, len);
            let copied = if writeback { union.with_flushed_time(to.0, copy) } else { copy() };
            Ok(copied?.map(Written))
        });
    }
}
