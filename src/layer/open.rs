//! Opening the layers of a union: every check is made, with a message that helps, before anything is created.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::Mutex;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::claim::{Claim, Stage};
use super::dir::RealDir;
use super::made::Made;
use super::opened::{DIRECTORY, Mountpoint, Opened};
use super::probe::Format;
use super::stack::{self, Covered, Filesystem, LayerInfo, Offsets, Stack, Upper};
use super::staging::Staging;
use super::store::Store;
use super::view;
use super::workdir::{self, Unfit, WorkDir};
use crate::config::{Durability, UnionConfig};
use crate::error::SetupError;
use crate::format::origin::{self, HandleDecoder};
use crate::sys::{self, At};
use crate::types::RealId;

/// `FUSE_SUPER_MAGIC` (linux/magic.h).
pub(super) const FUSE_MAGIC: u64 = 0x6573_5546;

/// Opens all layers. `mountpoint` is where the union will be mounted, if it will be.
///
/// # Errors
/// Names the option, the path and the remedy; nothing is left created then.
pub fn stack(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    mountpoint: Option<&sys::mount::Mountpoint>,
) -> Result<Stack, SetupError> {
    let mountpoint = mountpoint.map(Mountpoint::of).transpose()?;
    let mut filesystems = Vec::new();
    let mut lower_dirs = Vec::with_capacity(config.lowers.len());
    for path in &config.lowers {
        lower_dirs.push((path, Opened::directory("lowerdir", path)?));
    }
    if lower_dirs.is_empty() {
        return Err(SetupError::new(
            "lowerdir",
            None,
            "missing",
            "name at least one directory, e.g. --lower /a:/b",
        ));
    }
    let upper = match &config.upper {
        Some(path) => {
            let opened = Opened::directory("upperdir", path)?;
            let same = lower_dirs.iter().find(|(_, lower)| lower.stat.real_id() == opened.stat.real_id());
            if let Some((lower, _)) = same {
                let problem = format!("is also the lowerdir '{}'", lower.display());
                return Err(SetupError::new(
                    "upperdir",
                    Some(path),
                    problem,
                    "use another, empty directory for changes",
                ));
            }
            let lowers = &lower_dirs;
            Some(open_upper(store, config, (path, opened), lowers, mountpoint.as_ref(), &mut filesystems)?)
        }
        None if config.work.is_some() => {
            return Err(SetupError::new(
                "workdir",
                config.work.as_deref(),
                "given without an upperdir",
                "add an upperdir, or drop workdir for a read-only union",
            ));
        }
        None => None,
    };
    let mut lowers = Vec::with_capacity(lower_dirs.len());
    for (position, (path, opened)) in lower_dirs.into_iter().enumerate() {
        let index = u16::try_from(position + 1).map_err(|_| {
            SetupError::new("lowerdir", Some(path), "too many lowerdirs", "use at most 65534")
        })?;
        lowers.push(open_lower(index, path, opened, mountpoint.as_ref(), &mut filesystems));
    }
    let written = upper.as_ref().and_then(|upper| upper.format.namespace);
    let marks = written.unwrap_or_else(|| super::marker::namespace_of_reader(config.xattr_namespace));
    Ok(Stack { upper, lowers: lowers.into(), filesystems, marks })
}

fn layer_info(
    index: u16,
    path: &Path,
    opened: &Opened,
    mountpoint: Option<Covered>,
    filesystem: u16,
    no_atime: bool,
) -> Arc<LayerInfo> {
    let magic = sys::file::fs_magic(opened.fd.as_fd()).unwrap_or(0);
    Arc::new(LayerInfo {
        index,
        path: path.to_path_buf(),
        dev: opened.stat.dev,
        filesystem,
        mountpoint,
        offsets: Offsets::of(magic),
        served: stack::is_served(magic),
        keeps_numbers: stack::keeps_numbers(magic),
        no_atime: AtomicBool::new(no_atime),
        given_up: AtomicBool::new(false),
    })
}

fn open_lower(
    index: u16,
    path: &Path,
    opened: Opened,
    mountpoint: Option<&Mountpoint>,
    filesystems: &mut Vec<Filesystem>,
) -> Arc<RealDir> {
    let filesystem = register_filesystem(filesystems, &opened);
    // A private copy shows what lies under other mounts, as the kernel's overlayfs does, and can never lead into ourselves.
    let private = sys::ioctl::clone_tree(opened.fd.as_fd());
    let covered = match &private {
        Ok(_) => None,
        Err(error) => {
            log::debug!("lowerdir {}: used as it is mounted: {error}", path.display());
            mountpoint.and_then(|mountpoint| mountpoint.covers(&opened.stat))
        }
    };
    let info = layer_info(index, path, &opened, covered, filesystem, true);
    RealDir::held(info, opened.stat.ino, Arc::new(private.unwrap_or(opened.fd)))
}

