//! The index: copied-up hard links, found again by the identity of the lower file (kernel: `index=on`).

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rustix::io::Errno;

use super::Union;
use crate::error::{Error, Result};
use crate::format::marks::Mark;
use crate::format::nlink::Links;
use crate::format::origin;
use crate::namespace::node::{IndexEntry, Link, Node};
use crate::namespace::walk::{DirStack, Found, Origins};
use crate::sys::At;
use crate::types::{NodeId, Stat};

impl Union {
    pub(super) fn index_dir(&self) -> Result<BorrowedFd<'_>> {
        self.upper()?.staging.index().ok_or(Error::refused(Errno::STALE, "no index directory"))
    }

    /// A new entry for a lower file with `links` names; `None` where no index is kept.
    pub(super) fn index_entry(&self, origin: &[u8], links: u32) -> Option<Arc<IndexEntry>> {
        self.upper.as_ref()?.staging.index()?;
        let name = origin::index_name(origin)?;
        // In the index the copy has one name.
        Some(Arc::new(IndexEntry {
            name,
            extra_links: AtomicI64::new(i64::from(links) - 1),
            noted: AtomicBool::new(false),
        }))
    }

    /// The index entry of a lower file and what its copy is, when it has been copied up under another name.
    pub(super) fn find_index_of_lower(&self, found: &Found) -> Result<Option<(Arc<IndexEntry>, Stat)>> {
        let used = self.upper.as_ref().filter(|upper| upper.staging.is_index_used());
        let Some(index) = used.and_then(|upper| upper.staging.index()) else {
            return Ok(None);
        };
        let fd = self.nodes.dirs.open(&found.dir)?;
        let at = At::new(fd.as_fd(), &found.name);
        let Some(origin) = self.origin_of(at, &found.dir)? else {
            return Ok(None);
        };
        let Some(name) = origin::index_name(&origin) else {
            return Ok(None);
        };
        let entry_at = At::new(index, &name);
        let Some(stat) = self.store.stat(entry_at)? else {
            return Ok(None);
        };
        if stat.kind() != found.stat.kind() {
            return Ok(None);
        }
        let marks = self.read_marks(entry_at)?;
        let entry = known_entry(name, marks.nlink.as_deref(), &stat, Some(found.stat.nlink));
        Ok(Some((entry, stat)))
    }

    /// The index entry of an upper file that records `origin`.
    pub(super) fn find_index_of_upper(
        &self,
        origin: &[u8],
        found: &Found,
        link: &Link,
    ) -> Result<Option<Arc<IndexEntry>>> {
        let index = self.upper.as_ref().and_then(|upper| upper.staging.index());
        let (Some(index), Some(name)) = (index, origin::index_name(origin)) else {
            return Ok(None);
        };
        let entry = self.store.stat(At::new(index, &name))?;
        if entry.is_none_or(|entry| entry.real_id() != found.stat.real_id()) {
            return Ok(None);
        }
        let lower_links = self.links_of_lower(link, origin)?;
        Ok(Some(known_entry(name, found.marks.nlink.as_deref(), &found.stat, lower_links)))
    }

    /// The number of links of the lower file under the same name, if it is the origin.
    fn links_of_lower(&self, link: &Link, origin: &[u8]) -> Result<Option<u32>> {
        Ok(self.origin_of_same_name(link, origin)?.map(|lower| lower.stat.nlink))
    }

    /// The number of the lower file under the same name, if it is the origin: for origins that do not tell by themselves, be
    /// it that two filesystems have the same UUID or that the form of their handles is not known.
    pub(super) fn number_of_same_name(&self, origin: &[u8], link: &Link) -> Result<Option<NodeId>> {
        let lower = self.origin_of_same_name(link, origin)?;
        Ok(lower.and_then(|lower| self.nodes.numbers().of(lower.dir.layer(), &lower.stat)))
    }

    /// The number of the file that an origin's handle opens, when it does so on one of our filesystems only. Root can find out.
    pub(super) fn number_by_handle(&self, origin: &[u8]) -> Option<NodeId> {
        let origin = origin::decode(origin)?;
        let mut numbers: Vec<NodeId> = Vec::new();
        let mut tried: Vec<u64> = Vec::new();
        for root in self.roots.iter() {
            let layer = root.layer();
            let same = self.nodes.numbers().filesystem(layer).is_some_and(|known| known.uuid == origin.uuid);
            if !same || tried.contains(&layer.dev) {
                continue;
            }
            tried.push(layer.dev);
            let opened = self
                .nodes
                .dirs
                .open_for_reading(root)
                .and_then(|mount| self.store.open_handle(mount.as_fd(), origin.kind, origin.bytes))
                .and_then(|file| self.store.stat_fd(file.as_fd()));
            numbers.extend(opened.ok().and_then(|stat| self.nodes.numbers().of(layer, &stat)));
        }
        match numbers[..] {
            [number] => Some(number),
            _ => None,
        }
    }

    fn origin_of_same_name(&self, link: &Link, origin: &[u8]) -> Result<Option<Found>> {
        let Some(lower) = self.shown_by_lowers(&link.parent, &link.name)? else {
            return Ok(None);
        };
        let fd = self.nodes.dirs.open(&lower.dir)?;
        let own = self.origin_of(At::new(fd.as_fd(), &lower.name), &lower.dir)?;
        Ok((own.as_deref() == Some(origin)).then_some(lower))
    }

    /// What the lowerdirs alone would show under a name.
    pub(super) fn shown_by_lowers(&self, parent: &Node, name: &Arc<OsStr>) -> Result<Option<Found>> {
        let Some(stack) = parent.stack().filter(|stack| !stack.lowers.is_empty()) else {
            return Ok(None);
        };
        let known = if stack.lowers.len() < super::lookup::MANY_LOWERS {
            None
        } else {
            self.names_for_lookup(parent, &stack)?
        };
        let among = known.as_ref().map(|snapshot| snapshot.lowers_of(name, &self.order));
        let lowers = DirStack { upper: None, lowers: stack.lowers };
        let located = self.walker().locate_among(&lowers, name, Origins::None, among)?;
        Ok(located.lowers.into_iter().next())
    }

    /// Gives an indexed file a name in the upperdir. The number of links in the union does not change by it, so it is noted
    /// relative to the lower file meanwhile (kernel: `ovl_link_up`).
    pub(super) fn link_from_index(&self, entry: &IndexEntry, lower_links: u32, to: At<'_>) -> Result<()> {
        let at = At::new(self.index_dir()?, &entry.name);
        let stat = self.store.stat(at)?.ok_or(Error::refused(Errno::STALE, "index entry is gone"))?;
        let extra = entry.extra_links.load(Ordering::Relaxed);
        let in_union = i64::from(stat.nlink) + extra;
        entry.noted.store(false, Ordering::Relaxed);
        self.write_links(at, Links::OfLower(clamp(in_union - i64::from(lower_links))))?;
        self.store.link(at, to)?;
        entry.extra_links.store(extra - 1, Ordering::Relaxed);
        // What is noted is right until a link is made or removed, and that notes it first.
        if let Err(error) = self.note_links(entry) {
            log::warn!("number of links of an indexed file: {error}");
        }
        Ok(())
    }

    /// Notes the number of links in the union relative to the upper file's own, so that it goes along with the change of those
    /// that is about to be made (kernel: `ovl_nlink_start`).
    pub(super) fn note_links(&self, entry: &IndexEntry) -> Result<()> {
        if entry.noted.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.write_links_of_upper(At::new(self.index_dir()?, &entry.name), entry)
    }

    /// [`Union::note_links`] on a copy that is not in the index yet.
    pub(super) fn write_links_of_upper(&self, at: At<'_>, entry: &IndexEntry) -> Result<()> {
        self.write_links(at, Links::OfUpper(clamp(entry.extra_links.load(Ordering::Relaxed))))?;
        entry.noted.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write_links(&self, at: At<'_>, links: Links) -> Result<()> {
        self.set_mark(at, Mark::Nlink, links.to_string().as_bytes())
    }

    /// Removes the index entry of a file whose last name in the union is gone.
    pub(super) fn drop_index_entry(&self, node: &Node) -> Result<()> {
        let Some(entry) = node.index_entry() else {
            return Ok(());
        };
        Ok(self.store.unlink(At::new(self.index_dir()?, &entry.name))?)
    }
}

fn known_entry(
    name: OsString,
    mark: Option<&[u8]>,
    upper: &Stat,
    lower_links: Option<u32>,
) -> Arc<IndexEntry> {
    let mark = mark.and_then(Links::parse);
    let extra_links = AtomicI64::new(extra_links(mark, upper, lower_links));
    let noted = AtomicBool::new(matches!(mark, Some(Links::OfUpper(_))));
    Arc::new(IndexEntry { name, extra_links, noted })
}

/// No file has more links than this holds.
fn clamp(links: i64) -> i32 {
    links.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}

/// How many more links a file has in the union than in the upperdir. Without a usable mark, only the index's own link is not one of the
/// union's.
fn extra_links(mark: Option<Links>, upper: &Stat, lower_links: Option<u32>) -> i64 {
    mark.and_then(|mark| mark.beside_upper(upper.nlink, lower_links)).unwrap_or(-1)
}
