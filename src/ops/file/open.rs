//! Files of the layers, opened.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::namespace::open_files::OpenFile;
use crate::ops::file::File;
use crate::ops::lookup::modes::Widening;
use crate::ops::lookup::place::Place;
use crate::sys::At;
use crate::types::Kind;

impl File {
    /// An open descriptor of the node's current file.
    pub(in crate::ops) fn open_file(&self, node: &Arc<Node>, write: bool) -> Result<Arc<OpenFile>> {
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

    /// [`File::open_file`] for callers that hold the node's gate.
    pub(in crate::ops) fn open_gated(&self, node: &Node, write: bool) -> Result<Arc<OpenFile>> {
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
