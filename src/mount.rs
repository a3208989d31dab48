//! Mounting a union, as calls of a library: they give values and errors, and print nothing.
//!
//! ```no_run
//! use unionfuse::{Mount, MountConfig, UnionConfig};
//!
//! let union = UnionConfig::new(["/usr/share"]).with_upper("/var/tmp/changes", None);
//! let mut mount = Mount::new(&MountConfig::new(union, "/mnt"))?;
//! std::fs::write("/mnt/new", "only in /var/tmp/changes")?;
//! mount.unmount()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod serving;

use std::fmt;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::config::{MountConfig, MountFlags};
use crate::error::SetupError;
use crate::fuse::SessionHandle;
use crate::ops::Union;
use crate::sys::creds::administers_machine;
use crate::sys::mount::{
    self, FuseMountOptions, MountEntry, MountError, MountId, Mounted, Mountpoint, Servers,
};
use serving::Serving;

/// How long an unmounted daemon is waited for: it ends in milliseconds unless the union is mounted where we cannot see it.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// Why there is no mount, or no end of one.
#[derive(Debug)]
pub enum Failure {
    /// What was asked for cannot be had: names the option, the path, what was wrong, and what to do.
    Setup(SetupError),
    /// A system call failed that has nothing to do with what was asked for.
    System(&'static str, io::Error),
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl std::error::Error for Failure {}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

pub(crate) fn system(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::System(what, error)
}

/// A mounted union, served by threads of this process. Dropped, it is unmounted: at once from the tree, and the threads end when nobody
/// uses it any more.
///
/// The process should have a umask of 0, or modes are masked twice.
pub struct Mount {
    serving: Option<Serving>,
    place: Option<MountedAt>,
}

/// Where a union is mounted, as long as it is.
#[derive(Debug, Clone)]
pub(crate) struct MountedAt {
    mountpoint: PathBuf,
    id: MountId,
}

impl MountedAt {
    /// What has just been mounted, known by its `id`, or by the connection that it is served through.
    fn find(mountpoint: PathBuf, id: Option<MountId>, device: &OwnedFd) -> Option<Self> {
        let id = id.map_or_else(|| Mounted::at(&mountpoint).map(|mounted| mounted.id()), Ok);
        let served = mount::served_by(device);
        match id {
            Ok(id) if served.is_none_or(|served| served == id.device()) => Some(Self { mountpoint, id }),
            Ok(_) => {
                log::warn!("signals will not unmount: '{}' is not where the union is", mountpoint.display());
                None
            }
            Err(error) => {
                log::warn!("signals will not unmount: '{}': {error}", mountpoint.display());
                None
            }
        }
    }

    pub(crate) fn mountpoint(&self) -> &Path {
        &self.mountpoint
    }

    /// Our mount, if that is still there, and not what somebody mounted later.
    pub(crate) fn mounted(&self) -> Option<Mounted> {
        Mounted::at(&self.mountpoint).ok().filter(|mounted| mounted.id() == self.id)
    }
}

impl Mount {
    /// Opens the layers, mounts, and serves from then on.
    ///
    /// # Errors
    /// Names the option, the path and the remedy. Nothing is mounted then, and nothing that was made to open the layers is left.
    pub fn new(config: &MountConfig) -> Result<Self, Failure> {
        let target = Target::find(&config.mountpoint)?;
        check_passthrough(config.session.passthrough)?;
        mount::check_available().map_err(|error| mount_failed(&config.mountpoint, &error))?;
        let union = Union::open(&config.union, target.mountpoint())?;
        let read_only = config.flags.read_only || union.is_read_only();
        let flags = MountFlags { read_only, ..config.flags };
        let options = FuseMountOptions { source: config.source.clone(), flags };
        let mounted = match &target {
            Target::Mounted(number) => mount::adopt_device(*number).map(|device| (device, None)),
            Target::Directory(mountpoint) => mount::mount_fuse(mountpoint, &options),
        };
        let (device, id) = match mounted {
            Ok(mounted) => mounted,
            Err(error) => {
                union.undo_open();
                return Err(mount_failed(&config.mountpoint, &error).into());
            }
        };
        let path = target.mountpoint().map(|mountpoint| mountpoint.path().to_owned());
        let place = path.and_then(|path| MountedAt::find(path, id, &device));
        let known = place.as_ref().map(|place| place.id.device());
        union.mounted(known.or_else(|| mount::served_by(&device)));
        let mut mounted = Self { serving: None, place };
        mounted.serving = Some(Serving::start(union, device, config)?);
        Ok(mounted)
    }

    /// Where it is; `None` where somebody else has mounted it, or something else has taken its place meanwhile.
    pub fn mountpoint(&self) -> Option<&Path> {
        self.place.as_ref().map(|place| place.mountpoint.as_path())
    }

    /// The session, for those who want to know how it is, to let the kernel look again, or to end it; `None` when it was unmounted.
    pub fn session(&self) -> Option<SessionHandle> {
        self.serving.as_ref().map(|serving| serving.handle().clone())
    }

    pub(crate) fn place(&self) -> Option<&MountedAt> {
        self.place.as_ref()
    }

    /// [`Mount::wait`] in a process that ends then, which frees the union's memory faster, and with it the claim on the upperdir for
    /// the next mount.
    pub(crate) fn wait_for_exit(mut self) -> Result<(), Failure> {
        let Some(serving) = self.serving.take() else { return Ok(()) };
        std::mem::forget(serving.wait().map_err(system("serving the mount"))?);
        Ok(())
    }

    /// Waits until somebody has unmounted it.
    ///
    /// # Errors
    /// When the connection to the kernel fails.
    pub fn wait(mut self) -> Result<(), Failure> {
        let Some(serving) = self.serving.take() else { return Ok(()) };
        serving.wait().map(drop).map_err(system("serving the mount"))
    }

    /// Unmounts it, and waits until all is done.
    ///
    /// # Errors
    /// `EBUSY` while it is used, and it stays mounted then; those of [`Mount::wait`].
    pub fn unmount(&mut self) -> Result<(), Failure> {
        if let Some(mounted) = self.place.as_ref().and_then(MountedAt::mounted) {
            mounted.unmount(false).map_err(system("umount"))?;
        }
        self.place = None;
        match self.serving.take() {
            Some(serving) => serving.wait().map(drop).map_err(system("serving the mount")),
            None => Ok(()),
        }
    }
}

impl Drop for Mount {
    /// Leaves no dead mount behind: after an error, or when the connection was aborted and not unmounted.
    fn drop(&mut self) {
        let Some(place) = self.place.take() else { return };
        if let Some(mounted) = place.mounted()
            && let Err(error) = mounted.unmount_apart(true, LAST_MOMENTS)
        {
            log::warn!("umount '{}': {error}", place.mountpoint.display());
        }
    }
}

/// Refuses what the kernel would refuse for each single file.
fn check_passthrough(wanted: bool) -> Result<(), SetupError> {
    if wanted && !administers_machine() {
        let problem = "needs CAP_SYS_ADMIN in the initial user namespace";
        return Err(SetupError::new("passthrough", None, problem, "mount as root, or without this option"));
    }
    Ok(())
}

/// What the union is to be seen on.
enum Target {
    Directory(Mountpoint),
    /// Somebody else has mounted, and this descriptor is the connection.
    Mounted(RawFd),
}

impl Target {
    fn find(path: &Path) -> Result<Self, SetupError> {
        if let Some(number) = mount::inherited_device(path) {
            return Ok(Self::Mounted(number));
        }
        let opened = Mountpoint::open(path).and_then(|opened| {
            // What is mounted there may not answer any more.
            rustix::fs::fstat(opened.dir())?;
            Ok(opened)
        });
        opened.map(Self::Directory).map_err(|error| {
            let (problem, remedy) = match error.kind() {
                io::ErrorKind::NotADirectory => {
                    ("not a directory".to_owned(), "give a directory to mount on")
                }
                io::ErrorKind::NotFound => (format!("open: {error}"), "create it first: mkdir -p MNT"),
                io::ErrorKind::NotConnected => {
                    (format!("open: {error}"), "unmount what is left there: unionfuse umount MNT")
                }
                _ => (format!("open: {error}"), ""),
            };
            SetupError::new("mountpoint", Some(path), problem, remedy)
        })
    }

    fn mountpoint(&self) -> Option<&Mountpoint> {
        match self {
            Self::Directory(mountpoint) => Some(mountpoint),
            Self::Mounted(_) => None,
        }
    }
}

fn mount_failed(mountpoint: &Path, error: &MountError) -> SetupError {
    SetupError::new("mountpoint", Some(mountpoint), error, error.remedy())
}

/// Changes the flags of a mounted union.
///
/// # Errors
/// What is wrong with the mountpoint, or keeps the flags from being changed.
pub fn remount(mountpoint: &Path, flags: MountFlags) -> Result<(), SetupError> {
    let (mounted, _) = mounted_union(mountpoint)?;
    mounted.remount(flags).map_err(|error| {
        let remedy = match error.kind() {
            io::ErrorKind::ResourceBusy => "files are open for writing: 'fuser -vm MNT' lists who has them",
            io::ErrorKind::PermissionDenied => "only root can",
            _ => "",
        };
        SetupError::new("remount", Some(mountpoint), error, remedy)
    })
}

/// The union that is mounted somewhere, and its line of the mount table.
fn mounted_union(mountpoint: &Path) -> Result<(Mounted, Option<MountEntry>), SetupError> {
    let failed = |problem: &dyn fmt::Display, remedy: &str| {
        SetupError::new("mountpoint", Some(mountpoint), problem, remedy)
    };
    let mounted = mount::resolve_mountpoint(mountpoint).and_then(|path| Mounted::at(&path));
    let mounted = mounted.map_err(|error| failed(&error, ""))?;
    match mounted.entry() {
        Ok(Some(entry)) if entry.is_union() => Ok((mounted, Some(entry))),
        Ok(Some(entry)) => {
            let problem =
                format!("a filesystem of type {} is mounted there, not a union", entry.fs_type.display());
            Err(failed(&problem, "use umount(8) or mount(8)"))
        }
        Ok(None) => Err(failed(&"nothing is mounted there", "findmnt -t fuse.unionfuse lists the unions")),
        Err(error) => {
            log::debug!("the mount table cannot be read: {error}");
            Ok((mounted, None))
        }
    }
}

/// Unmounts a union, whoever serves it, and waits until its daemon has let go of the layers; with `lazy` takes it from the tree only.
///
/// # Errors
/// What is wrong with the mountpoint, or keeps it from being unmounted.
pub fn umount(mountpoint: &Path, lazy: bool) -> Result<(), SetupError> {
    let (mounted, entry) = mounted_union(mountpoint)?;
    // Of what is detached nobody knows when it ends.
    let served = entry.filter(|_| !lazy).map(|entry| (entry.device, Servers::of(entry.device.1)));
    mounted.unmount(lazy).map_err(|error| {
        // fusermount3 has no error numbers, only words.
        let said = error.to_string();
        let remedy = if error.kind() == io::ErrorKind::ResourceBusy || said.contains("busy") {
            "end the programs that use it ('fuser -vm MNT' lists them), or add --lazy"
        } else if said.contains("not found in") {
            "only root and the user who has mounted it may unmount it"
        } else {
            ""
        };
        SetupError::new("mountpoint", Some(mountpoint), format_args!("umount: {error}"), remedy)
    })?;
    if let Some((device, servers)) = served
        && let Err(error) = servers.and_then(|servers| wait_for_end(device, &servers))
    {
        log::debug!("whether the daemon has ended is not known: {error}");
    }
    Ok(())
}

/// Waits until the daemon of a union just unmounted has let go of the layers, so that they can be unmounted or removed. It
/// lives on, and is not waited for, as long as the union is mounted elsewhere.
fn wait_for_end(device: (u32, u32), servers: &Servers) -> io::Result<()> {
    if !mount::is_mounted(device)? && !servers.wait(LAST_MOMENTS)? {
        log::info!("the daemon has not ended yet: other mount namespaces may have the union mounted, too");
    }
    Ok(())
}
