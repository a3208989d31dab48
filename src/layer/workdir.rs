//! The work directory: found or made, checked, and made ready for [`Staging`].

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::made::{self, Made};
use super::mode_record;
use super::opened::{DIRECTORY, Mountpoint, Opened};
use super::probe::{self, Format};
use super::staging::{INDEX, Staging, WORK, Workplace};
use super::store::{Store, names_in};
use super::work_index;
use crate::NOTICE;
use crate::config::{Durability, UnionConfig};
use crate::error::SetupError;
use crate::sys::mount::MountId;
use crate::sys::{self, At};
use crate::types::{RealId, Stat};

/// A place for the workdir, given or chosen.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    pub(super) path: PathBuf,
    /// Whether it was chosen for the user, who may never have heard of it.
    chosen: bool,
}

/// The workdir.
pub(super) struct WorkDir {
    pub(super) path: PathBuf,
    pub(super) fd: OwnedFd,
    pub(super) id: RealId,
    created: Option<Made>,
    /// Whether it was chosen for the user.
    pub(super) chosen: bool,
}

/// Why a place does not do.
#[derive(Debug)]
pub(super) enum Unfit {
    /// Another one may.
    Here(SetupError),
    /// There is no room; nothing else is known to be wrong with it.
    Full(SetupError),
    /// No other one is to be tried.
    Refused(SetupError),
}

impl Unfit {
    pub(super) fn into_error(self) -> SetupError {
        match self {
            Self::Here(error) | Self::Full(error) | Self::Refused(error) => error,
        }
    }
}

/// Where an overlay notes in its work directory with which features it was mounted, and one of them.
const INCOMPAT: &str = "incompat";
const VOLATILE: &str = "volatile";

/// What an automatically made workdir inside the upperdir is called; hidden in the union.
pub const HIDDEN_WORK: &str = ".unionfuse-work";

/// Where the workdir may be: where the configuration says, or beside the upperdir, or in it.
pub(super) fn candidates(config: &UnionConfig, upper: &Path) -> Result<Vec<Candidate>, SetupError> {
    if let Some(path) = &config.work {
        return Ok(vec![Candidate { path: path.clone(), chosen: false }]);
    }
    let absolute =
        std::fs::canonicalize(upper).map_err(|error| SetupError::new("upperdir", Some(upper), error, ""))?;
    let mut candidates = Vec::new();
    if let (Some(parent), Some(name)) = (absolute.parent(), absolute.file_name()) {
        let mut sibling = OsString::from(".");
        sibling.push(name);
        sibling.push(".unionfuse-work");
        candidates.push(Candidate { path: parent.join(sibling), chosen: true });
    }
    candidates.push(Candidate { path: absolute.join(HIDDEN_WORK), chosen: true });
    Ok(candidates)
}

impl Candidate {
    /// Opens it, and makes it if it was chosen.
    pub(super) fn open(
        &self,
        store: &dyn Store,
        upper_path: &Path,
        upper: &Opened,
    ) -> Result<WorkDir, Unfit> {
        if !self.chosen {
            return WorkDir::given(&self.path, upper_path, upper).map_err(Unfit::Refused);
        }
        let mount = MountId::of_descriptor(upper.fd.as_fd()).ok();
        let work = WorkDir::make(store, &self.path, upper, mount).map_err(|error| {
            let errno = error.errno();
            let remedy = remedy_for_writing(errno).unwrap_or("name one on the same filesystem with --work");
            let problem = format!("no work directory can be made: {error}");
            let unfit = if probe::is_full(errno) { Unfit::Full } else { Unfit::Here };
            unfit(SetupError::new("upperdir", Some(upper_path), problem, remedy))
        })?;
        let target = if work.created.is_some() { NOTICE } else { module_path!() };
        log::info!(target: target, "work directory: {}", self.path.display());
        Ok(work)
    }
}

