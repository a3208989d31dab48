//! Making files, directories, symlinks and special files.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{OFlags, RenameFlags};
use rustix::io::Errno;

use super::Union;
use super::acl::DEFAULT_ACL;
use super::ensure_upper::UpperDir;
use super::lookup::Adopted;
use crate::error::{Error, Result};
use crate::idmap::LayerId;
use crate::layer::dir::RealDir;
use crate::layer::staging::Prepared;
use crate::namespace::locks;
use crate::namespace::node::{Body, Directory, Link, Node, Seen};
use crate::namespace::nodes::Sighting;
use crate::namespace::refs::{Entry, NodeRef};
use crate::namespace::walk::DirStack;
use crate::sys::At;
use crate::sys::creds::OwnedBy;
use crate::types::{Caller, Kind, Name, NodeId, Stat};

/// What is to be made.
#[derive(Debug, Clone, Copy)]
enum Object<'a> {
    Node { kind: Kind, mode: u32, rdev: u64 },
    Directory { mode: u32 },
    Symlink { target: &'a OsStr },
}

impl Union {
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
    ) -> Result<Entry<'_>> {
        if kind == Kind::CharDevice && rdev == 0 {
            return Err(Error::refused(Errno::PERM, "character device 0/0 is a whiteout"));
        }
        self.make(caller, parent, name, Object::Node { kind, mode: mode & 0o7777, rdev })
    }

    /// Makes a directory; otherwise as [`Union::mknod`].
    pub fn mkdir(&self, caller: Caller, parent: NodeId, name: Name<'_>, mode: u32) -> Result<Entry<'_>> {
        self.make(caller, parent, name, Object::Directory { mode: mode & 0o7777 })
    }

    /// Makes a symlink; otherwise as [`Union::mknod`].
    pub fn symlink(
        &self,
        caller: Caller,
        parent: NodeId,
        name: Name<'_>,
        target: &OsStr,
    ) -> Result<Entry<'_>> {
        self.make(caller, parent, name, Object::Symlink { target })
    }

    fn make(&self, caller: Caller, parent: NodeId, name: Name<'_>, object: Object<'_>) -> Result<Entry<'_>> {
        let node = self.dir_node(parent)?.0;
        self.check_new_name(&node, name.as_os_str())?;
        self.ensure_upper_dir(&node)?;
        let name: Arc<OsStr> = Arc::from(name.as_os_str());
        let _gates = locks::lock(&[&node]);
        let _times = node.times_change();
        let dir = self.upper_dir(&node)?;
        let over_whiteout = self.check_free(&node, &name)?;
        self.announce_name(&dir, &name)?;
        let object = self.earned(self.masked(object, caller, &node, &dir)?, caller, &dir)?;
        let made = if over_whiteout {
            self.make_over_whiteout(caller, &dir, &name, object)
        } else {
            match self.make_at(caller, dir.at(&name), object) {
                Ok(open) => self.stat_of_new(dir.at(&name), object).map(|stat| (stat, open)),
                // The upperdir may hold whiteouts although no lowerdir is below it.
                Err(error) if error.errno() == Errno::EXIST && self.is_whiteout(&node, &name)? => {
                    self.make_over_whiteout(caller, &dir, &name, object)
                }
                Err(error) => Err(error),
            }
        };
        node.with_dir(|directory| directory.changes += 1);
        let (stat, open) = made?;
        let link = Link { parent: (*node).clone(), name, in_upper: true };
        let made = self.adopt_made(Seen { link, version: None }, &dir, &stat);
        let made = made.ok_or(Error::refused(Errno::IO, "new file without a node"))?;
        if let Some(fd) = open {
            self.keep_new(&made, fd);
        }
        Ok(self.entry(Adopted { node: made, stat }))
    }

    /// What has just been made is; it is removed again when that cannot be told.
    fn stat_of_new(&self, at: At<'_>, object: Object<'_>) -> Result<Stat> {
        let missing = Error::refused(Errno::IO, "new file is gone");
        let stat = self.store.stat(at).map_err(Into::into).and_then(|stat| stat.ok_or(missing));
        stat.inspect_err(|_| {
            let removed = match object {
                Object::Directory { .. } => self.store.rmdir(at),
                Object::Node { .. } | Object::Symlink { .. } => self.store.unlink(at),
            };
            if let Err(error) = removed {
                log::error!("what was made, and then could not be looked at, stays: {error}");
            }
        })
    }

    /// Checks that nothing is shown under a name of a directory that still exists. Returns whether a whiteout is there. The
    /// caller holds the directory's gate.
    pub(super) fn check_free(&self, parent: &Node, name: &Arc<OsStr>) -> Result<bool> {
        let (stack, removed) = parent
            .peek_dir(|directory| (directory.stack.clone(), directory.removed))
            .ok_or(Error::refused(Errno::NOTDIR, "not a directory"))?;
        if removed {
            return Err(Error::refused(Errno::NOENT, "the directory was removed"));
        }
        if stack.lowers.is_empty() {
            // The creating call itself answers EEXIST.
            return Ok(false);
        }
        let located = self.locate(parent, &stack, name)?;
        if !located.is_absent() {
            return Err(Error::refused(Errno::EXIST, "the name exists"));
        }
        Ok(located.whiteout)
    }

    /// Whether the upperdir has a whiteout under a name.
    pub(super) fn is_whiteout(&self, parent: &Node, name: &Arc<OsStr>) -> Result<bool> {
        let stack = parent.stack().ok_or(Error::refused(Errno::NOTDIR, "not a directory"))?;
        Ok(self.locate(parent, &stack, name)?.whiteout)
    }

    /// Applies the caller's umask, which does not count where a default ACL does (acl(5)).
    fn masked<'a>(
        &self,
        object: Object<'a>,
        caller: Caller,
        node: &Node,
        dir: &UpperDir,
    ) -> Result<Object<'a>> {
        if caller.umask == 0 || self.has_default_acl(node, &dir.real)? {
            return Ok(object);
        }
        let masked = |mode: u32| mode & !caller.umask;
        Ok(match object {
            Object::Node { kind, mode, rdev } => Object::Node { kind, mode: masked(mode), rdev },
            Object::Directory { mode } => Object::Directory { mode: masked(mode) },
            Object::Symlink { .. } => object,
        })
    }

    fn earned<'a>(&self, object: Object<'a>, caller: Caller, dir: &UpperDir) -> Result<Object<'a>> {
        Ok(match object {
            Object::Node { kind, mode, rdev } => {
                Object::Node { kind, mode: self.earned_mode_of_new(caller, dir, mode)?, rdev }
            }
            Object::Directory { .. } | Object::Symlink { .. } => object,
        })
    }

    /// A descriptor of a file whose mode denies its owner, who we are, what its maker may do through his own one.
    fn make_at(&self, caller: Caller, at: At<'_>, object: Object<'_>) -> Result<Option<OwnedFd>> {
        const READ_AND_WRITE: u32 = 0o600;
        let _owner = self.assume(caller)?;
        match object {
            Object::Node { kind: Kind::File, mode, .. }
                if self.may_change_modes() && mode & READ_AND_WRITE != READ_AND_WRITE =>
            {
                let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR | OFlags::NOCTTY;
                return Ok(Some(self.store.open(at, flags, mode)?));
            }
            Object::Node { kind, mode, rdev } => self.store.mknod(at, kind, mode, rdev)?,
            Object::Directory { mode } => self.store.mkdir(at, mode)?,
            Object::Symlink { target } => self.store.symlink(target, at)?,
        }
        Ok(None)
    }

    fn assume(&self, caller: Caller) -> Result<Option<OwnedBy>> {
        if !self.options.privileged {
            return Ok(None);
        }
        let map = &self.options.id_map;
        let stored = |id: LayerId| match id {
            LayerId::Id(id) => Ok(Some(id)),
            LayerId::Keep => Ok(None),
            LayerId::Unmapped => Err(Error::refused(Errno::OVERFLOW, "the id map has no such owner")),
        };
        let uid = stored(map.uid_to_layer(caller.uid))?;
        let gid = stored(map.gid_to_layer(caller.gid))?;
        Ok(OwnedBy::assume(uid, gid))
    }

    /// Prepares the object in the work directory and puts it in the whiteout's place with one rename. A directory becomes
    /// opaque: what the lower one of the same name holds stays deleted. What it is then.
    fn make_over_whiteout(
        &self,
        caller: Caller,
        dir: &UpperDir,
        name: &OsStr,
        object: Object<'_>,
    ) -> Result<(Stat, Option<OwnedFd>)> {
        let nursery = self.nursery(dir)?;
        let fd =
            self.store.open(nursery.at(), rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY, 0)?;
        let made = At::new(std::os::fd::AsFd::as_fd(&fd), OsStr::new("new"));
        let open = self.make_at(caller, made, object)?;
        let is_dir = matches!(object, Object::Directory { .. });
        if is_dir {
            self.set_opaque(made)?;
        }
        let stat = self.stat_of_new(made, object)?;
        let flags = if is_dir { RenameFlags::EXCHANGE } else { RenameFlags::empty() };
        self.store.rename(made, dir.at(name), flags)?;
        // The rename has changed the time of change. Where that cannot be told any more, it is nearly right.
        Ok((self.store.stat(dir.at(name)).ok().flatten().unwrap_or(stat), open))
    }

    /// A directory in the work directory from which new objects inherit what they would from `dir`: the default ACL, and the
    /// group of a set-group-id directory.
    fn nursery(&self, dir: &UpperDir) -> Result<Prepared<'_>> {
        let nursery = self.upper()?.staging.prepare()?;
        self.store.mkdir(nursery.at(), 0o700)?;
        let parent = self.store.stat(dir.this())?.ok_or(Error::refused(Errno::STALE, "directory is gone"))?;
        match self.store.get_xattr(dir.this(), OsStr::new(DEFAULT_ACL)) {
            Ok(Some(acl)) => self.store.set_xattr(nursery.at(), OsStr::new(DEFAULT_ACL), &acl, 0)?,
            Ok(None) => {}
            Err(error) if error.errno() == Errno::OPNOTSUPP => {}
            Err(error) => return Err(error.into()),
        }
        if parent.mode & libc::S_ISGID != 0 {
            self.store.chown(nursery.at(), None, Some(parent.gid))?;
            self.store.chmod(nursery.at(), 0o2700)?;
        }
        Ok(nursery)
    }

    /// The node of something just made in the upperdir.
    fn adopt_made(&self, seen: Seen, dir: &UpperDir, stat: &Stat) -> Option<NodeRef<'_>> {
        if !stat.is_dir() {
            return self.adopt_new(seen, dir.real.layer(), stat);
        }
        let wanted = self.nodes.numbers().of(dir.real.layer(), stat);
        let is_same = |node: &Node| {
            let upper = node.stack().and_then(|stack| stack.upper);
            upper.is_some_and(|upper| upper.ino() == stat.ino)
        };
        let body = || {
            let upper = RealDir::child(&dir.real, seen.link.name.clone(), stat.ino);
            let stack = DirStack { upper: Some(upper), lowers: Arc::new([]) };
            Body::Directory(Box::new(Directory::new(stack)))
        };
        let found = Sighting { seen: &seen, kind: Kind::Directory, real: stat.real_id(), wanted };
        Some(self.nodes.intern(&found, is_same, body)?.node)
    }
}
