//! The life of a mount: from a [`MountConfig`] to a daemon that serves it, to its end.
//!
//! The process forks first, while it has one thread; everything that can fail happens in the child, with stderr still the
//! caller's. The parent returns when the mount is live, or with the child's exit code.

pub mod logging;
mod serving;
mod shutdown;

use std::fmt;
use std::fs::File;
use std::io;
use std::os::fd::{OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use crate::config::{MountConfig, MountFlags};
use crate::error::SetupError;
use crate::ops::Union;
use crate::sys::creds::{self, administers_machine};
use crate::sys::limits;
use crate::sys::mount::{
    self, FuseMountOptions, MountEntry, MountError, MountId, Mounted, Mountpoint, Servers,
};
use crate::sys::process::{self, Forked, Ready, Started, Starting};
use logging::complain;
use serving::Serving;

/// Exit code for a system call that failed before the mount was tried (mount(8), "EXIT STATUS").
pub const EXIT_SYSTEM: u8 = 2;
/// Exit code for a mount or umount that failed (mount(8), "EXIT STATUS").
pub const EXIT_MOUNT: u8 = 32;

/// How long an unmounted daemon is waited for: it ends in milliseconds unless the union is mounted where we cannot see it.
const LAST_MOMENTS: Duration = Duration::from_secs(2);

/// Why there is no mount, with the exit code that says so.
#[derive(Debug)]
enum Failure {
    Setup(SetupError),
    System(&'static str, io::Error),
}

impl Failure {
    fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Setup(_) => EXIT_MOUNT,
            Self::System(..) => EXIT_SYSTEM,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Setup(error) => error.fmt(f),
            Self::System(what, error) => write!(f, "{what}: {error}"),
        }
    }
}

impl From<SetupError> for Failure {
    fn from(error: SetupError) -> Self {
        Self::Setup(error)
    }
}

fn system(what: &'static str) -> impl Fn(io::Error) -> Failure {
    move |error| Failure::System(what, error)
}

/// Mounts and serves, in the background unless the configuration says otherwise. Errors are printed on stderr.
///
/// To be called while the process has one thread. Returns in the parent when the mount is live, in the daemon when it is
/// unmounted.
pub fn mount(config: &MountConfig) -> ExitCode {
    let outcome = if config.foreground { serve(config, None) } else { serve_in_background(config) };
    outcome.unwrap_or_else(|failure| {
        complain(&failure);
        failure.exit_code()
    })
}

fn serve_in_background(config: &MountConfig) -> Result<ExitCode, Failure> {
    let keep = mount::inherited_device(&config.mountpoint);
    match process::fork_daemon(keep).map_err(system("fork"))? {
        Forked::Parent(starting) => wait_for(starting),
        Forked::Daemon(ready) => serve(config, Some(Background::new(ready)?)),
    }
}

fn wait_for(starting: Starting) -> Result<ExitCode, Failure> {
    Ok(match starting.wait().map_err(system("waiting for the daemon"))? {
        Started::Ready => ExitCode::SUCCESS,
        // A daemon whose mount is already over before it could say that it is live: not a success.
        Started::Exited(0) => ExitCode::from(EXIT_MOUNT),
        Started::Exited(code) => ExitCode::from(code),
        Started::Killed(signal) => {
            complain(format_args!("the daemon was killed by signal {signal} before the mount was live"));
            ExitCode::from(EXIT_SYSTEM)
        }
    })
}

/// What a daemon needs to leave its caller, opened while errors can still be shown.
struct Background {
    ready: Ready,
    null: File,
    log: Option<File>,
}

impl Background {
    fn new(ready: Ready) -> Result<Self, Failure> {
        let null =
            File::options().read(true).write(true).open("/dev/null").map_err(system("open /dev/null"))?;
        Ok(Self { ready, null, log: logging::open_file()? })
    }
}

