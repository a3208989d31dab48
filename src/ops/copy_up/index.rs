//! The index: copied-up hard links, found again by the identity of the lower file (kernel: `index=on`).

use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::marks::Mark;
use crate::format::nlink::Links;
use crate::format::origin;
use crate::namespace::node::{IndexEntry, Node};
use crate::ops::copy_up::CopyUp;
use crate::sys::At;

impl CopyUp {
    pub(in crate::ops) fn index_dir(&self) -> Result<BorrowedFd<'_>> {
        self.upper()?.staging.index().ok_or(Error::refused(Errno::STALE, "no index directory"))
    }

    /// A new entry for a lower file with `links` names; `None` where no index is kept.
    pub(in crate::ops) fn index_entry(&self, origin: &[u8], links: u32) -> Option<Arc<IndexEntry>> {
        self.upper.as_ref()?.staging.index()?;
        let name = origin::index_name(origin)?;
        // In the index the copy has one name.
        Some(Arc::new(IndexEntry {
            name,
            extra_links: AtomicI64::new(i64::from(links) - 1),
            noted: AtomicBool::new(false),
        }))
    }

    /// Gives an indexed file a name in the upperdir. The number of links in the union does not change by it, so it is noted
    /// relative to the lower file meanwhile (kernel: `ovl_link_up`).
    pub(in crate::ops) fn link_from_index(
        &self,
        entry: &IndexEntry,
        lower_links: u32,
        to: At<'_>,
    ) -> Result<()> {
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
    pub(in crate::ops) fn note_links(&self, entry: &IndexEntry) -> Result<()> {
        if entry.noted.load(Ordering::Relaxed) {
            return Ok(());
        }
        self.write_links_of_upper(At::new(self.index_dir()?, &entry.name), entry)
    }

    /// [`CopyUp::note_links`] on a copy that is not in the index yet.
    pub(in crate::ops) fn write_links_of_upper(&self, at: At<'_>, entry: &IndexEntry) -> Result<()> {
        self.write_links(at, Links::OfUpper(clamp(entry.extra_links.load(Ordering::Relaxed))))?;
        entry.noted.store(true, Ordering::Relaxed);
        Ok(())
    }

    fn write_links(&self, at: At<'_>, links: Links) -> Result<()> {
        self.set_mark(at, Mark::Nlink, links.to_string().as_bytes())
    }

    /// Removes the index entry of a file whose last name in the union is gone.
    pub(in crate::ops) fn drop_index_entry(&self, node: &Node) -> Result<()> {
        let Some(entry) = node.index_entry() else {
            return Ok(());
        };
        Ok(self.store.unlink(At::new(self.index_dir()?, &entry.name))?)
    }
}

/// No file has more links than this holds.
fn clamp(links: i64) -> i32 {
    links.clamp(i32::MIN.into(), i32::MAX.into()) as i32
}
