//! Copy-up: a lower file or directory gets its copy in the upperdir, complete, with one publishing call.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{IFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::config::Durability;
use crate::error::{Error, Result};
use crate::format::marks::Mark;
use crate::layer::copy_data::Copied;
use crate::layer::staging::Prepared;
use crate::namespace::held::{Held, Parked};
use crate::namespace::node::{Body, Home, IndexEntry, Link, LowerFile, Node, UpperFile};
use crate::ops::copy_up::CopyUp;
use crate::ops::copy_up::ensure::{Extent, OnCopy};
use crate::ops::insist;
use crate::ops::lookup::UpperDir;
use crate::ops::lookup::place::{Place, REPLACED};
use crate::sys::At;
use crate::types::{Kind, NewTime, Stat};

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

    fn published(self) {
        if let Self::Named(prepared) = self {
            prepared.published();
        }
    }
}

impl CopyUp {
    /// The caller holds the node's gate.
    pub(in crate::ops) fn copy_up_file(
        &self,
        node: &Arc<Node>,
        lower: &LowerFile,
        to: Option<(&Link, &UpperDir)>,
        (extent, on_copy): (Extent, &OnCopy<'_>),
    ) -> Result<()> {
        // A file is opened to be copied, and compared then.
        let source = if node.kind == Kind::File { self.place(node)? } else { self.held_place(node)? };
        let stat = self.stat(node)?;
        let staged = self.stage_copy(node, lower, &source, &stat, extent)?;
        on_copy(staged.at(), &stat)?;
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
            self.set_mark(staged.at(), Mark::Origin, origin)?;
        }
        let copy = self.store.stat(staged.at())?.ok_or(Error::refused(Errno::IO, "staged copy is gone"))?;
        let mut upper = UpperFile {
            real: copy.real_id(),
            birth: copy.birth,
            copied_from: Some(stat.real_id()),
            home: Home::Named,
            covers_links: lower.has_links,
            extra_links: if index.is_none() && to.is_some() { i64::from(stat.nlink) - 1 } else { 0 },
            index,
        };
        // A lookup that finds the copy's name before this node knows of it must come to this node.
        self.nodes.renumber(copy.real_id(), node.id);
        upper.home = self
            .publish_copy(staged, to, upper.index.as_deref(), &stat, origin.is_some())
            .inspect_err(|_| self.nodes.unnumber(copy.real_id()))?;
        let numbers = self.nodes.numbers();
        // What is written on the copy may not tell its number: then it is remembered, for as long as the union is mounted.
        if !lower.has_links && origin.and_then(|origin| numbers.of_origin(&origin)) != Some(node.id) {
            numbers.keep(copy.real_id(), node.id);
        }
        node.state.write().body = Body::Upper(Box::new(upper));
        if let Some((link, _)) = to {
            self.mark_in_upper(node, link);
        }
        self.nodes.files.forget(node.id);
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
        if let Some((link, parent)) = to {
            self.announce_name(parent, &link.name)?;
            if has_origin {
                self.mark_impure(&link.parent, parent)?;
            }
        }
        let _times = to.and_then(|(link, _)| link.parent.times_stay());
        let times = to.map(|(_, parent)| self.store.stat(parent.this())).transpose()?.flatten();
        let home = match (index, to) {
            (Some(entry), _) => {
                self.publish_in_index(&staged, entry)?;
                let linked = to.map(|(link, parent)| {
                    let link = || self.link_from_index(entry, stat.nlink, parent.at(&link.name));
                    self.despite_mode_of_dir(parent, link)
                });
                if let Some(Err(error)) = linked {
                    // Nobody has seen the entry yet; left behind, it would stand for the lower file at the next lookup.
                    self.store.unlink(At::new(self.index_dir()?, &entry.name))?;
                    return Err(error);
                }
                if to.is_some() { Home::Named } else { Home::Indexed }
            }
            (None, Some((link, parent))) => {
                self.despite_mode_of_dir(parent, || self.publish(&staged, parent.at(&link.name)))?;
                staged.published();
                Home::Named
            }
            (None, None) => self.keep_unnamed(staged)?,
        };
        if let Some((_, parent)) = to {
            self.restore_times(parent, times);
        }
        Ok(home)
    }

