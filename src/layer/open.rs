//! Opening the layers of a union: every check is made, with a message that helps, before anything is created.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::{Duration, Instant};

use rustix::fs::OFlags;
use rustix::io::Errno;

use super::dir::RealDir;
use super::origin::HandleDecoder;
use super::probe::{self, Format};
use super::stack::{Covered, Filesystem, LayerInfo, Offsets, Stack, Upper};
use super::staging::{INDEX, Staging, WORK};
use super::store::Store;
use crate::config::{Durability, UnionConfig};
use crate::error::SetupError;
use crate::sys::{self, At};
use crate::types::Stat;

/// How long a mount waits for the daemon of the one before it to end.
const LOCK_PATIENCE: Duration = Duration::from_secs(2);
const LOCK_PAUSE: Duration = Duration::from_millis(5);

/// `FUSE_SUPER_MAGIC` (linux/magic.h).
const FUSE_MAGIC: u64 = 0x6573_5546;

const DIRECTORY: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);

/// Opens all layers. `mountpoint` is where the union will be mounted, if it will be.
///
/// # Errors
/// Names the option, the path and the remedy; nothing is left created then.
pub fn stack(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    mountpoint: Option<&Path>,
) -> Result<Stack, SetupError> {
    let mountpoint = mountpoint.map(Mountpoint::find).transpose()?;
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
            Some(open_upper(store, config, path, opened, mountpoint.as_ref(), &mut filesystems)?)
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
    Ok(Stack { upper, lowers: lowers.into(), filesystems })
}

/// A directory named by the user.
struct Opened {
    fd: OwnedFd,
    stat: Stat,
}

impl Opened {
    fn directory(option: &'static str, path: &Path) -> Result<Self, SetupError> {
        let opened = sys::namei::open_path(path, DIRECTORY).and_then(|fd| {
            let stat = sys::namei::stat_fd(&fd)?;
            Ok(Self { fd, stat })
        });
        opened.map_err(|error| {
            let remedy = match error.errno() {
                Errno::NOENT => "create it, or correct the path; ':' in a path is written '\\:'",
                Errno::NOTDIR => "a layer must be a directory",
                Errno::ACCESS => "its parents must be searchable for the user that runs unionfuse",
                _ => "",
            };
            SetupError::new(option, Some(path), error, remedy)
        })
    }
}

/// Where the union will be mounted, and the directories above it.
struct Mountpoint {
    fd: Arc<OwnedFd>,
    name: OsString,
    parent: u64,
    /// Identities of all directories above it.
    above: Vec<(u64, u64)>,
}

impl Mountpoint {
    fn find(path: &Path) -> Result<Self, SetupError> {
        let opened = Opened::directory("mountpoint", path)?;
        let name = std::fs::canonicalize(path)
            .ok()
            .and_then(|path| path.file_name().map(OsStr::to_owned))
            .unwrap_or_default();
        let mut above: Vec<(u64, u64)> = Vec::new();
        let mut at = Self::parent_of(opened.fd.as_fd());
        while let Some((fd, stat)) = at {
            let id = (stat.dev, stat.ino);
            if above.last() == Some(&id) {
                break;
            }
            above.push(id);
            at = Self::parent_of(fd.as_fd());
        }
        let parent = above.first().map_or(0, |&(_, ino)| ino);
        Ok(Self { fd: Arc::new(opened.fd), name, parent, above })
    }

    fn parent_of(fd: BorrowedFd<'_>) -> Option<(OwnedFd, Stat)> {
        let parent = sys::namei::open(At::new(fd, OsStr::new("..")), DIRECTORY, 0).ok()?;
        let stat = sys::namei::stat_fd(&parent).ok()?;
        Some((parent, stat))
    }

    fn covers(&self, root: &Stat) -> Option<Covered> {
        let inside = self.above.contains(&(root.dev, root.ino));
        inside.then(|| Covered { parent: self.parent, name: self.name.clone(), fd: self.fd.clone() })
    }
}

fn layer_info(
    index: u16,
    path: &Path,
    opened: &Opened,
    mountpoint: Option<Covered>,
    filesystem: u16,
) -> Arc<LayerInfo> {
    let magic = sys::file::fs_magic(opened.fd.as_fd()).unwrap_or(0);
    Arc::new(LayerInfo {
        index,
        path: path.to_path_buf(),
        dev: opened.stat.dev,
        filesystem,
        mountpoint,
        offsets: Offsets::of(magic),
        no_atime: AtomicBool::new(true),
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
    let info = layer_info(index, path, &opened, covered, filesystem);
    RealDir::root(info, opened.stat.ino, Arc::new(private.unwrap_or(opened.fd)))
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
        let uuid = readable.map_or([0; 16], |fd| sys::handle::fs_uuid(fd.as_fd()));
        filesystems.push(Filesystem { dev: opened.stat.dev, uuid, decoder, handles: handle.is_some() });
        filesystems.len() - 1
    });
    u16::try_from(position).unwrap_or(u16::MAX)
}

fn open_upper(
    store: &Arc<dyn Store>,
    config: &UnionConfig,
    path: &Path,
    opened: Opened,
    mountpoint: Option<&Mountpoint>,
    filesystems: &mut Vec<Filesystem>,
) -> Result<Upper, SetupError> {
    let upper_lock = lock_directory("upperdir", path, &opened.fd)?;
    let work = WorkDir::find(config, path, &opened)?;
    // Two mounts in one work directory would sweep each other's changes away, even with different upperdirs.
    let work_lock = lock_directory("workdir", &work.path, &work.fd)?;
    let (format, staging) = work.set_up(store, config, &opened)?;
    let filesystem = register_filesystem(filesystems, &opened);
    let covered = mountpoint.and_then(|mountpoint| mountpoint.covers(&opened.stat));
    let info = layer_info(0, path, &opened, covered, filesystem);
    let root = RealDir::root(info, opened.stat.ino, Arc::new(opened.fd));
    Ok(Upper { root, staging, format, locks: [upper_lock, work_lock] })
}

