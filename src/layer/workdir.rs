//! The work directory: found or made, checked, and made ready for [`Staging`].

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::open::FUSE_MAGIC;
use super::opened::{DIRECTORY, Mountpoint, Opened};
use super::origin;
use super::probe::{self, Format};
use super::staging::{INDEX, Staging, WORK};
use super::store::Store;
use crate::NOTICE;
use crate::config::{Durability, UnionConfig};
use crate::error::SetupError;
use crate::sys::mount::MountId;
use crate::sys::{self, At};
use crate::types::{RealId, Stat};

/// The workdir, given or chosen.
pub(super) struct WorkDir {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    pub(super) id: RealId,
    created: bool,
    /// Whether it was chosen for the user, who may never have heard of it.
    chosen: bool,
}

/// Where an overlay notes in its work directory with which features it was mounted, and one of them.
const INCOMPAT: &str = "incompat";
const VOLATILE: &str = "volatile";

/// The index of an upperdir that another one has taken the place of.
const OLD_INDEX: &str = "index.old";

/// What an automatically made workdir inside the upperdir is called; hidden in the union.
pub const HIDDEN_WORK: &str = ".unionfuse-work";

impl WorkDir {
    pub(super) fn find(config: &UnionConfig, upper_path: &Path, upper: &Opened) -> Result<Self, SetupError> {
        match &config.work {
            Some(path) => Self::given(path, upper_path, upper),
            None => Self::choose(upper_path, upper),
        }
    }

    fn given(path: &Path, upper_path: &Path, upper: &Opened) -> Result<Self, SetupError> {
        let opened = Opened::directory("workdir", path)?;
        if opened.stat.real_id() == upper.stat.real_id() {
            let problem = "is the upperdir itself";
            return Err(SetupError::new(
                "workdir",
                Some(path),
                problem,
                "use another directory on the same filesystem",
            ));
        }
        if opened.stat.dev != upper.stat.dev {
            let problem = format!("on another filesystem than the upperdir '{}'", upper_path.display());
            return Err(SetupError::new(
                "workdir",
                Some(path),
                problem,
                "both must be on the same one: changes are renamed from one to the other",
            ));
        }
        for (inner, outer, problem) in
            [(&opened, upper, "lies inside the upperdir"), (upper, &opened, "contains the upperdir")]
        {
            if lies_inside(inner, outer) {
                return Err(SetupError::new(
                    "workdir",
                    Some(path),
                    problem,
                    "use a directory beside the upperdir",
                ));
            }
        }
        let id = opened.stat.real_id();
        Ok(Self { path: path.to_path_buf(), fd: opened.fd, id, created: false, chosen: false })
    }

