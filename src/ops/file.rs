//! Data of files: read, write, allocate, seek, copy, sync. Opens are answered by the kernel, so all work on nodes.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::Union;
use super::ensure_upper::Extent;
use super::modes::Widening;
use super::place::Place;
use crate::config::Durability;
use crate::error::{Error, Result};
use crate::layer::copy_data;
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::namespace::open_files::OpenFile;
use crate::sys::At;
use crate::types::{Caller, Kind, NodeId};

impl Union {
    /// Reads at `offset` into `buf`; fewer bytes than asked only at the end of the file.
    pub fn read(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let node = self.node(id)?;
        let file = self.open_file(&node, false)?;
        Ok(self.store.read(file.fd.as_fd(), buf, offset)?)
    }

    /// Writes at `offset`, copying the file up first. `clear_set_id` is the caller when he may not leave set-id bits.
    /// Returns the bytes written, fewer than asked when the filesystem stopped midway (write(2)), and whether the mode changed
    /// by it.
    pub fn write(
        &self,
        id: NodeId,
        offset: u64,
        data: &[u8],
        clear_set_id: Option<Caller>,
    ) -> Result<(usize, bool)> {
        let (file, cleared) = self.open_for_writing(id, offset, clear_set_id)?;
        Ok((self.store.write(file.fd.as_fd(), data, offset)?, cleared))
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
    ) -> Result<(usize, bool)> {
        let (file, cleared) = self.open_for_writing(id, offset, clear_set_id)?;
        copy_data::write_all(&*self.store, file.fd.as_fd(), data, offset)?;
        Ok((data.len(), cleared))
    }

