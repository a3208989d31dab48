//! An upperdir that is only looked at, while another union may be changing it: nothing is locked, nothing is made.

use std::ffi::OsStr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::marker::MARK_PREFIXES;
use super::open::WorkPlace;
use super::opened::{DIRECTORY, Opened};
use super::probe::Format;
use super::staging::{INDEX, Staging};
use super::store::Store;
use super::{work_index, workdir};
use crate::config::UnionConfig;
use crate::sys::{self, At};
use crate::types::RealId;

pub(super) fn open(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    upper_path: &Path,
    upper: &Opened,
) -> WorkPlace {
    let (work, index) = find_work(&**store, config, upper_path, upper).unzip();
    let staging = Staging::read_only(store.clone(), index.flatten());
    WorkPlace { staging, format: Format::unwritten(), made: Vec::new(), work, claim: None }
}

/// The workdir of the union that writes, and its index: the names of a hard link are told by it.
fn find_work(
    store: &dyn Store,
    config: &UnionConfig,
    upper_path: &Path,
    upper: &Opened,
) -> Option<(RealId, Option<OwnedFd>)> {
    let candidates = workdir::candidates(config, upper_path).unwrap_or_default();
    candidates.iter().find_map(|candidate| {
        let work = sys::namei::open_path(&candidate.path, DIRECTORY).ok()?;
        let id = sys::namei::stat_fd(&work).ok()?.real_id();
        let index =
            store.open(At::new(work.as_fd(), OsStr::new(INDEX)), OFlags::RDONLY | OFlags::DIRECTORY, 0);
        let index = index.ok().filter(|index| config.index && is_of(store, index, upper));
        Some((id, index))
    })
}

/// Whether an index is not known to be that of another upperdir.
fn is_of(store: &dyn Store, index: &OwnedFd, upper: &Opened) -> bool {
    MARK_PREFIXES.iter().all(|prefix| {
        let Ok(Some((mark, owner))) = work_index::owner_mark(store, prefix, upper, index.as_fd()) else {
            return true;
        };
        let claimed = store.get_xattr(At::this(index.as_fd()), &mark).ok().flatten();
        claimed.is_none_or(|claimed| claimed == owner)
    })
}