    fn choose(upper_path: &Path, upper: &Opened) -> Result<Self, SetupError> {
        let absolute = std::fs::canonicalize(upper_path)
            .map_err(|error| SetupError::new("upperdir", Some(upper_path), error, ""))?;
        let mut candidates = Vec::new();
        if let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) {
            let mut sibling = OsString::from(".");
            sibling.push(name);
            sibling.push(".unionfuse-work");
            candidates.push(parent.join(sibling));
        }
        candidates.push(absolute.join(HIDDEN_WORK));
        let mut last = None::<std::io::Error>;
        for path in candidates {
            match Self::make(&path, upper, MountId::of(&absolute).ok()) {
                Ok(work) => {
                    let target = if work.created { NOTICE } else { module_path!() };
                    log::info!(target: target, "work directory: {}", path.display());
                    return Ok(work);
                }
                Err(error) => last = Some(error),
            }
        }
        let error = last.unwrap_or_else(|| Errno::NOENT.into());
        let remedy = Errno::from_io_error(&error)
            .and_then(remedy_for_writing)
            .unwrap_or("name one on the same filesystem with --work");
        let problem = format!("no work directory can be made: {error}");
        Err(SetupError::new("upperdir", Some(upper_path), problem, remedy))
    }

    /// `mount` is that of the upperdir: what is renamed must stay in one, which its filesystem does not tell (bind mounts).
    fn make(path: &Path, upper: &Opened, mount: Option<MountId>) -> Result<Self, std::io::Error> {
        let created = match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        // Where others may write, what is there already may be a trap: all that lies in a work directory is removed.
        let owners = [upper.stat.uid, rustix::process::geteuid().as_raw()];
        let is_ours = |stat: &Stat| created || (owners.contains(&stat.uid) && stat.mode & 0o022 == 0);
        let is_elsewhere = || mount.is_some_and(|mount| MountId::of(path).is_ok_and(|id| id != mount));
        let work = sys::namei::open_path(path, DIRECTORY | OFlags::NOFOLLOW)
            .and_then(|fd| sys::namei::stat_fd(&fd).map(|stat| (fd, stat)))
            .map_err(|error| std::io::Error::from(error.errno()))
            .and_then(|(fd, stat)| match stat {
                stat if stat.dev != upper.stat.dev || is_elsewhere() => {
                    Err(std::io::Error::from(Errno::XDEV))
                }
                stat if !is_ours(&stat) => Err(std::io::Error::from(Errno::PERM)),
                stat => Ok((fd, stat.real_id())),
            });
        match work {
            Ok((fd, id)) => Ok(Self { path: path.to_path_buf(), fd, id, created, chosen: true }),
            Err(error) => {
                if created {
                    std::fs::remove_dir(path)?;
                }
                Err(error)
            }
        }
    }

    /// What is, or is about to be, made for this mount.
    pub(super) fn made(&self) -> Vec<PathBuf> {
        if self.created {
            return vec![self.path.clone()];
        }
        let inner = [WORK, INDEX].map(|name| self.path.join(name));
        inner.into_iter().filter(|path| path.symlink_metadata().is_err()).collect()
    }

    pub(super) fn set_up(
        self,
        store: &Arc<dyn Store>,
        config: &UnionConfig,
        upper: &Opened,
    ) -> Result<(Format, Staging), SetupError> {
        let made = self.made();
        self.prepare(store, config, upper).inspect_err(|_| {
            for path in made.iter().filter(|path| path.symlink_metadata().is_ok()) {
                if let Err(error) = std::fs::remove_dir_all(path) {
                    log::warn!("cannot remove {} again: {error}", path.display());
                }
            }
        })
    }

    fn prepare(
        self,
        store: &Arc<dyn Store>,
        config: &UnionConfig,
        upper: &Opened,
    ) -> Result<(Format, Staging), SetupError> {
        let fail =
            |error: sys::Error, remedy: &str| SetupError::new("workdir", Some(&self.path), error, remedy);
        self.check_features()?;
        let work = make_dir(&**store, self.fd.as_fd(), WORK)
            .map_err(|error| (remedy_for_writing(error.errno()).unwrap_or_default(), error))
            .map_err(|(remedy, error)| fail(error, remedy))?;
        let (format, mut staging) = self.check(store, config, upper, work)?;
        if config.index && format.has_xattrs() {
            let index = self.open_index(&**store, &format, upper)?;
            staging = staging.with_index(index).map_err(|error| fail(error, ""))?;
        }
        if config.durability == Durability::Volatile {
            mark_volatile(&**store, staging.dir()).map_err(|error| fail(error, ""))?;
        }
        Ok((format, staging))
    }

    /// The index is of use only with the upperdir whose files it names; it says which that is, as the kernel's does
    /// (`ovl_verify_upper`).
    fn open_index(&self, store: &dyn Store, format: &Format, upper: &Opened) -> Result<OwnedFd, SetupError> {
        let fail = |error: sys::Error| SetupError::new("workdir", Some(&self.path), error, "");
        let make = || make_dir(store, self.fd.as_fd(), INDEX).map_err(fail);
        let mut index = make()?;
        let Some((mark, owner)) = owner_mark(store, format, upper, index.as_fd()).map_err(fail)? else {
            return Ok(index);
        };
        let claimed = store.get_xattr(At::this(index.as_fd()), &mark).map_err(fail)?;
        if claimed.as_ref() == Some(&owner) {
            return Ok(index);
        }
        if claimed.is_some() && is_used(store, index.as_fd()).map_err(fail)? {
            self.put_index_aside()?;
            index = make()?;
        }
        store.set_xattr(At::this(index.as_fd()), &mark, &owner, 0).map_err(fail)?;
        Ok(index)
    }

    /// An upperdir that was made anew at the same place is to work without ado, but it may also be the old one, restored.
    fn put_index_aside(&self) -> Result<(), SetupError> {
        let index = self.path.join(INDEX);
        let problem = "its index is that of another upperdir";
        if !self.chosen {
            let remedy =
                format!("name the workdir that was used with this upperdir, or remove '{}'", index.display());
            return Err(SetupError::new("workdir", Some(&self.path), problem, remedy));
        }
        let aside = self.path.join(OLD_INDEX);
        let removed = match std::fs::remove_dir_all(&aside) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
        removed.and_then(|()| std::fs::rename(&index, &aside)).map_err(|error| {
            SetupError::new("workdir", Some(&self.path), format!("{problem}: rename: {error}"), "remove it")
        })?;
        log::warn!("workdir '{}': {problem}; it is kept as '{OLD_INDEX}'", self.path.display());
        Ok(())
    }

    /// What lies in a workdir is removed: nothing must lie there that a union has not made.
    fn check_contents(&self, store: &dyn Store, work: BorrowedFd<'_>) -> Result<(), SetupError> {
        let mut stranger = None;
        let listed = store.read_dir(work, 0, &mut |entry| match is_staged(entry.name) {
            true => ControlFlow::Continue(()),
            false => {
                stranger = Some(entry.name.to_owned());
                ControlFlow::Break(())
            }
        });
        listed.map_err(|error| SetupError::new("workdir", Some(&self.path), error, ""))?;
        let Some(name) = stranger else { return Ok(()) };
        let problem = format!("'{WORK}/{}' in it is not of a union", name.display());
        let remedy = "name an empty directory: what is in a workdir is removed";
        Err(SetupError::new("workdir", Some(&self.path), problem, remedy))
    }

    fn check(
        &self,
        store: &Arc<dyn Store>,
        config: &UnionConfig,
        upper: &Opened,
        work: OwnedFd,
    ) -> Result<(Format, Staging), SetupError> {
        let fail =
            |error: sys::Error, remedy: &str| SetupError::new("workdir", Some(&self.path), error, remedy);
        self.check_contents(&**store, work.as_fd())?;
        let staging = Staging::open(store.clone(), work)
            .map_err(|error| fail(error, "remove what is in its 'work' directory"))?;
        probe::can_rename(&**store, staging.dir(), upper.fd.as_fd())
            .map_err(|error| fail(error, "upperdir and workdir must be reached through the same mount"))?;
        let format = Format::probe(&**store, staging.dir(), config.xattr_namespace)
            .map_err(|error| fail(error, "the filesystem must take whiteouts"))?;
        if format.rename_flags {
            return Ok((format, staging));
        }
        let problem = "its filesystem lacks RENAME_EXCHANGE and RENAME_WHITEOUT";
        let remedy = "use a local filesystem such as ext4, xfs, btrfs or tmpfs";
        Err(SetupError::new("upperdir", config.upper.as_deref(), problem, remedy))
    }

    /// A volatile mount that did not end in peace may have lost data the application believed safe
    /// (Documentation/filesystems/overlayfs.rst, "Volatile mount"). Of other features of overlays nobody knows what they mean.
    fn check_features(&self) -> Result<(), SetupError> {
        let features = self.path.join(WORK).join(INCOMPAT);
        let Some(feature) = std::fs::read_dir(&features).ok().and_then(|mut all| all.next()) else {
            return Ok(());
        };
        let refused = |problem: String, remedy: String| {
            Err(SetupError::new("workdir", Some(&self.path), problem, remedy))
        };
        let name = feature.map(|feature| feature.file_name()).unwrap_or_default();
        let marker = features.join(&name);
        if name == VOLATILE {
            return refused(
                "was last used by a volatile mount, so data may be lost".to_owned(),
                format!("check the upperdir, then remove '{}' to mount it all the same", marker.display()),
            );
        }
        refused(
            format!("was last used by an overlay with '{}', which unionfuse does not know", name.display()),
            "use another workdir, if that overlay has no more use for the upperdir".to_owned(),
        )
    }
}

