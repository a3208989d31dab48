//! The index of a workdir: opened, and known by its upperdir.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::RenameFlags;

use super::made;
use super::open::FUSE_MAGIC;
use super::opened::Opened;
use super::probe::Format;
use super::staging::INDEX;
use super::store::Store;
use super::workdir::{Unfit, WorkDir, make_dir};
use crate::error::SetupError;
use crate::format::marks::Mark;
use crate::format::namespace::MarkNamespace;
use crate::format::origin;
use crate::sys::{self, At};

/// The index of an upperdir that another one has taken the place of.
const OLD_INDEX: &str = "index.old";

/// The index is of use only with the upperdir whose files it names; it says which that is, as the kernel's does
/// (`ovl_verify_upper`).
pub(super) fn open(
    workdir: &WorkDir,
    store: &dyn Store,
    format: &Format,
    upper: &Opened,
) -> Result<OwnedFd, Unfit> {
    let unfit = |error: sys::Error| workdir.unfit(error);
    let make = || make_dir(store, workdir.fd.as_fd(), INDEX).map_err(unfit);
    let mut index = make()?;
    let Some(namespace) = format.namespace else { return Ok(index) };
    let Some((mark, owner)) = owner_mark(store, namespace, upper, index.as_fd()).map_err(unfit)? else {
        return Ok(index);
    };
    let claimed = store.get_xattr(At::this(index.as_fd()), &mark).map_err(unfit)?;
    if claimed.as_ref() == Some(&owner) {
        return Ok(index);
    }
    if claimed.is_some() && is_used(store, index.as_fd()).map_err(unfit)? {
        put_aside(store, workdir).map_err(Unfit::Refused)?;
        index = make()?;
    }
    store.set_xattr(At::this(index.as_fd()), &mark, &owner, 0).map_err(unfit)?;
    Ok(index)
}

/// An upperdir that was made anew at the same place is to work without ado, but it may also be the old one, restored.
fn put_aside(store: &dyn Store, workdir: &WorkDir) -> Result<(), SetupError> {
    let problem = "its index is that of another upperdir";
    if !workdir.chosen {
        let remedy = format!("name the workdir that was used with this upperdir, or remove '{INDEX}' in it");
        return Err(SetupError::new("workdir", Some(&workdir.path), problem, remedy));
    }
    let [index, aside] = [INDEX, OLD_INDEX].map(|name| At::new(workdir.fd.as_fd(), OsStr::new(name)));
    let removed = made::remove_tree(store, aside);
    removed.and_then(|()| store.rename(index, aside, RenameFlags::NOREPLACE)).map_err(|error| {
        SetupError::new("workdir", Some(&workdir.path), format!("{problem}: rename: {error}"), "remove it")
    })?;
    log::warn!("workdir '{}': {problem}; it is kept as '{OLD_INDEX}'", workdir.path.display());
    Ok(())
}

/// The attribute that says to which upperdir an index belongs, and its value; `None` where that cannot be said.
pub(super) fn owner_mark(
    store: &dyn Store,
    namespace: MarkNamespace,
    upper: &Opened,
    index: BorrowedFd<'_>,
) -> sys::Result<Option<(OsString, Vec<u8>)>> {
    // Its handles are the numbers of a daemon, which another run of it may give to other files.
    if sys::file::fs_magic(index)? == FUSE_MAGIC {
        return Ok(None);
    }
    let uuid = sys::handle::fs_uuid(index);
    // The kernel would take a mark without the UUID, which it knows, for that of another filesystem.
    let mark = if uuid.is_some() { Mark::Upper } else { Mark::UpperWithoutUuid };
    let handle = store.handle(At::this(upper.fd.as_fd()))?;
    let owner = handle.and_then(|handle| origin::encode_upper(&handle, &uuid.unwrap_or_default()));
    Ok(owner.map(|owner| (namespace.attribute(mark), owner)))
}

/// Whether a directory has entries.
fn is_used(store: &dyn Store, dir: BorrowedFd<'_>) -> sys::Result<bool> {
    let mut used = false;
    store.read_dir(dir, 0, &mut |entry| match entry.name.as_bytes() {
        b"." | b".." => ControlFlow::Continue(()),
        _ => {
            used = true;
            ControlFlow::Break(())
        }
    })?;
    Ok(used)
}
