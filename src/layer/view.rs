//! An upperdir that is only looked at, while another union may be changing it: nothing is locked, nothing is made.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;

use rustix::fs::OFlags;

use super::open::WorkPlace;
use super::opened::{DIRECTORY, Opened};
use super::probe::Format;
use super::staging::{INDEX, Staging};
use super::store::Store;
use super::{work_index, workdir};
use crate::config::UnionConfig;
use crate::format::namespace::MarkNamespace;
use crate::sys::{self, At};
use crate::types::RealId;

pub(super) fn open(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    upper_path: &Path,
    upper: &Opened,
) -> WorkPlace {
    let Known { work, index, namespace } = find_work(&**store, config, upper_path, upper).unwrap_or_default();
    let staging = Staging::read_only(store.clone(), index.filter(|_| config.index));
    let format = Format::unwritten(namespace);
    WorkPlace { staging, format, made: Vec::new(), work, claim: None }
}

/// What the workdir tells of the union that writes.
#[derive(Default)]
struct Known {
    work: Option<RealId>,
    /// The names of a hard link are told by it.
    index: Option<OwnedFd>,
    /// Where its marks are.
    namespace: Option<MarkNamespace>,
}

fn find_work(store: &dyn Store, config: &UnionConfig, upper_path: &Path, upper: &Opened) -> Option<Known> {
    let candidates = workdir::candidates(config, upper_path).unwrap_or_default();
    candidates.iter().find_map(|candidate| {
        let work = sys::namei::open_path(&candidate.path, DIRECTORY).ok()?;
        let id = sys::namei::stat_fd(&work).ok()?.real_id();
        let index =
            store.open(At::new(work.as_fd(), OsStr::new(INDEX)), OFlags::RDONLY | OFlags::DIRECTORY, 0);
        let known = |index: OwnedFd| {
            let (is_anothers, namespace) = owner_of(store, index.as_fd(), upper);
            Known { work: Some(id), index: Some(index).filter(|_| !is_anothers), namespace }
        };
        Some(index.map_or(Known { work: Some(id), ..Known::default() }, known))
    })
}

/// Whether an index is known to be that of another upperdir, and where it says whose it is: there its union has its marks.
fn owner_of(store: &dyn Store, index: BorrowedFd<'_>, upper: &Opened) -> (bool, Option<MarkNamespace>) {
    let claims = [MarkNamespace::Trusted, MarkNamespace::User].into_iter().filter_map(|namespace| {
        let (mark, owner) = work_index::owner_mark(store, namespace, upper, index).ok()??;
        let claimed = store.get_xattr(At::this(index), &mark).ok()??;
        Some((namespace, claimed == owner))
    });
    let claims: Vec<_> = claims.collect();
    let own = claims.iter().find(|(_, is_own)| *is_own).map(|(namespace, _)| *namespace);
    (own.is_none() && !claims.is_empty(), own)
}
