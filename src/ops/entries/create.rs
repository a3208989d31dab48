//! Making files, directories, symlinks and special files.

use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::fs::{OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::layer::staging::Prepared;
use crate::namespace::locks;
use crate::namespace::node::{Link, Node, Seen};
use crate::namespace::open_files::OpenFile;
use crate::namespace::refs::Entry;
use crate::ops::entries::Entries;
use crate::ops::lookup::UpperDir;
use crate::ops::lookup::adopt::Adopted;
use crate::owner::DEFAULT_ACL;
use crate::sys::At;
use crate::types::{Caller, Kind, Name, NodeId, Stat};

/// What is to be made.
#[derive(Debug, Clone, Copy)]
enum Object<'a> {
    Node { kind: Kind, mode: u32, rdev: u64 },
    Directory { mode: u32 },
    Symlink { target: &'a OsStr },
}

impl Entries {
    /// [`Union::mknod`](crate::Union::mknod).
    pub(in crate::ops) fn mknod(
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

    /// [`Union::mkdir`](crate::Union::mkdir).
    pub(in crate::ops) fn mkdir(
        &self,
        caller: Caller,
        parent: NodeId,
        name: Name<'_>,
        mode: u32,
    ) -> Result<Entry<'_>> {
        self.make(caller, parent, name, Object::Directory { mode: mode & 0o7777 })
    }

    /// [`Union::symlink`](crate::Union::symlink).
    pub(in crate::ops) fn symlink(
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
            self.nodes.files.keep(made.id, Arc::new(OpenFile::new(fd, None, true)));
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
        const SET_ID: u32 = libc::S_ISUID | libc::S_ISGID;
        let Object::Node { kind, mode, rdev } = object else { return Ok(object) };
        if mode & SET_ID == 0 {
            return Ok(object);
        }
        let dir = self.store.stat(dir.this())?.ok_or(Error::refused(Errno::STALE, "directory is gone"))?;
        Ok(Object::Node { kind, mode: self.owners.earned_mode_of_new(caller, &dir, mode), rdev })
    }

    /// A descriptor of a file whose mode denies its owner, who we are, what its maker may do through his own one.
    fn make_at(&self, caller: Caller, at: At<'_>, object: Object<'_>) -> Result<Option<OwnedFd>> {
        const READ_AND_WRITE: u32 = 0o600;
        let _owner = self.owners.of_new(caller)?;
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

    /// Prepares the object in the work directory and puts it in the whiteout's place with one rename. A directory becomes
    /// opaque: what the lower one of the same name holds stays deleted. What it is then.
    fn make_over_whiteout(
        &self,
        caller: Caller,
        dir: &UpperDir,
        name: &OsStr,
        object: Object<'_>,
    ) -> Result<(Stat, Option<OwnedFd>)> {
        let stand_in = self.stand_in(dir)?;
        let fd =
            self.store.open(stand_in.at(), rustix::fs::OFlags::PATH | rustix::fs::OFlags::DIRECTORY, 0)?;
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
    fn stand_in(&self, dir: &UpperDir) -> Result<Prepared<'_>> {
        let stand_in = self.upper()?.staging.prepare()?;
        self.store.mkdir(stand_in.at(), 0o700)?;
        let parent = self.store.stat(dir.this())?.ok_or(Error::refused(Errno::STALE, "directory is gone"))?;
        match self.store.get_xattr(dir.this(), OsStr::new(DEFAULT_ACL)) {
            Ok(Some(acl)) => self.store.set_xattr(stand_in.at(), OsStr::new(DEFAULT_ACL), &acl, 0)?,
            Ok(None) => {}
            Err(error) if error.errno() == Errno::OPNOTSUPP => {}
            Err(error) => return Err(error.into()),
        }
        if parent.mode & libc::S_ISGID != 0 {
            self.store.chown(stand_in.at(), None, Some(parent.gid))?;
            self.store.chmod(stand_in.at(), 0o2700)?;
        }
        Ok(stand_in)
    }
}
