//! The operations of a union by the numbers of nodes, as a kernel asks for them. Each is passed on to the wing that does it.

use std::ffi::{OsStr, OsString};

use super::effects::{Done, Effect};
use super::{Data, Union, Visit};
use crate::error::Result;
use crate::namespace::refs::Entry;
use crate::types::{Attr, Caller, FsUsage, Kind, Name, NodeId, RenameMode, SetAttr, Time};

impl Union {
    /// Finds `name` in `parent`; `None` when there is nothing.
    ///
    /// # Errors
    /// `ENOTDIR` when `parent` is no directory; otherwise what a layer answers.
    pub fn lookup(&self, parent: NodeId, name: Name<'_>) -> Result<Option<Entry<'_>>> {
        self.up.lookup(parent, name)
    }

    /// The attributes of a node.
    pub fn getattr(&self, id: NodeId) -> Result<Attr> {
        self.up.getattr(id)
    }

    /// The target of a symlink.
    ///
    /// # Errors
    /// `EINVAL` when the node is no symlink.
    pub fn read_link(&self, id: NodeId) -> Result<OsString> {
        self.up.read_link(id)
    }

    /// Lists a directory from `cookie` (0: the beginning) until `visit` breaks or the directory ends. With `attributes`, each
    /// entry comes with them and with its node, except `.` and `..`.
    ///
    /// An entry that is neither added nor removed while a listing goes on appears in it exactly once.
    pub fn read_dir(&self, id: NodeId, cookie: u64, attributes: bool, visit: &mut Visit<'_>) -> Result<()> {
        self.up.read_dir(id, cookie, attributes, visit)
    }

    /// Usage of the filesystem that takes the writes; of the top-most lowerdir's without upperdir.
    pub fn statfs(&self) -> Result<FsUsage> {
        self.up.statfs()
    }

    /// Makes a file, FIFO, socket or device. `mode` is masked by the caller's umask unless the
    /// directory has a default ACL.
    ///
    /// # Errors
    /// `EEXIST`; `EPERM` for the device 0/0, which is a whiteout; `EINVAL` for names reserved for marks.
    pub fn mknod(
        &self,
        caller: Caller,
        parent: NodeId,
        name: Name<'_>,
        kind: Kind,
        mode: u32,
        rdev: u64,
    ) -> Result<Done<Entry<'_>>> {
        self.change(|| {
            Ok(Done::new(self.entries.mknod(caller, parent, name, kind, mode, rdev)?)
                .and(Effect::Entries(parent)))
        })
    }