fn register_filesystem(filesystems: &mut Vec<Filesystem>, opened: &Opened) -> u16 {
    let position = filesystems.iter().position(|known| known.dev == opened.stat.dev).unwrap_or_else(|| {
        // Handles of a FUSE filesystem are its daemon's node numbers, which another run of it may give to other files.
        let lasting = sys::file::fs_magic(opened.fd.as_fd()).is_ok_and(|magic| magic != FUSE_MAGIC);
        let handle = sys::handle::of(At::this(opened.fd.as_fd())).ok().flatten().filter(|_| lasting);
        let decoder = handle.as_ref().and_then(|handle| HandleDecoder::calibrate(handle, opened.stat.ino));
        let readable = sys::namei::open(
            At::new(opened.fd.as_fd(), OsStr::new(".")),
            OFlags::RDONLY | OFlags::DIRECTORY,
            0,
        );
        let uuid = readable.ok().and_then(|fd| sys::handle::fs_uuid(fd.as_fd())).unwrap_or_default();
        let subvolume = handle.as_ref().and_then(|handle| origin::subvolume(handle.kind, &handle.bytes));
        let handles = handle.is_some();
        filesystems.push(Filesystem { dev: opened.stat.dev, uuid, decoder, handles, subvolume });
        filesystems.len() - 1
    });
    u16::try_from(position).unwrap_or(u16::MAX)
}

fn open_upper(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    (path, opened): (&Path, Opened),
    lowers: &[(&PathBuf, Opened)],
    mountpoint: Option<&Mountpoint>,
    filesystems: &mut Vec<Filesystem>,
) -> Result<Upper, SetupError> {
    let stage = if mountpoint.is_some() { Stage::Opening } else { Stage::Unmounted };
    let read_only =
        config.read_only || is_denied(path, &opened)? || (config.yields && is_taken(path, &opened, stage));
    let place = if read_only {
        view::open(store, config, path, &opened)
    } else {
        check_kernel_overlays("upperdir", path, opened.stat.real_id())?;
        prepare_work(store, config, (path, &opened), lowers, stage)?
    };
    let WorkPlace { staging, format, made, work, claim } = place;
    let filesystem = register_filesystem(filesystems, &opened);
    let covered = mountpoint.and_then(|mountpoint| mountpoint.covers(&opened.stat));
    let info = layer_info(0, path, &opened, covered, filesystem, config.no_atime || read_only);
    let root = RealDir::held(info, opened.stat.ino, Arc::new(opened.fd));
    Ok(Upper {
        root,
        staging: Arc::new(staging),
        format,
        made,
        work,
        claim: claim.map(Mutex::new),
        read_only,
    })
}

/// Whether a union that is to be seen writes to the upperdir.
fn is_taken(path: &Path, opened: &Opened, stage: Stage) -> bool {
    let rival = Claim::make(opened.stat.real_id(), None, opened.stat.uid, stage).err();
    if let Some(rival) = &rival {
        log::warn!("upperdir '{}': {rival}; this union is a read-only view of it", path.display());
    }
    rival.is_some()
}

/// Whether the upperdir is another's, to be looked at only.
///
/// # Errors
/// On a read-only filesystem: whoever wants to write there is told at once.
fn is_denied(path: &Path, opened: &Opened) -> Result<bool, SetupError> {
    let Err(error) = sys::namei::may_write(&opened.fd) else { return Ok(false) };
    match error.errno() {
        Errno::ACCESS => {
            log::warn!(
                "upperdir '{}': not writable for the user that runs unionfuse; the union is read-only",
                path.display()
            );
            Ok(true)
        }
        Errno::ROFS => {
            let remedy =
                "its filesystem is mounted read-only; use one that can be written to, or mount with '-o ro'";
            Err(SetupError::new("upperdir", Some(path), error, remedy))
        }
        _ => Ok(false),
    }
}

/// Where a union prepares changes, and its claim to it.
pub(super) struct WorkPlace {
    pub(super) staging: Staging,
    pub(super) format: Format,
    pub(super) made: Vec<Made>,
    pub(super) work: Option<RealId>,
    pub(super) claim: Option<Claim>,
}