impl WorkDir {
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
        Ok(Self { path: path.to_path_buf(), fd: opened.fd, id, created: None, chosen: false })
    }

    /// `mount` is that of the upperdir: what is renamed must stay in one, which its filesystem does not tell (bind mounts).
    fn make(store: &dyn Store, path: &Path, upper: &Opened, mount: Option<MountId>) -> sys::Result<Self> {
        let (parent, name) = made::parent_of(path)?;
        let at = At::new(parent.as_fd(), &name);
        let created = match store.mkdir(at, 0o700) {
            Ok(()) => true,
            Err(error) if error.errno() == Errno::EXIST => false,
            Err(error) => return Err(error),
        };
        // Where others may write, what is there already may be a trap: all that lies in a work directory is removed.
        let owners = [upper.stat.uid, rustix::process::geteuid().as_raw()];
        let is_ours = |stat: &Stat| created || (owners.contains(&stat.uid) && stat.mode & 0o022 == 0);
        let is_elsewhere = |fd: &OwnedFd| {
            mount.is_some_and(|mount| MountId::of_descriptor(fd.as_fd()).is_ok_and(|id| id != mount))
        };
        let work = store.open(at, DIRECTORY, 0).and_then(|fd| {
            let stat = store.stat_fd(fd.as_fd())?;
            if stat.dev != upper.stat.dev || is_elsewhere(&fd) {
                return Err(sys::Error::new("openat", Errno::XDEV));
            }
            if !is_ours(&stat) {
                return Err(sys::Error::new("openat", Errno::PERM));
            }
            Ok((fd, stat.real_id()))
        });
        match work {
            Ok((fd, id)) => {
                let created = created.then(|| Made::new(parent, name));
                Ok(Self { path: path.to_path_buf(), fd, id, created, chosen: true })
            }
            Err(error) => {
                if created {
                    store.rmdir(at)?;
                }
                Err(error)
            }
        }
    }

    /// What is about to be made in it.
    fn unmade(&self, store: &dyn Store) -> Vec<Made> {
        let is_absent = |name: &&str| {
            store.stat(At::new(self.fd.as_fd(), OsStr::new(name))).is_ok_and(|stat| stat.is_none())
        };
        let absent = [WORK, INDEX].into_iter().filter(is_absent);
        absent.filter_map(|name| Some(Made::new(self.fd.try_clone().ok()?, name))).collect()
    }

    /// Takes back what was made to open it.
    pub(super) fn undo_made(&self, store: &dyn Store) {
        self.created.iter().for_each(|made| made.undo(store));
    }

    /// Makes it ready; nothing is left made in it after an error.
    pub(super) fn set_up(
        self,
        store: &Arc<dyn Store>,
        config: &UnionConfig,
        upper: &Opened,
    ) -> Result<(Format, Staging, Vec<Made>), Unfit> {
        let unmade = if self.created.is_some() { Vec::new() } else { self.unmade(&**store) };
        let prepared = self.prepare(store, config, upper);
        let made: Vec<Made> = self.created.into_iter().chain(unmade).collect();
        let (format, staging) = prepared.inspect_err(|_| made.iter().for_each(|made| made.undo(&**store)))?;
        Ok((format, staging, made))
    }

    fn prepare(
        &self,
        store: &Arc<dyn Store>,
        config: &UnionConfig,
        upper: &Opened,
    ) -> Result<(Format, Staging), Unfit> {
        let work = make_dir(&**store, self.fd.as_fd(), WORK).map_err(|error| self.unfit(error))?;
        self.check_features(&**store, work.as_fd()).map_err(Unfit::Refused)?;
        let (format, mut staging) = self.check(store, config, upper, work)?;
        if config.index && format.has_xattrs() {
            let index = work_index::open(self, &**store, &format, upper)?;
            staging = staging.with_index(index).map_err(|error| self.unfit(error))?;
        }
        if config.durability == Durability::Volatile {
            // Without the mark, a mount after a crash would not know that data may be lost.
            let marked = staging.dir().and_then(|dir| mark_volatile(&**store, dir));
            marked.map_err(|error| Unfit::Refused(self.unfit(error).into_error()))?;
        }
        Ok((format, staging))
    }

    pub(super) fn unfit(&self, error: sys::Error) -> Unfit {
        let errno = error.errno();
        let remedy = remedy_for_writing(errno).unwrap_or_default();
        let unfit = match errno {
            full if probe::is_full(full) => Unfit::Full,
            _ if self.chosen => Unfit::Here,
            _ => Unfit::Refused,
        };
        unfit(SetupError::new("workdir", Some(&self.path), error, remedy))
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
    ) -> Result<(Format, Staging), Unfit> {
        self.check_contents(&**store, work.as_fd()).map_err(Unfit::Refused)?;
        if let Err(error) = mode_record::put_back(&**store, work.as_fd(), upper.fd.as_fd()) {
            log::warn!("work directory: records of modes: {error}");
        }
        let staging = Staging::open(store.clone(), work).map_err(|error| match error.errno() {
            Errno::NOTEMPTY | Errno::EXIST | Errno::BUSY => {
                let remedy = "remove what is in its 'work' directory";
                Unfit::Refused(SetupError::new("workdir", Some(&self.path), error, remedy))
            }
            _ => self.unfit(error),
        })?;
        let lacks = |what: &str| {
            let problem = format!("its filesystem lacks {what}");
            let remedy = "use a local filesystem such as ext4, xfs, btrfs or tmpfs";
            Unfit::Refused(SetupError::new("upperdir", config.upper.as_deref(), problem, remedy))
        };
        probe::can_rename(&**store, &staging, upper.fd.as_fd()).map_err(|error| match error.errno() {
            Errno::XDEV => self.is_apart(config, error),
            Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS => lacks("RENAME_NOREPLACE"),
            _ => self.unfit(error),
        })?;
        let format = Format::probe(&**store, &staging, config.xattr_namespace).map_err(|error| {
            let remedy = remedy_for_writing(error.errno()).unwrap_or("the filesystem must take whiteouts");
            Unfit::Refused(SetupError::new("workdir", Some(&self.path), error, remedy))
        })?;
        match format.lacks {
            None => Ok((format, staging)),
            Some(what) => Err(lacks(what)),
        }
    }

    /// Nothing can be renamed from here into the upperdir.
    fn is_apart(&self, config: &UnionConfig, error: sys::Error) -> Unfit {
        let mount_of = |path: &Path| path.canonicalize().and_then(|path| MountId::of(&path)).ok();
        let mounts = (config.upper.as_deref().and_then(mount_of), mount_of(&self.path));
        if mounts.0 != mounts.1 {
            let remedy = "upperdir and workdir must be reached through the same mount";
            return Unfit::Refused(SetupError::new("workdir", Some(&self.path), error, remedy));
        }
        let problem = format!(
            "{error}: the upperdir has a project or an encryption policy of its own, so nothing can be renamed into it from outside"
        );
        let remedy = "do without workdir: one is made inside the upperdir then";
        let unfit = if self.chosen { Unfit::Here } else { Unfit::Refused };
        unfit(SetupError::new("workdir", Some(&self.path), problem, remedy))
    }

    /// A volatile mount that did not end in peace may have lost data the application believed safe
    /// (Documentation/filesystems/overlayfs.rst, "Volatile mount"). Of other features of overlays nobody knows what they mean.
    fn check_features(&self, store: &dyn Store, work: BorrowedFd<'_>) -> Result<(), SetupError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY;
        let features = store
            .open(At::new(work, OsStr::new(INCOMPAT)), flags, 0)
            .and_then(|features| names_in(store, features.as_fd()));
        let names = match features {
            Err(error) if error.errno() == Errno::NOENT => return Ok(()),
            other => other.map_err(|error| SetupError::new("workdir", Some(&self.path), error, ""))?,
        };
        let Some(name) = names.into_iter().next() else { return Ok(()) };
        let refused = |problem: String, remedy: String| {
            Err(SetupError::new("workdir", Some(&self.path), problem, remedy))
        };
        let marker = self.path.join(WORK).join(INCOMPAT).join(&name);
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

/// Makes the workdir of a union that is in use already.
///
/// # Errors
/// `ENOSPC`, `EDQUOT` while there is no room; the reason of anything else is in the log.
pub(super) fn make_later(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    upper_path: &Path,
    upper: &Opened,
) -> sys::Result<Workplace> {
    let mut errno = Errno::IO;
    for candidate in candidates(config, upper_path).unwrap_or_default() {
        let made =
            candidate.open(&**store, upper_path, upper).and_then(|work| work.set_up(store, config, upper));
        match made {
            Ok((_, staging, _)) => {
                return staging.into_workplace().ok_or(sys::Error::new("mkdirat", Errno::IO));
            }
            Err(unfit) => {
                if matches!(unfit, Unfit::Full(_)) {
                    errno = Errno::NOSPC;
                }
                log::info!("{}", unfit.into_error());
            }
        }
    }
    Err(sys::Error::new("mkdirat", errno))
}

fn remedy_for_writing(errno: Errno) -> Option<&'static str> {
    match errno {
        Errno::ACCESS | Errno::PERM => Some("it must be writable for the user that runs unionfuse"),
        Errno::ROFS => {
            Some("its filesystem is mounted read-only; use one that can be written to, or mount with '-o ro'")
        }
        Errno::NOSPC | Errno::DQUOT => Some("its filesystem is full; make room, or use another one"),
        _ => None,
    }
}

/// Whether an overlay may have left this in its work directory: the kernel's and ours number what they prepare after a `#`,
/// fuse-overlayfs just numbers it.
fn is_staged(name: &OsStr) -> bool {
    match name.as_bytes() {
        b"." | b".." | [b'#', ..] => true,
        name => name == INCOMPAT.as_bytes() || name.iter().all(u8::is_ascii_digit),
    }
}

pub(super) fn make_dir(store: &dyn Store, parent: BorrowedFd<'_>, name: &str) -> sys::Result<OwnedFd> {
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