    /// Makes a directory; otherwise as [`Union::mknod`].
    pub fn mkdir(
        &self,
        caller: Caller,
        parent: NodeId,
        name: Name<'_>,
        mode: u32,
    ) -> Result<Done<Entry<'_>>> {
        self.change(|| {
            Ok(Done::new(self.entries.mkdir(caller, parent, name, mode)?).and(Effect::Entries(parent)))
        })
    }

    /// Makes a symlink; otherwise as [`Union::mknod`].
    pub fn symlink(
        &self,
        caller: Caller,
        parent: NodeId,
        name: Name<'_>,
        target: &OsStr,
    ) -> Result<Done<Entry<'_>>> {
        self.change(|| {
            Ok(Done::new(self.entries.symlink(caller, parent, name, target)?).and(Effect::Entries(parent)))
        })
    }

    /// Gives a file another name, copying it up first.
    ///
    /// # Errors
    /// `EPERM` for directories, `EEXIST`, `ENOENT` for a file that has no name left, `EMLINK` from the filesystem.
    pub fn link(&self, id: NodeId, new_parent: NodeId, new_name: Name<'_>) -> Result<Done<Entry<'_>>> {
        self.change(|| {
            Ok(Done::new(self.entries.link(id, new_parent, new_name)?).and(Effect::Entries(new_parent)))
        })
    }

    /// Removes a name that is no directory. The file stays usable for whoever has it open.
    ///
    /// # Errors
    /// `ENOENT`, `EISDIR`, `EROFS`.
    pub fn unlink(&self, parent: NodeId, name: Name<'_>) -> Result<Done<()>> {
        self.change(|| Ok(Done::new(self.entries.unlink(parent, name)?).and(Effect::Entries(parent))))
    }

    /// Removes an empty directory.
    ///
    /// # Errors
    /// `ENOENT`, `ENOTDIR`, `ENOTEMPTY`, `EROFS`.
    pub fn rmdir(&self, parent: NodeId, name: Name<'_>) -> Result<Done<()>> {
        self.change(|| Ok(Done::new(self.entries.rmdir(parent, name)?).and(Effect::Entries(parent))))
    }

    /// Renames, with the modes of `renameat2(2)`. Directories of lowerdirs are renamed too: by a redirect, or, where redirects
    /// are off, by copying the tree up.
    ///
    /// # Errors
    /// `ENOENT`, `EEXIST`, `EISDIR`, `ENOTDIR`, `ENOTEMPTY`, `EINVAL` for a directory into itself, `EROFS`.
    pub fn rename(
        &self,
        parent: NodeId,
        name: Name<'_>,
        new_parent: NodeId,
        new_name: Name<'_>,
        mode: RenameMode,
    ) -> Result<Done<()>> {
        self.change(|| {
            let moved = self.entries.rename(parent, name, new_parent, new_name, mode)?;
            let done = Done::new(()).and(Effect::Entries(parent)).and(Effect::Entries(new_parent));
            Ok(moved.into_iter().fold(done, |done, node| done.and(Effect::Parent(node))))
        })
    }

    /// Changes attributes, copying the file up first; a smaller size copies only what is left.
    ///
    /// # Errors
    /// `EROFS` without upperdir, `EISDIR` for the size of a directory, `EINVAL` for an owner the id map does not know. Nothing has
    /// changed then.
    pub fn setattr(&self, caller: Caller, id: NodeId, change: SetAttr) -> Result<Done<Attr>> {
        self.change(|| self.file.setattr(caller, id, change).map(Done::new))
    }

    /// Takes all data away, as opening with `O_TRUNC` does, copying none of it up.
    ///
    /// # Errors
    /// Nothing has changed then.
    pub fn empty(&self, caller: Caller, id: NodeId) -> Result<Done<()>> {
        self.change(|| Ok(Done::new(()).with_mode(id, self.file.empty(caller, id)?)))
    }

    /// Reads at `offset` into `buf`; fewer bytes than asked only at the end of the file.
    pub fn read(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        self.file.read(id, offset, buf)
    }

    /// Writes at `offset`, copying the file up first. `clear_set_id` is the caller when he may not leave set-id bits.
    /// Returns the bytes written, fewer than asked when the filesystem stopped midway (write(2)).
    pub fn write(
        &self,
        id: NodeId,
        offset: u64,
        data: &[u8],
        clear_set_id: Option<Caller>,
    ) -> Result<Done<usize>> {
        self.change(|| {
            let (count, cleared) = self.file.write(id, offset, data, clear_set_id)?;
            Ok(Done::new(count).with_mode(id, cleared))
        })
    }

    /// Writes pages that were changed in a mapping; otherwise as [`Union::write`]. All or an error: nobody looks at the number
    /// of bytes of such a write (`fuse_writepage_end`), and what is missing would be lost with success.
    ///
    /// # Errors
    /// What kept the rest from being written, although a part was.
    pub fn write_pages(
        &self,
        id: NodeId,
        offset: u64,
        data: &[u8],
        clear_set_id: Option<Caller>,
    ) -> Result<Done<usize>> {
        self.change(|| {
            let (count, cleared) = self.file.write_pages(id, offset, data, clear_set_id)?;
            Ok(Done::new(count).with_mode(id, cleared))
        })
    }

    /// `fallocate(2)` with its raw mode.
    pub fn allocate(&self, caller: Caller, id: NodeId, mode: i32, offset: u64, len: u64) -> Result<Done<()>> {
        self.change(|| {
            let cleared = self.file.allocate(caller, id, mode, offset, len)?;
            Ok(Done::new(()).with_mode(id, cleared))
        })
    }

    /// Copies a range between two files. Returns the bytes copied.
    pub fn copy_range(
        &self,
        caller: Caller,
        from: (NodeId, u64),
        to: (NodeId, u64),
        len: usize,
    ) -> Result<Done<usize>> {
        self.change(|| {
            let (count, cleared) = self.file.copy_range(caller, from, to, len)?;
            Ok(Done::new(count).with_mode(to.0, cleared))
        })
    }

    /// Where data (or a hole) begins at or after `offset`.
    ///
    /// # Errors
    /// `ENXIO` past the end.
    pub fn seek(&self, id: NodeId, offset: u64, hole: bool) -> Result<u64> {
        self.file.seek(id, offset, hole)
    }

    /// Flushes a file's data (or all) to the disk. A lower file has nothing to flush.
    pub fn fsync(&self, id: NodeId, data_only: bool) -> Result<()> {
        self.file.fsync(id, data_only)
    }

    /// The value of an attribute.
    ///
    /// # Errors
    /// `ENODATA` when there is none, `EOPNOTSUPP` where the layer's filesystem keeps no such attributes (but ACLs: a file there
    /// has none).
    pub fn get_xattr(&self, id: NodeId, name: &OsStr) -> Result<Vec<u8>> {
        self.file.get_xattr(id, name)
    }

    /// The names of all attributes that the caller may see, each ended by a NUL byte.
    pub fn list_xattr(&self, caller: Caller, id: NodeId) -> Result<Vec<u8>> {
        self.file.list_xattr(caller, id)
    }

    /// Sets an attribute, copying the file up first; `flags` as for `setxattr(2)`.
    ///
    /// # Errors
    /// `EINVAL` for an ACL or a capability that names somebody whom the id map does not know.
    pub fn set_xattr(
        &self,
        caller: Caller,
        id: NodeId,
        name: &OsStr,
        value: &[u8],
        flags: i32,
    ) -> Result<Done<()>> {
        self.change(|| self.file.set_xattr(caller, id, name, value, flags).map(Done::new))
    }

    /// Removes an attribute.
    ///
    /// # Errors
    /// `ENODATA` when there is none; the file is then not copied up.
    pub fn remove_xattr(&self, id: NodeId, name: &OsStr) -> Result<Done<()>> {
        self.change(|| self.file.remove_xattr(id, name).map(Done::new))
    }

    /// The inode flags (`FS_IOC_GETFLAGS`) of a file or directory.
    ///
    /// # Errors
    /// `ENOTTY` where there are none: other kinds of file, filesystems without flags.
    pub fn get_flags(&self, id: NodeId) -> Result<u32> {
        self.file.get_flags(id)
    }

    /// Sets the inode flags (`FS_IOC_SETFLAGS`), copying the file up first. An immutable file then refuses changes by itself.
    pub fn set_flags(&self, id: NodeId, flags: u32) -> Result<Done<()>> {
        self.change(|| Ok(Done::new(self.file.set_flags(id, flags)?).and(Effect::Attributes(id))))
    }

    /// Writes pages of the kernel's cache, copying the file up first. The time of modification stays: it is that of the
    /// `write(2)` long before, and the kernel tells it with [`Union::flush_time`] only if it is not what it was told. Returns the
    /// bytes written: all of them, see [`Union::write_pages`].
    pub fn write_back(&self, id: NodeId, offset: u64, data: &[u8]) -> Result<Done<usize>> {
        self.change(|| self.file.write_back(id, offset, data).map(Done::new))
    }

    /// Runs a change of the data whose time the kernel has noted before it sent it (Linux 6.1). Most often it tells that time
    /// later; but when it has told it already, or does so meanwhile, that is the time that stays.
    pub fn with_flushed_time<T>(&self, id: NodeId, change: impl FnOnce() -> Result<T>) -> Result<T> {
        let _change = self.up.changes.begin();
        self.file.with_flushed_time(id, change)
    }

    /// Takes over the time of modification that the kernel has kept. It also tells it of files whose change of status is
    /// all that is new, such as one name less: nothing is copied up for that.
    pub fn flush_time(&self, caller: Caller, id: NodeId, mtime: Time) -> Result<Done<Attr>> {
        self.change(|| self.file.flush_time(caller, id, mtime).map(Done::new))
    }

    /// The file that has the node's data for good, copied up first if it is to be written to.
    ///
    /// `None` for a lower file that may be copied up yet, since whoever reads that by himself would miss what is written
    /// later; and where reading it would change its access time, since nobody changes lower layers.
    ///
    /// # Errors
    /// What keeps the file from being copied up, and what its layer has against its being written to.
    pub fn open_data(&self, id: NodeId, writing: bool) -> Result<Option<Data>> {
        let _change = writing.then(|| self.up.changes.begin());
        self.file.open_data(id, writing)
    }

    /// Opens a file for reading, so that it can be read when it has lost its name: as long as descriptors are not scarce.
    ///
    /// # Errors
    /// What its layer has against that; `ESTALE` when it is gone.
    pub fn open_view(&self, id: NodeId) -> Result<()> {
        self.file.open_view(id)
    }

    /// Refuses what `chattr` has forbidden.
    ///
    /// # Errors
    /// EPERM for a file that is immutable or append-only.
    pub fn check_overwriting(&self, id: NodeId) -> Result<()> {
        self.file.check_overwriting(id)
    }

    /// `caller` is about to change data of a file without our seeing it: set-id bits go as with any other write.
    pub fn written_unseen(&self, caller: Caller, id: NodeId) -> Result<Done<Attr>> {
        self.change(|| self.file.written_unseen(caller, id).map(Done::new))
    }

    /// Counts a change, at its beginning and at its end.
    fn change<T>(&self, make: impl FnOnce() -> Result<Done<T>>) -> Result<Done<T>> {
        let _change = self.up.changes.begin();
        make()
    }
}