/// Finds a workdir from which something can be renamed into the upperdir. A full filesystem may have no room for one yet: that is
/// no reason not to delete something in it.
fn prepare_work(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    upper: (&Path, &Opened),
    lowers: &[(&PathBuf, Opened)],
    stage: Stage,
) -> Result<WorkPlace, SetupError> {
    let (path, opened) = upper;
    let mut last = None;
    let mut full = false;
    for candidate in workdir::candidates(config, path)? {
        let prepared = candidate
            .open(&**store, path, opened)
            .and_then(|work| prepare_in(store, config, upper, (work, lowers), stage));
        match prepared {
            Ok(place) => return Ok(place),
            Err(Unfit::Refused(error)) => return Err(error),
            Err(unfit) => {
                full |= matches!(unfit, Unfit::Full(_));
                last = Some(unfit.into_error());
            }
        }
    }
    let error = last.unwrap_or_else(|| SetupError::new("workdir", None, "there is no place for it", ""));
    if !full || config.durability == Durability::Volatile {
        return Err(error);
    }
    log::warn!("{error}: until there is room, only what needs no preparation can be changed");
    let claim = claim("upperdir", upper, None, stage)?;
    let later = {
        let (store, config, path) = (store.clone(), config.clone(), path.to_path_buf());
        let opened = Opened::directory("upperdir", upper.0)?;
        move || workdir::make_later(&store, &config, &path, &opened)
    };
    let staging = Staging::later(store.clone(), later);
    let format = Format::assumed(config.xattr_namespace);
    Ok(WorkPlace { staging, format, made: Vec::new(), work: None, claim: Some(claim) })
}

fn prepare_in(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    upper: (&Path, &Opened),
    (work, lowers): (WorkDir, &[(&PathBuf, Opened)]),
    stage: Stage,
) -> Result<WorkPlace, Unfit> {
    let claimed = check_kernel_overlays("workdir", &work.path, work.id)
        .and_then(|()| check_lowers(&work, lowers))
        .and_then(|()| claim("workdir", upper, Some(&work), stage));
    let claim = claimed.map_err(|error| {
        work.undo_made(&**store);
        Unfit::Refused(error)
    })?;
    let id = work.id;
    let (format, staging, made) = work.set_up(store, config, upper.1)?;
    Ok(WorkPlace { staging, format, made, work: Some(id), claim: Some(claim) })
}

/// Claims the directories for this mount.
fn claim(
    option: &'static str,
    (path, upper): (&Path, &Opened),
    work: Option<&WorkDir>,
    stage: Stage,
) -> Result<Claim, SetupError> {
    let made = Claim::make(upper.stat.real_id(), work.map(|work| work.id), upper.stat.uid, stage);
    made.map_err(|rival| {
        let (option, path) = match work {
            Some(work) if !rival.upper => (option, work.path.as_path()),
            _ => ("upperdir", path),
        };
        let remedy =
            format!("unmount that one first, mount with '-o ro' to look at it, or use another {option}");
        SetupError::new(option, Some(path), rival, remedy)
    })
}

/// A workdir is swept: no lowerdir may lie in it.
fn check_lowers(work: &WorkDir, lowers: &[(&PathBuf, Opened)]) -> Result<(), SetupError> {
    // Most layers have most directories above them in common.
    let mut elsewhere = HashSet::new();
    for (path, lower) in lowers {
        let mut id = lower.stat.real_id();
        let mut above = Mountpoint::parent_of(lower.fd.as_fd());
        while elsewhere.insert(id) {
            if id == work.id {
                let problem = format!("is or contains the lowerdir '{}'", path.display());
                let remedy = "use an empty directory beside the upperdir: what is in a workdir is removed";
                return Err(SetupError::new("workdir", Some(&work.path), problem, remedy));
            }
            let Some((fd, stat)) = above else { break };
            id = stat.real_id();
            above = Mountpoint::parent_of(fd.as_fd());
        }
    }
    Ok(())
}

/// The kernel's overlayfs takes no lock that we could see, but tells in the mount table what it has mounted.
fn check_kernel_overlays(option: &'static str, path: &Path, id: RealId) -> Result<(), SetupError> {
    let overlays = sys::mount::kernel_overlays().unwrap_or_else(|error| {
        log::debug!("the mount table cannot be read: {error}");
        Vec::new()
    });
    let is_this = |dir: &PathBuf| {
        let stat = || sys::namei::stat_fd(&sys::namei::open_path(dir, DIRECTORY)?);
        dir.is_absolute() && stat().is_ok_and(|stat| stat.real_id() == id)
    };
    match overlays.iter().find(|overlay| overlay.dirs.iter().any(is_this)) {
        Some(overlay) => {
            let problem = format!("in use by the kernel's overlayfs on '{}'", overlay.mountpoint.display());
            let remedy = format!("unmount that first, or use another {option}");
            Err(SetupError::new(option, Some(path), problem, remedy))
        }
        None => Ok(()),
    }
}
