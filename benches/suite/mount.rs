//! A union that is live until it is dropped.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use fs_err as fs;
use rustix::fs::CWD;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use crate::backing::unmount;
use crate::process::Running;
use crate::subject::{Kind, Stack, Subject};

const PATIENCE: Duration = Duration::from_secs(30);

/// A mounted union.
pub struct Mounted {
    point: PathBuf,
    daemon: Option<Running>,
    live: bool,
    /// From the call until the root of the union could be looked at.
    pub took: Duration,
}

impl Mounted {
    pub fn new(subject: &Subject, stack: &Stack) -> Result<Self> {
        let before = device(&stack.point)?;
        let start = Instant::now();
        let daemon = match subject.kind {
            Kind::Plain => bail!("a plain directory is not mounted"),
            Kind::Overlayfs => {
                overlayfs(stack, &subject.options)?;
                None
            }
            _ => Some(serve(subject, stack, before)?),
        };
        let took = start.elapsed();
        let mut mounted = Self { point: stack.point.clone(), daemon, live: true, took };
        if mounted.device()? == before {
            mounted.live = false;
            bail!("{} is not mounted", stack.point.display());
        }
        mounted.check_options(subject)?;
        Ok(mounted)
    }

    /// unionfuse ignores options that it does not know, saying so: what is measured then would not be what the
    /// subject's name says.
    fn check_options(&mut self, subject: &Subject) -> Result<()> {
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let said = daemon.said();
        if subject.kind == Kind::Unionfuse && !subject.options.is_empty() && !said.is_empty() {
            bail!("mounted with -o {}, it says: {said}", subject.options);
        }
        Ok(())
    }

    pub fn point(&self) -> &Path {
        &self.point
    }

    /// The device number of the union, which numbers the FUSE connection too.
    pub fn device(&self) -> Result<u64> {
        device(&self.point)
    }

    /// The process that serves it.
    pub fn daemon(&self) -> Option<u32> {
        self.daemon.as_ref().map(Running::id)
    }

    /// Unmounts, and waits for the end of the daemon.
    pub fn unmount(mut self) -> Result<()> {
        self.live = false;
        unmount(&self.point)?;
        let Some(daemon) = self.daemon.as_mut() else { return Ok(()) };
        let start = Instant::now();
        while !daemon.ended()? {
            if start.elapsed() > PATIENCE {
                bail!("{} was unmounted, but its daemon lives on", self.point.display());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if self.live
            && let Err(error) = unmount(&self.point)
        {
            eprintln!("{error:#}");
        }
    }
}

fn device(path: &Path) -> Result<u64> {
    Ok(fs::metadata(path)?.dev())
}

/// Starts the daemon and waits until the union is live: then the mount point is on another device.
fn serve(subject: &Subject, stack: &Stack, before: u64) -> Result<Running> {
    let mut command = subject.command(stack)?;
    command.stdin(Stdio::null()).stdout(Stdio::null());
    // A daemon works as long as its union is used.
    let mut daemon = Running::start(&mut command, Duration::from_secs(3600))?;
    let start = Instant::now();
    while device(&stack.point)? == before {
        if daemon.ended()? {
            bail!("{}: it did not mount: {}", subject.name, daemon.said());
        }
        if start.elapsed() > PATIENCE {
            bail!("{}: not mounted after {} s: {}", subject.name, PATIENCE.as_secs(), daemon.said());
        }
        std::thread::sleep(Duration::from_micros(200));
    }
    Ok(daemon)
}

/// One layer a call: no limit on the length of the options, so 500 layers are possible.
fn overlayfs(stack: &Stack, options: &str) -> Result<()> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).context("fsopen overlay")?;
    let set = |key: &str, value: &Path| {
        rustix::mount::fsconfig_set_string(&context, key, value)
            .with_context(|| format!("overlay: {key}={}", value.display()))
    };
    for lower in &stack.lowers {
        set("lowerdir+", lower)?;
    }
    set("upperdir", &stack.upper)?;
    set("workdir", &stack.work)?;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some((key, value)) => set(key, Path::new(value))?,
            None => rustix::mount::fsconfig_set_flag(&context, option)
                .with_context(|| format!("overlay: {option}"))?,
        }
    }
    rustix::mount::fsconfig_create(&context).context("overlay: fsconfig_create")?;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .context("overlay: fsmount")?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(&mount, "", CWD, &stack.point, flags)
        .with_context(|| format!("mounting overlay at {}", stack.point.display()))
}
