//! Directories of the upperdir.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::dir::RealDir;
use crate::namespace::node::Node;
use crate::namespace::walk::Found;
use crate::ops::lookup::Lookup;
use crate::sys::At;

/// A directory of the upperdir: the only thing that entries can be made in or removed from.
#[derive(Debug, Clone)]
pub(in crate::ops) struct UpperDir {
    pub(in crate::ops) real: Arc<RealDir>,
    fd: Arc<OwnedFd>,
}

impl UpperDir {
    pub(in crate::ops) fn at<'a>(&'a self, name: &'a std::ffi::OsStr) -> At<'a> {
        At::new(self.fd.as_fd(), name)
    }

    pub(in crate::ops) fn this(&self) -> At<'_> {
        At::this(self.fd.as_fd())
    }

    /// What keeps it reachable when it has no name any more.
    pub(in crate::ops) fn held(&self) -> Arc<OwnedFd> {
        self.fd.clone()
    }
}

impl Lookup {
    /// A directory that was cut off from lower ones may hold attribute whiteouts, though `opaque` says `y` and not `x`: what cut
    /// it off was killed before it had removed them.
    pub(in crate::ops) fn open_upper_dir(&self, found: &Found) -> Arc<RealDir> {
        let dir = found.open_dir();
        if self.is_view() || found.marks.opaque && self.whiteouts_are_attributes() {
            dir.set_xattr_whiteouts();
        }
        dir
    }

    /// The upper part of a directory that has one.
    pub(in crate::ops) fn upper_dir(&self, node: &Node) -> Result<UpperDir> {
        let upper = node.stack().and_then(|stack| stack.upper);
        let real = upper.ok_or(Error::refused(Errno::NOTDIR, "no directory of the upperdir"))?;
        let fd = self.nodes.dirs.open(&real)?;
        Ok(UpperDir { real, fd })
    }
}