    fn open_for_writing(
        &self,
        id: NodeId,
        offset: u64,
        clear_set_id: Option<Caller>,
    ) -> Result<(Arc<OpenFile>, bool)> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let file = self.open_file(&node, true)?;
        if file.append_only && self.store.stat_fd(file.fd.as_fd())?.size != offset {
            return Err(Error::refused(Errno::PERM, "the file is append-only"));
        }
        let cleared = match clear_set_id {
            Some(caller) => self.clear_set_id(caller, &file)?,
            None => false,
        };
        Ok((file, cleared))
    }

    /// `fallocate(2)` with its raw mode. Returns whether the file's mode changed by it.
    pub fn allocate(&self, caller: Caller, id: NodeId, mode: i32, offset: u64, len: u64) -> Result<bool> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let file = self.open_file(&node, true)?;
        let cleared = self.clear_set_id_for(caller, &file)?;
        self.store.allocate(file.fd.as_fd(), mode, offset, len)?;
        Ok(cleared)
    }

    /// Where data (or a hole) begins at or after `offset`.
    ///
    /// # Errors
    /// `ENXIO` past the end.
    pub fn seek(&self, id: NodeId, offset: u64, hole: bool) -> Result<u64> {
        let node = self.node(id)?;
        let file = self.open_file(&node, false)?;
        let found = self.store.seek_data(file.fd.as_fd(), offset, hole)?;
        found.ok_or(Error::refused(Errno::NXIO, "past the end of the file"))
    }

    /// Copies a range between two files. Returns the bytes copied, and whether the target's mode changed by it.
    pub fn copy_range(
        &self,
        caller: Caller,
        from: (NodeId, u64),
        to: (NodeId, u64),
        len: usize,
    ) -> Result<(usize, bool)> {
        let (source, target) = (self.node(from.0)?, self.node(to.0)?);
        self.ensure_upper(&target, Extent::All)?;
        let source_file = self.open_file(&source, false)?;
        let target_file = self.open_file(&target, true)?;
        if target_file.append_only {
            return Err(Error::refused(Errno::PERM, "the file is append-only"));
        }
        let cleared = self.clear_set_id_for(caller, &target_file)?;
        let (from, to) = ((source_file.fd.as_fd(), from.1), (target_file.fd.as_fd(), to.1));
        Ok((self.copy_file_range(from, to, len)?, cleared))
    }

    /// Flushes a file's data (or all) to the disk. A lower file has nothing to flush.
    pub fn fsync(&self, id: NodeId, data_only: bool) -> Result<()> {
        let node = self.node(id)?;
        if self.options.durability == Durability::Volatile || !node.is_upper() {
            return Ok(());
        }
        if let Some(stack) = node.stack() {
            let Some(upper) = &stack.upper else { return Ok(()) };
            let dir = self.nodes.dirs.open_for_reading(upper)?;
            return Ok(self.store.sync(dir.as_fd(), data_only)?);
        }
        let file = self.open_file(&node, false)?;
        Ok(self.store.sync(file.fd.as_fd(), data_only)?)
    }

    /// An open descriptor of the node's current file.
    pub(super) fn open_file(&self, node: &Arc<Node>, write: bool) -> Result<Arc<OpenFile>> {
        if let Some(file) = self.cached_file(node, write) {
            return Ok(file);
        }
        match self.open_uncached(node, write) {
            Err(error) if error.errno() == Errno::ACCESS && node.is_upper() && self.may_change_modes() => {
                let _gates = locks::lock(&[node]);
                self.open_against_mode(node, write)
            }
            other => other,
        }
    }

    /// [`Union::open_file`] for callers that hold the node's gate.
    pub(super) fn open_gated(&self, node: &Node, write: bool) -> Result<Arc<OpenFile>> {
        if let Some(file) = self.cached_file(node, write) {
            return Ok(file);
        }
        match self.open_uncached(node, write) {
            Err(error) if error.errno() == Errno::ACCESS && node.is_upper() && self.may_change_modes() => {
                self.open_against_mode(node, write)
            }
            other => other,
        }
    }

    pub(super) fn cached_file(&self, node: &Node, write: bool) -> Option<Arc<OpenFile>> {
        let file = self.nodes.files.get(node.id)?;
        (file.lower.is_none() == node.is_upper() && (file.writable || !write)).then_some(file)
    }

    fn open_uncached(&self, node: &Node, write: bool) -> Result<Arc<OpenFile>> {
        if node.kind != Kind::File {
            let errno = if node.is_dir() { Errno::ISDIR } else { Errno::INVAL };
            return Err(Error::refused(errno, "data of something that is no file"));
        }
        let file = self.at_place(node, |place| self.open_place(place, write))?;
        if !file.append_only {
            self.nodes.files.keep(node.id, file.clone());
        }
        Ok(file)
    }

    /// `None` when the file is not there any more, or is a lower one that must not be written to: it was copied up meanwhile.
    fn open_place(&self, place: &Place, write: bool) -> Result<Option<Arc<OpenFile>>> {
        let flags = if write { OFlags::RDWR } else { OFlags::RDONLY } | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match &place.lower {
            Some(_) if write => return Ok(None),
            Some(layer) => layer.open_untouched(&*self.store, place.at(), flags)?,
            None => match self.upper_root()?.layer().open_untouched(&*self.store, place.at(), flags) {
                Err(error) if write && error.errno() == Errno::PERM => return self.open_for_appending(place),
                other => other?,
            },
        };
        if place.can_be_mistaken() && !place.is_right(&self.store.stat_fd(fd.as_fd())?) {
            return Ok(None);
        }
        Ok(Some(Arc::new(OpenFile::new(fd, place.lower.clone(), write))))
    }

    /// Opens an append-only file of the upperdir; an immutable one still says EPERM. It is opened anew for each write.
    fn open_for_appending(&self, place: &Place) -> Result<Option<Arc<OpenFile>>> {
        let flags = OFlags::WRONLY | OFlags::APPEND | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.store.open(place.at(), flags, 0)?;
        let is_right = place.is_right(&self.store.stat_fd(fd.as_fd())?);
        Ok(is_right.then(|| Arc::new(OpenFile::for_appending(fd))))
    }

    /// Keeps the descriptor that a file was made with.
    pub(super) fn keep_new(&self, node: &Node, fd: OwnedFd) {
        self.nodes.files.keep(node.id, Arc::new(OpenFile::new(fd, None, true)));
    }

    /// Opens an upper file whose mode denies its owner, who we are, the access that the kernel granted when it was opened (a
    /// file created read-only is still writable through the descriptor it was created with). The caller holds the gate.
    fn open_against_mode(&self, node: &Node, write: bool) -> Result<Arc<OpenFile>> {
        let place = self.place(node)?;
        let at = place.at();
        // The directory may have become closed, too.
        let dir = (!at.is_self()).then(|| At::this(at.dir));
        let dir = dir.map(|this| Widening { this, found_at: this, bits: 0o100 });
        let file = Widening { this: at, found_at: at, bits: 0o600 };
        let widenings: Vec<Widening<'_>> = dir.into_iter().chain([file]).collect();
        self.with_modes(&widenings, || self.open_uncached(node, write))
    }
}
