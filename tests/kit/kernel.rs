//! The kernel's overlayfs.

use std::path::Path;
use std::time::{Duration, Instant};

use rustix::fs::CWD;
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags};

use super::mode::Mode;
use super::mount::{Backing, Mount, PATIENCE};
use super::subject::{Stack, Subject};

/// The oracle.
pub struct Kernel;

impl Subject for Kernel {
    fn name(&self) -> &'static str {
        "kernel"
    }

    fn mount(&self, stack: &Stack) -> Result<Mount, String> {
        let start = Instant::now();
        loop {
            match mount_once(stack) {
                // Somebody's copy of the mount namespace (a container started meanwhile) may keep the unmounted union
                // alive for a while.
                Err((_, Errno::BUSY)) if start.elapsed() < PATIENCE => {
                    std::thread::sleep(Duration::from_millis(50))
                }
                Err((what, error)) => return Err(format!("overlay: {what}: {error}")),
                Ok(mount) => return Ok(mount),
            }
        }
    }
}

/// `fsconfig` takes one layer a call: no page limit on the option string, no escaping, 500 layers.
fn mount_once(stack: &Stack) -> Result<Mount, (String, Errno)> {
    let context = rustix::mount::fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC).map_err(failed("fsopen"))?;
    let set = |key: &str, value: &Path| {
        rustix::mount::fsconfig_set_string(&context, key, value).map_err(failed(key))
    };
    for lower in &stack.lowers {
        set("lowerdir+", lower)?;
    }
    if let Some((upper, work)) = &stack.upper {
        set("upperdir", upper)?;
        set("workdir", work)?;
    }
    for (key, value) in options() {
        set(key, Path::new(value))?;
    }
    if Mode::current() != Mode::Root {
        rustix::mount::fsconfig_set_flag(&context, "userxattr").map_err(failed("userxattr"))?;
    }
    rustix::mount::fsconfig_create(&context).map_err(failed("fsconfig_create"))?;
    let mount = rustix::mount::fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
        .map_err(failed("fsmount"))?;
    rustix::mount::move_mount(&mount, "", CWD, &stack.point, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH)
        .map_err(failed("move_mount"))?;
    Ok(Mount::new(&stack.point, Backing::Kernel))
}

fn failed(what: &str) -> impl Fn(Errno) -> (String, Errno) {
    move |error| (what.to_owned(), error)
}

/// The semantics we promise. In a user namespace the kernel has neither redirects nor an index.
fn options() -> &'static [(&'static str, &'static str)] {
    match Mode::current() {
        Mode::Root => &[("redirect_dir", "on"), ("index", "on"), ("metacopy", "off"), ("xino", "on")],
        Mode::User | Mode::UserNs => &[],
    }
}