fn remedy_for_writing(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ACCESS | Errno::PERM => Some("it must be writable for the user that runs unionfuse"),
        Errno::ROFS => Some("its filesystem is mounted read-only; use one that can be written to"),
        Errno::NOSPC | Errno::DQUOT => Some("its filesystem is full; make room, or use another one"),
        _ => None,
    }
}

/// The attribute that says to which upperdir an index belongs, and its value; `None` where that cannot be said.
fn owner_mark(
    store: &dyn Store,
    format: &Format,
    upper: &Opened,
    index: BorrowedFd<'_>,
) -> sys::Result<Option<(OsString, Vec<u8>)>> {
    // Its handles are the numbers of a daemon, which another run of it may give to other files.
    if sys::file::fs_magic(index)? == FUSE_MAGIC {
        return Ok(None);
    }
    let uuid = sys::handle::fs_uuid(index);
    // The kernel would take a mark without the UUID, which it knows, for that of another filesystem.
    let name = if uuid.is_some() { "upper" } else { "unionfuse.upper" };
    let handle = store.handle(At::this(upper.fd.as_fd()))?;
    let owner = handle.and_then(|handle| origin::encode_upper(&handle, &uuid.unwrap_or_default()));
    Ok(format.mark(name).zip(owner))
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

/// Whether an overlay may have left this in its work directory: the kernel's and ours number what they prepare after a `#`,
/// fuse-overlayfs just numbers it.
fn is_staged(name: &OsStr) -> bool {
    match name.as_bytes() {
        b"." | b".." | [b'#', ..] => true,
        name => name == INCOMPAT.as_bytes() || name.iter().all(u8::is_ascii_digit),
    }
}

fn make_dir(store: &dyn Store, parent: BorrowedFd<'_>, name: &str) -> sys::Result<OwnedFd> {
    let at = At::new(parent, OsStr::from_bytes(name.as_bytes()));
    match store.mkdir(at, 0o700) {
        Err(error) if error.errno() != Errno::EXIST => return Err(error),
        _ => {}
    }
    store.open(at, OFlags::RDONLY | OFlags::DIRECTORY, 0)
}

fn mark_volatile(store: &dyn Store, work: BorrowedFd<'_>) -> sys::Result<()> {
    let incompat = make_dir(store, work, INCOMPAT)?;
    make_dir(store, incompat.as_fd(), VOLATILE).map(drop)
}

fn lies_inside(inner: &Opened, outer: &Opened) -> bool {
    let mut at = Mountpoint::parent_of(inner.fd.as_fd());
    let mut last = inner.stat.real_id();
    while let Some((fd, stat)) = at {
        if stat.real_id() == outer.stat.real_id() {
            return true;
        }
        if stat.real_id() == last {
            return false;
        }
        last = stat.real_id();
        at = Mountpoint::parent_of(fd.as_fd());
    }
    false
}