    pub(super) fn mark_in_upper(&self, node: &Node, link: &Link) {
        node.is_in_upper_as(&link.parent, &link.name);
        link.parent.with_dir(|directory| directory.copies += 1);
        self.changed_in_passing(node);
        self.changed_in_passing(&link.parent);
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
            let prepared = upper.staging.prepare()?;
            match node.kind {
                Kind::Symlink => self.store.symlink(&self.store.read_link(source.at())?, prepared.at())?,
                kind => self.store.mknod(prepared.at(), kind, 0o600, stat.rdev)?,
            }
            self.copy_metadata(source.at(), stat, prepared.at())?;
            return Ok(Staged::Named(prepared));
        }
        let from = lower.dir.layer().open_untouched(
            &*self.store,
            source.at(),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY,
        )?;
        if source.can_be_mistaken() && !source.is_right(&self.store.stat_fd(from.as_fd())?) {
            return Err(Error::refused(Errno::STALE, REPLACED));
        }
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
        let data = self.copy_data(&from, fd, copied)?;
        self.copy_metadata(At::this(from.as_fd()), stat, staged.at())?;
        if let Extent::UpTo(size) = extent {
            // What is published is already the truncated file, not one that lost its end for no reason seen in its times.
            self.truncate(fd, size)?;
        }
        let kept = flags & (IFlags::SYNC | IFlags::NOATIME | IFlags::NODUMP);
        if !kept.is_empty() {
            self.store.set_flags(fd, kept)?;
        }
        if self.options.durability == Durability::Synced && data == Copied::InMemory {
            self.store.sync(fd, false)?;
        }
        Ok(staged)
    }

    /// An empty file to copy into; the descriptor comes apart when the file has a name.
    fn stage_file(&self) -> Result<(Staged<'_>, Option<OwnedFd>)> {
        let upper = self.upper()?;
        if upper.format.tmpfile {
            return Ok((Staged::Unnamed(self.store.tmpfile(upper.staging.dir()?, 0o600)?), None));
        }
        let prepared = upper.staging.prepare()?;
        let flags = OFlags::CREATE | OFlags::EXCL | OFlags::RDWR;
        let fd = self.store.open(prepared.at(), flags, 0o600)?;
        Ok((Staged::Named(prepared), Some(fd)))
    }

    fn publish(&self, staged: &Staged<'_>, to: At<'_>) -> Result<()> {
        match staged {
            Staged::Unnamed(fd) => self.store.link(At::this(fd.as_fd()), to)?,
            Staged::Named(prepared) => self.store.rename(prepared.at(), to, RenameFlags::NOREPLACE)?,
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
            Staged::Unnamed(fd) if self.may_hold() => Ok(Home::Held(Held::new(Arc::new(fd)))),
            Staged::Unnamed(fd) => {
                let staging = &self.upper()?.staging;
                let name = staging.fresh_name();
                self.store.link(At::this(fd.as_fd()), staging.at(&name)?)?;
                Ok(Home::Parked(Parked::new(staging, name)))
            }
            Staged::Named(prepared) if self.may_hold() => {
                let fd = self.store.open(prepared.at(), OFlags::PATH, 0)?;
                Ok(Home::Held(Held::new(Arc::new(fd))))
            }
            Staged::Named(prepared) => Ok(Home::Parked(Parked::new(&self.upper()?.staging, prepared.keep()))),
        }
    }

    /// Gives a file of the upperdir another size, or the same, which its times tell (POSIX, ftruncate).
    pub(in crate::ops) fn truncate(&self, file: BorrowedFd<'_>, size: u64) -> Result<()> {
        self.store.truncate(file, size)?;
        if self.is_upper_served()
            && let Err(error) =
                insist(|| Ok(self.store.set_times(At::this(file), None, Some(NewTime::Now))?))
        {
            log::warn!("time of a file after its truncation: {error}");
        }
        Ok(())
    }
}
