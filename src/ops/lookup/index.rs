//! Files that the index of copied-up hard links stands for.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64};

use crate::error::Result;
use crate::format::nlink::Links;
use crate::format::origin;
use crate::namespace::node::{IndexEntry, Link};
use crate::namespace::walk::Found;
use crate::ops::lookup::Lookup;
use crate::sys::At;
use crate::types::Stat;

impl Lookup {
    /// The index entry of a lower file and what its copy is, when it has been copied up under another name.
    pub(in crate::ops) fn find_index_of_lower(
        &self,
        found: &Found,
    ) -> Result<Option<(Arc<IndexEntry>, Stat)>> {
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
    pub(in crate::ops) fn find_index_of_upper(
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

/// How many more links a file has in the union than in the upperdir. Without a usable mark, only the index's own link is not one of the
/// union's.
fn extra_links(mark: Option<Links>, upper: &Stat, lower_links: Option<u32>) -> i64 {
    mark.and_then(|mark| mark.beside_upper(upper.nlink, lower_links)).unwrap_or(-1)
}