/// Takes a directory for this mount alone.
fn lock_directory(option: &'static str, path: &Path, dir: &OwnedFd) -> Result<OwnedFd, SetupError> {
    let fail = |error: sys::Error, remedy: &str| SetupError::new(option, Some(path), error, remedy);
    let lock = sys::namei::open(At::new(dir.as_fd(), OsStr::new(".")), OFlags::RDONLY | OFlags::DIRECTORY, 0)
        .map_err(|error| fail(error, "it must be readable for the user that runs unionfuse"))?;
    if lock_patiently(&lock).map_err(|error| fail(error, ""))? {
        return Ok(lock);
    }
    let remedy = format!("unmount that one first, or use another {option}");
    Err(SetupError::new(option, Some(path), "in use by another live mount", remedy))
}

/// Takes the lock of a directory. Unmounting returns before the daemon has ended (`umount(2)` waits for no FUSE daemon), so a
/// mount right after it has to wait a moment for the lock.
fn lock_patiently(lock: &OwnedFd) -> Result<bool, sys::Error> {
    let deadline = Instant::now() + LOCK_PATIENCE;
    loop {
        if sys::file::try_lock(lock)? {
            return Ok(true);
        }
        if Instant::now() >= deadline {
            return Ok(false);
        }
        thread::sleep(LOCK_PAUSE);
    }
}

/// The workdir, given or chosen.
struct WorkDir {
    path: PathBuf,
    fd: OwnedFd,
    created: bool,
}

/// What an automatically made workdir inside the upperdir is called; hidden in the union.
pub const HIDDEN_WORK: &str = ".unionfuse-work";

impl WorkDir {
    fn find(config: &UnionConfig, upper_path: &Path, upper: &Opened) -> Result<Self, SetupError> {
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
        Ok(Self { path: path.to_path_buf(), fd: opened.fd, created: false })
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
        let mut last = None;
        for path in candidates {
            match Self::make(&path, upper) {
                Ok(work) => {
                    log::info!("work directory: {}", path.display());
                    return Ok(work);
                }
                Err(error) => last = Some(error),
            }
        }
        let problem =
            last.map_or_else(String::new, |error| format!("no work directory can be made: {error}"));
        Err(SetupError::new(
            "upperdir",
            Some(upper_path),
            problem,
            "name one on the same filesystem with --work",
        ))
    }

    fn make(path: &Path, upper: &Opened) -> Result<Self, std::io::Error> {
        let created = match std::fs::DirBuilder::new().mode(0o700).create(path) {
            Ok(()) => true,
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
            Err(error) => return Err(error),
        };
        let work = sys::namei::open_path(path, DIRECTORY)
            .and_then(|fd| sys::namei::stat_fd(&fd).map(|stat| (fd, stat)))
            .map_err(|error| std::io::Error::from(error.errno()))
            .and_then(|(fd, stat)| {
                if stat.dev == upper.stat.dev { Ok(fd) } else { Err(std::io::Error::from(Errno::XDEV)) }
            });
        match work {
            Ok(fd) => Ok(Self { path: path.to_path_buf(), fd, created }),
            Err(error) => {
                if created {
                    std::fs::remove_dir(path)?;
                }
                Err(error)
            }
        }
    }

    fn set_up(
        self,
        store: &Arc<dyn Store>,
        config: &UnionConfig,
        upper: &Opened,
    ) -> Result<(Format, Staging), SetupError> {
        let path = self.path.clone();
        let created = self.created;
        self.prepare(store, config, upper).inspect_err(|_| {
            if created && let Err(error) = std::fs::remove_dir_all(&path) {
                log::warn!("cannot remove the work directory {} again: {error}", path.display());
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
        self.check_volatile()?;
        let made_before =
            store.stat(At::new(self.fd.as_fd(), OsStr::new(WORK))).map_err(|e| fail(e, ""))?.is_some();
        let work = make_dir(&**store, self.fd.as_fd(), WORK)
            .map_err(|error| fail(error, "it must be writable for the user that runs unionfuse"))?;
        let checked = self.check(store, config, upper, work);
        let (format, staging) = checked.inspect_err(|_| {
            if !made_before && let Err(error) = store.rmdir(At::new(self.fd.as_fd(), OsStr::new(WORK))) {
                log::warn!("workdir {}: {error}", self.path.display());
            }
        })?;
        if config.durability == Durability::Volatile {
            mark_volatile(&**store, staging.dir()).map_err(|error| fail(error, ""))?;
        }
        if config.index && format.has_xattrs() {
            let index = make_dir(&**store, self.fd.as_fd(), INDEX).map_err(|error| fail(error, ""))?;
            let staging = staging.with_index(index).map_err(|error| fail(error, ""))?;
            return Ok((format, staging));
        }
        Ok((format, staging))
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
    /// (Documentation/filesystems/overlayfs.rst, "Volatile mount").
    fn check_volatile(&self) -> Result<(), SetupError> {
        let marker = self.path.join(WORK).join("incompat/volatile");
        if marker.symlink_metadata().is_err() {
            return Ok(());
        }
        let remedy =
            format!("check the upperdir, then remove '{}' to mount it all the same", marker.display());
        Err(SetupError::new(
            "workdir",
            Some(&self.path),
            "was last used by a volatile mount, so data may be lost",
            remedy,
        ))
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
    let incompat = make_dir(store, work, "incompat")?;
    make_dir(store, incompat.as_fd(), "volatile").map(drop)
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