fn serve(config: &MountConfig, background: Option<Background>) -> Result<ExitCode, Failure> {
    process::clear_umask();
    process::keep_large_memory_apart();
    // First, for it takes the capability that is given up next.
    if let Err(error) = limits::raise() {
        log::warn!("limits of this process stay as they are: setrlimit: {error}");
    }
    if let Err(error) = creds::respect_quotas() {
        log::warn!("disk quotas do not bind what is written by the daemon: capset: {error}");
    }
    let mut live = Live::start(config)?;
    live.announce(background)?;
    live.serve()
}

/// A mounted union. Dropped before it was served to the end, it is unmounted.
struct Live {
    serving: Option<Serving>,
    place: Option<Place>,
}

/// Where a union is mounted, as long as it is.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    mountpoint: PathBuf,
    id: MountId,
}

impl Place {
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

    /// Our mount, if that is still there, and not what somebody mounted later.
    fn mounted(&self) -> Option<Mounted> {
        Mounted::at(&self.mountpoint).ok().filter(|mounted| mounted.id() == self.id)
    }
}

impl Live {
    fn start(config: &MountConfig) -> Result<Self, Failure> {
        let target = Target::find(&config.mountpoint)?;
        check_passthrough(config.session.passthrough)?;
        mount::check_available().map_err(|error| mount_failed(&config.mountpoint, &error))?;
        let mut union = Union::open(&config.union, target.mountpoint())?;
        let signals = shutdown::subscribe().map_err(system("signal handlers"))?;
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
        let place = path.and_then(|path| Place::find(path, id, &device));
        let known = place.as_ref().map(|place| place.id.device());
        union.mounted(known.or_else(|| mount::served_by(&device)));
        let mut live = Self { serving: None, place };
        live.serving = Some(Serving::start(union, device, config)?);
        shutdown::watch(signals, live.place.clone()).map_err(system("start a thread"))?;
        Ok(live)
    }

    fn announce(&mut self, background: Option<Background>) -> Result<(), Failure> {
        let Some(Background { ready, null, log }) = background else {
            logging::attached();
            process::leave_directory().map_err(system("chdir /"))?;
            if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]) {
                log::warn!("the service manager cannot be told that the mount is live: {error}");
            }
            return Ok(());
        };
        process::detach(&null, log.as_ref()).map_err(system("detach"))?;
        logging::detached(log.is_some());
        // Nobody would learn of the mount if the parent is gone.
        ready.announce().map_err(system("tell the caller"))
    }

    fn serve(mut self) -> Result<ExitCode, Failure> {
        let Some(serving) = self.serving.take() else {
            return Ok(ExitCode::SUCCESS);
        };
        let union = serving.wait().map_err(system("serving the mount"))?;
        // The end of the process frees it faster, and with it the lock on the upperdir for the next mount.
        std::mem::forget(union);
        Ok(ExitCode::SUCCESS)
    }
}

impl Drop for Live {
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

/// Unmounts a union. Errors are printed on stderr.
pub fn umount(mountpoint: &Path, lazy: bool) -> ExitCode {
    match try_umount(mountpoint, lazy) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(EXIT_MOUNT)
        }
    }
}

/// Changes the flags of a mounted union. Errors are printed on stderr.
pub fn remount(mountpoint: &Path, flags: MountFlags) -> ExitCode {
    let remounted = mounted_union(mountpoint).and_then(|(mounted, _)| {
        mounted.remount(flags).map_err(|error| {
            let remedy = match error.kind() {
                io::ErrorKind::ResourceBusy => {
                    "files are open for writing: 'fuser -vm MNT' lists who has them"
                }
                io::ErrorKind::PermissionDenied => "only root can",
                _ => "",
            };
            SetupError::new("remount", Some(mountpoint), error, remedy)
        })
    });
    match remounted {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error);
            ExitCode::from(EXIT_MOUNT)
        }
    }
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

fn try_umount(mountpoint: &Path, lazy: bool) -> Result<(), SetupError> {
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
