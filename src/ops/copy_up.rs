//! Copy-up: a lower file or directory gets its copy in the upperdir, complete, with one publishing call.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{IFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use super::Union;
use super::lookup::is_same_link;
use super::place::Place;
use crate::config::Durability;
use crate::error::{Error, Result};
use crate::idmap::LayerId;
use crate::layer::dir::RealDir;
use crate::layer::staging::Prepared;
use crate::layer::{copy_data, marker, origin};
use crate::namespace::locks;
use crate::namespace::node::{Body, Home, IndexEntry, Link, LowerFile, Node, UpperFile};
use crate::sys::At;
use crate::types::{Kind, NewTime, Stat};

/// How much of a file's data is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    All,
    /// The first bytes only: the file is about to be truncated to this size.
    UpTo(u64),
}

/// A directory of the upperdir: the only thing that entries can be made in or removed from.
#[derive(Debug, Clone)]
pub(super) struct UpperDir {
    pub(super) real: Arc<RealDir>,
    fd: Arc<OwnedFd>,
}

impl UpperDir {
    pub(super) fn at<'a>(&'a self, name: &'a std::ffi::OsStr) -> At<'a> {
        At::new(self.fd.as_fd(), name)
    }

    pub(super) fn this(&self) -> At<'_> {
        At::this(self.fd.as_fd())
    }
}

/// A copy on its way: nameless, or under a name in the work directory.
enum Staged<'a> {
    Unnamed(OwnedFd),
    Named(Prepared<'a>),
}

impl Staged<'_> {
    fn at(&self) -> At<'_> {
        match self {
            Self::Unnamed(fd) => At::this(fd.as_fd()),
            Self::Named(prepared) => prepared.at(),
        }
    }
}

impl Union {
    /// Makes sure that the node is in the upperdir, with (at least) `extent` of its data. Others that want the same wait for
    /// this node only.
    ///
    /// # Errors
    /// `EROFS` without upperdir; whatever keeps the copy from being complete. The lower file is visible and intact then.
    pub(super) fn ensure_upper(&self, node: &Arc<Node>, extent: Extent) -> Result<()> {
        self.upper()?;
        if node.is_upper() {
            return Ok(());
        }
        if node.is_dir() {
            return self.ensure_upper_dir(node).map(drop);
        }
        while !self.try_copy_up(node, extent)? {}
        self.link_known_names(node)
    }

