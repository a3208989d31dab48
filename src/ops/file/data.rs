//! Data of files: read, write, allocate, seek, copy, sync. Opens are answered by the kernel, so all work on nodes.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::io::Errno;

use crate::config::Durability;
use crate::error::{Error, Result};
use crate::layer::copy_data::{self};
use crate::namespace::open_files::OpenFile;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::file::File;
use crate::types::{Caller, NodeId};

impl File {
    /// [`Union::read`](crate::Union::read).
    pub(in crate::ops) fn read(&self, id: NodeId, offset: u64, buf: &mut [u8]) -> Result<usize> {
        let node = self.node(id)?;
        let file = self.open_file(&node, false)?;
        let count = self.store.read(file.fd.as_fd(), buf, offset)?;
        self.has_read(file.lower.is_none());
        Ok(count)
    }

    /// [`Union::write`](crate::Union::write).
    pub(in crate::ops) fn write(
        &self,
        id: NodeId,
        offset: u64,
        data: &[u8],
        clear_set_id: Option<Caller>,
    ) -> Result<(usize, bool)> {
        let (file, cleared) = self.open_for_writing(id, offset, clear_set_id)?;
        Ok((self.store.write(file.fd.as_fd(), data, offset)?, cleared))
    }

    /// [`Union::write_pages`](crate::Union::write_pages).
    pub(in crate::ops) fn write_pages(
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

    /// [`Union::allocate`](crate::Union::allocate).
    pub(in crate::ops) fn allocate(
        &self,
        caller: Caller,
        id: NodeId,
        mode: i32,
        offset: u64,
        len: u64,
    ) -> Result<bool> {
        let node = self.node(id)?;
        self.ensure_upper(&node, Extent::All)?;
        let file = self.open_file(&node, true)?;
        let cleared = self.clear_set_id_for(caller, &file)?;
        self.store.allocate(file.fd.as_fd(), mode, offset, len)?;
        Ok(cleared)
    }

    /// [`Union::seek`](crate::Union::seek).
    pub(in crate::ops) fn seek(&self, id: NodeId, offset: u64, hole: bool) -> Result<u64> {
        let node = self.node(id)?;
        let file = self.open_file(&node, false)?;
        let found = self.store.seek_data(file.fd.as_fd(), offset, hole)?;
        found.ok_or(Error::refused(Errno::NXIO, "past the end of the file"))
    }

    /// [`Union::copy_range`](crate::Union::copy_range).
    pub(in crate::ops) fn copy_range(
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

    /// [`Union::fsync`](crate::Union::fsync).
    pub(in crate::ops) fn fsync(&self, id: NodeId, data_only: bool) -> Result<()> {
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

    /// [`Union::open_view`](crate::Union::open_view).
    pub(in crate::ops) fn open_view(&self, id: NodeId) -> Result<()> {
        self.open_file(&*self.node(id)?, false).map(drop)
    }
}
