//! The life of a mount: from a [`MountConfig`] to a daemon that serves it, to its end.
//!
//! The process forks first, while it has one thread; everything that can fail happens in the child, with stderr still the
//! caller's. The parent returns when the mount is live, or with the child's exit code.

pub mod logging;
mod shutdown;

use std::fs::File;
use std::io;
use std::process::ExitCode;

use crate::config::MountConfig;
use crate::mount::{Failure, Mount, system};
use crate::sys::process::{self, Forked, Ready, Started, Starting};
use crate::sys::{creds, limits, mount};

/// Exit code for a system call that failed before the mount was tried (mount(8), "EXIT STATUS").
pub const EXIT_SYSTEM: u8 = 2;
/// Exit code for a mount or umount that failed (mount(8), "EXIT STATUS").
pub const EXIT_MOUNT: u8 = 32;

/// The exit code that says why there is no mount.
pub fn exit_code(failure: &Failure) -> ExitCode {
    ExitCode::from(match failure {
        Failure::Setup(_) => EXIT_MOUNT,
        Failure::System(..) => EXIT_SYSTEM,
    })
}

/// Mounts and serves, in the background unless the configuration says otherwise.
///
/// To be called while the process has one thread. Returns in the parent when the mount is live, in the daemon when it is
/// unmounted: with the exit code that the process is to have.
///
/// # Errors
/// Why there is no mount, in the process that is to say so.
pub fn mount(config: &MountConfig) -> Result<ExitCode, Failure> {
    if config.foreground { serve(config, None) } else { serve_in_background(config) }
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
            let killed = format!("the daemon was killed by signal {signal} before the mount was live");
            return Err(system("mount")(io::Error::other(killed)));
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
    let signals = shutdown::subscribe().map_err(system("signal handlers"))?;
    let mount = Mount::new(config)?;
    shutdown::watch(signals, mount.place().cloned()).map_err(system("start a thread"))?;
    announce(background)?;
    mount.wait_for_exit()?;
    Ok(ExitCode::SUCCESS)
}

fn announce(background: Option<Background>) -> Result<(), Failure> {
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