    /// Copies a file up; `false` when its name changed meanwhile.
    fn try_copy_up(&self, node: &Arc<Node>, extent: Extent) -> Result<bool> {
        let link = node.link();
        let parent = link.as_ref().map(|link| self.ensure_upper_dir(&link.parent)).transpose()?;
        let _gates = locks::lock(&[node]);
        let lower = match &node.state.read().body {
            Body::Lower(lower) => lower.clone(),
            _ => return Ok(true),
        };
        match (link, parent, node.link()) {
            (Some(link), Some(parent), Some(now)) if is_same_link(&now, &link.parent, &link.name) => {
                self.copy_up_file(node, &lower, Some((&link, &parent)), extent)?;
            }
            (None, _, None) => self.copy_up_file(node, &lower, None, extent)?,
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// Gives a file just copied up all its names that are known, because a write does not say which one it was opened by:
    /// whoever reads the upperdir alone, to archive it say, must find the change under that one.
    fn link_known_names(&self, node: &Arc<Node>) -> Result<()> {
        let links: Vec<Link> =
            node.state.read().links.iter().filter(|link| !link.in_upper).cloned().collect();
        for link in links {
            match self.ensure_name_in_upper(node, &link.parent, &link.name) {
                // Removed meanwhile.
                Err(error) if error.errno() == Errno::NOENT => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The directory's upper part, made when it has none.
    pub(super) fn ensure_upper_dir(&self, node: &Arc<Node>) -> Result<UpperDir> {
        self.upper()?;
        let mut chain = vec![node.clone()];
        while let Some(last) = chain.last()
            && !last.is_upper()
        {
            let link = last.link().ok_or(Error::refused(Errno::NOENT, "the directory was removed"))?;
            chain.push(link.parent);
        }
        while let Some(next) = chain.pop() {
            if !next.is_upper() {
                self.copy_up_dir(&next)?;
            }
        }
        self.upper_dir(node)
    }

    /// The upper part of a directory that has one.
    pub(super) fn upper_dir(&self, node: &Node) -> Result<UpperDir> {
        let upper = node.stack().and_then(|stack| stack.upper);
        let real = upper.ok_or(Error::refused(Errno::NOTDIR, "no directory of the upperdir"))?;
        let fd = self.dirs.open(&real)?;
        Ok(UpperDir { real, fd })
    }

    fn copy_up_dir(&self, node: &Arc<Node>) -> Result<()> {
        let staging = &self.upper()?.staging;
        let _gates = locks::lock(&[node]);
        if node.is_upper() {
            return Ok(());
        }
        let link = node.link().ok_or(Error::refused(Errno::NOENT, "the directory was removed"))?;
        let parent = self.upper_dir(&link.parent)?;
        let source = self.place(node)?;
        let stat = self.stat(node)?;
        let prepared = staging.prepare();
        self.store.mkdir(prepared.at(), 0o700)?;
        self.copy_metadata(source.at(), &stat, prepared.at())?;
        if let Some(lower) = node.peek_dir(|directory| directory.stack.lowers.first().cloned()).flatten()
            && let Some(origin) = self.origin_of(source.at(), &lower)?
        {
            self.set_mark(prepared.at(), "origin", &origin)?;
            self.mark_impure(&link.parent, &parent)?;
        }
        let copy = self.store.stat(prepared.at())?.ok_or(Error::refused(Errno::IO, "staged copy is gone"))?;
        let times = self.store.stat(parent.this())?;
        self.despite_mode(prepared.at(), || {
            Ok(self.store.rename(prepared.at(), parent.at(&link.name), RenameFlags::NOREPLACE)?)
        })?;
        prepared.published();
        self.restore_times(&parent, times);
        let real = RealDir::child(&parent.real, link.name.clone(), copy.ino);
        node.with_dir(|directory| directory.stack.upper = Some(real));
        self.mark_in_upper(node, &link);
        Ok(())
    }

    /// The caller holds the node's gate.
    fn copy_up_file(
        &self,
        node: &Arc<Node>,
        lower: &LowerFile,
        to: Option<(&Link, &UpperDir)>,
        extent: Extent,
    ) -> Result<()> {
        let source = self.place(node)?;
        let stat = self.stat(node)?;
        let staged = self.stage_copy(node, lower, &source, &stat, extent)?;
        let can_mark = self.upper()?.format.can_mark(node.kind);
        let origin = self.origin_of(source.at(), &lower.dir)?.filter(|_| can_mark);
        let index = match &origin {
            Some(origin) if lower.has_links => self.index_entry(origin, stat.nlink),
            _ => None,
        };
        // Without an index a hard link's copy stands for one name only, so it must not claim the others' identity (kernel:
        // ovl_do_copy_up).
        let origin = origin.filter(|_| !lower.has_links || index.is_some());
        if let Some(origin) = &origin {
            self.set_mark(staged.at(), "origin", origin)?;
        }
        let copy = self.store.stat(staged.at())?.ok_or(Error::refused(Errno::IO, "staged copy is gone"))?;
        let mut upper = UpperFile {
            real: copy.real_id(),
            copied_from: Some(stat.real_id()),
            home: Home::Named,
            covers_links: lower.has_links,
            index,
        };
        // A lookup that finds the copy's name before this node knows of it must come to this node.
        self.table.renumber(copy.real_id(), node.id);
        upper.home = self
            .publish_copy(staged, to, upper.index.as_deref(), &stat, origin.is_some())
            .inspect_err(|_| self.table.unnumber(copy.real_id()))?;
        node.state.write().body = Body::Upper(Box::new(upper));
        if let Some((link, _)) = to {
            self.mark_in_upper(node, link);
        }
        self.files.remove(node.id.0);
        Ok(())
    }

    /// Gives a complete copy its place: a name in the upperdir, in the index, or none. Returns how it is reached there.
    fn publish_copy(
        &self,
        staged: Staged<'_>,
        to: Option<(&Link, &UpperDir)>,
        index: Option<&IndexEntry>,
        stat: &Stat,
        has_origin: bool,
    ) -> Result<Home> {
        if let Some((link, parent)) = to
            && has_origin
        {
            self.mark_impure(&link.parent, parent)?;
        }
        let times = to.map(|(_, parent)| self.store.stat(parent.this())).transpose()?.flatten();
        let home = match (index, to) {
            (Some(entry), _) => {
                self.publish_in_index(&staged, entry)?;
                let linked =
                    to.map(|(link, parent)| self.link_from_index(entry, stat.nlink, parent.at(&link.name)));
                if let Some(Err(error)) = linked {
                    // Nobody has seen the entry yet; left behind, it would stand for the lower file at the next lookup.
                    self.store.unlink(At::new(self.index_dir()?, &entry.name))?;
                    return Err(error);
                }
                if to.is_some() { Home::Named } else { Home::Indexed }
            }
            (None, Some((link, parent))) => {
                self.publish(staged, parent.at(&link.name))?;
                Home::Named
            }
            (None, None) => self.keep_unnamed(staged)?,
        };
        if let Some((_, parent)) = to {
            self.restore_times(parent, times);
        }
        Ok(home)
    }

    fn mark_in_upper(&self, node: &Node, link: &Link) {
        let mut state = node.state.write();
        if let Some(known) =
            state.links.iter_mut().find(|known| is_same_link(known, &link.parent, &link.name))
        {
            known.in_upper = true;
        }
    }

    /// Makes the complete copy: data, owner, attributes, mode, times; on the disk when the mount is durable.
    fn stage_copy(
        &self,
        node: &Node,
        lower: &LowerFile,
        source: &Place,
        stat: &Stat,
        extent: Extent,
    ) -> Result<Staged<'_>> {
        let upper = self.upper()?;
        if node.kind != Kind::File {
            let prepared = upper.staging.prepare();
            match node.kind {
                Kind::Symlink => self.store.symlink(&self.store.read_link(source.at())?, prepared.at())?,
                kind => self.store.mknod(prepared.at(), kind, 0o600, stat.rdev)?,
            }
            self.copy_metadata(source.at(), stat, prepared.at())?;
            return Ok(Staged::Named(prepared));
        }
        let from =
            lower.dir.layer().open_untouched(&*self.store, source.at(), OFlags::RDONLY | OFlags::NOCTTY)?;
        let flags = self.store.flags(from.as_fd()).unwrap_or(IFlags::empty());
        if flags.contains(IFlags::IMMUTABLE) {
            return Err(Error::refused(Errno::PERM, "the lower file is immutable (chattr +i)"));
        }
        let (staged, to) = self.stage_file()?;
        let fd = to.as_ref().map_or_else(|| staged.at().dir, AsFd::as_fd);
        let copied = match extent {
            Extent::All => stat.size,
            Extent::UpTo(size) => stat.size.min(size),
        };
        copy_data::data(&*self.store, from.as_fd(), fd, copied)?;
        self.copy_metadata(source.at(), stat, staged.at())?;
        if let Extent::UpTo(size) = extent {
            // What is published is already the truncated file, not one that lost its end for no reason seen in its times.
            self.store.truncate(fd, size)?;
        }
        let kept = flags & (IFlags::SYNC | IFlags::NOATIME | IFlags::NODUMP);
        if !kept.is_empty() {
            self.store.set_flags(fd, kept)?;
        }
        if self.options.durability == Durability::Synced {
            self.store.sync(fd, false)?;
        }
        Ok(staged)
    }

    /// An empty file to copy into; the descriptor comes apart when the file has a name.
    fn stage_file(&self) -> Result<(Staged<'_>, Option<OwnedFd>)> {
        let upper = self.upper()?;
        if upper.format.tmpfile {
            return Ok((Staged::Unnamed(self.store.tmpfile(upper.staging.dir(), 0o600)?), None));
        }
        let prepared = upper.staging.prepare();
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
        let fd = self.store.open(prepared.at(), flags, 0o600)?;
        Ok((Staged::Named(prepared), Some(fd)))
    }

    fn publish(&self, staged: Staged<'_>, to: At<'_>) -> Result<()> {
        match staged {
            Staged::Unnamed(fd) => self.store.link(At::this(fd.as_fd()), to)?,
            Staged::Named(prepared) => {
                self.store.rename(prepared.at(), to, RenameFlags::NOREPLACE)?;
                prepared.published();
            }
        }
        Ok(())
    }

    fn publish_in_index(&self, staged: &Staged<'_>, entry: &IndexEntry) -> Result<()> {
        let index = self.index_dir()?;
        self.upper()?.staging.use_index();
        self.write_links_of_upper(staged.at(), entry)?;
        Ok(self.store.link(staged.at(), At::new(index, &entry.name))?)
    }

    /// Keeps the copy of a file that has lost its names: by a descriptor, or, when those are scarce, by a name in the work
    /// directory.
    fn keep_unnamed(&self, staged: Staged<'_>) -> Result<Home> {
        match staged {
            Staged::Unnamed(fd) if self.may_hold() => Ok(Self::held(fd)),
            Staged::Unnamed(fd) => {
                let staging = &self.upper()?.staging;
                let name = staging.fresh_name();
                self.store.link(At::this(fd.as_fd()), staging.at(&name))?;
                Ok(Home::Parked(name))
            }
            Staged::Named(prepared) if self.may_hold() => {
                Ok(Self::held(self.store.open(prepared.at(), OFlags::PATH, 0)?))
            }
            Staged::Named(prepared) => {
                let name = prepared.name().to_owned();
                prepared.published();
                Ok(Home::Parked(name))
            }
        }
    }

    /// Copies owner, attributes (ACLs and capabilities among them), mode and times.
    pub(super) fn copy_metadata(&self, from: At<'_>, stat: &Stat, to: At<'_>) -> Result<()> {
        self.copy_owner(stat, to)?;
        self.copy_xattrs(from, to)?;
        if stat.kind() != Kind::Symlink {
            self.store.chmod(to, stat.mode & 0o7777)?;
        }
        Ok(self.store.set_times(to, Some(NewTime::At(stat.atime)), Some(NewTime::At(stat.mtime)))?)
    }

    fn copy_owner(&self, stat: &Stat, to: At<'_>) -> Result<()> {
        let map = &self.options.id_map;
        let kept = |id: LayerId, own: u32| if id == LayerId::Keep { None } else { Some(own) };
        let uid = kept(map.uid_to_layer(map.uid_to_union(stat.uid)), stat.uid);
        let gid = kept(map.gid_to_layer(map.gid_to_union(stat.gid)), stat.gid);
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        Ok(self.store.chown(to, uid, gid)?)
    }

    fn copy_xattrs(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        let names = match self.store.list_xattr(from) {
            Ok(names) => names,
            Err(error) if error.errno() == Errno::OPNOTSUPP => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for name in super::xattr::names(&names).filter(|name| !marker::is_mark(name)) {
            let Some(value) = self.store.get_xattr(from, &name)? else {
                continue;
            };
            match self.store.set_xattr(to, &name, &value, 0) {
                // The label follows from the upperdir's policy where we may not set it (kernel: ovl_copy_xattr).
                Err(error)
                    if name == "security.selinux"
                        && matches!(error.errno(), Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// The value of `overlay.origin` for a copy of `from`; `None` where it cannot be recorded.
    pub(super) fn origin_of(&self, from: At<'_>, dir: &RealDir) -> Result<Option<Vec<u8>>> {
        let filesystem = self.table.numbers().filesystem(dir.layer());
        let records = self.upper()?.format.has_xattrs();
        let Some(filesystem) = filesystem.filter(|filesystem| filesystem.handles && records) else {
            return Ok(None);
        };
        let handle = self.store.handle(from)?;
        Ok(handle.and_then(|handle| origin::encode(&handle, &filesystem.uuid)))
    }

    pub(super) fn set_mark(&self, at: At<'_>, mark: &str, value: &[u8]) -> Result<()> {
        let name = self.upper()?.format.mark(mark);
        let Some(name) = name else { return Ok(()) };
        self.despite_mode(at, || Ok(self.store.set_xattr(at, &name, value, 0)?))
    }

    /// Runs `act` on a file or directory that is ours, although its mode may deny that to us (only where we are not
    /// privileged): marks can be set, and directories moved, by those only who may write to them.
    pub(super) fn despite_mode<T>(&self, at: At<'_>, act: impl Fn() -> Result<T>) -> Result<T> {
        let denied = match act() {
            Err(error) if error.errno() == Errno::ACCESS && !self.options.privileged => error,
            other => return other,
        };
        let _alone = self.mode_changes.lock();
        let Some(stat) = self.store.stat(at)? else { return Err(denied) };
        let held = self.store.open(at, OFlags::PATH, 0)?;
        let this = At::this(held.as_fd());
        self.store.chmod(this, stat.mode & 0o7777 | 0o200)?;
        let outcome = act();
        self.store.chmod(this, stat.mode & 0o7777)?;
        outcome
    }

    /// Marks a directory as holding entries with an origin, so that lookups in it read the marks of files.
    pub(super) fn mark_impure(&self, node: &Node, dir: &UpperDir) -> Result<()> {
        if node.peek_dir(|directory| directory.impure) == Some(true) {
            return Ok(());
        }
        self.set_mark(dir.this(), "impure", b"y")?;
        node.with_dir(|directory| directory.impure = true);
        Ok(())
    }

    /// A copy-up changes nothing that users see, so the directory's times stay. Failing that is no reason to fail.
    pub(super) fn restore_times(&self, dir: &UpperDir, before: Option<Stat>) {
        let Some(before) = before else { return };
        let (atime, mtime) = (NewTime::At(before.atime), NewTime::At(before.mtime));
        if let Err(error) = self.store.set_times(dir.this(), Some(atime), Some(mtime)) {
            log::warn!("times of a directory after copy-up: {error}");
        }
    }
}
