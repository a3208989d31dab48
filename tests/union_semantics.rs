//! What a union must do whatever its layers are like: one test for each difference from the kernel's overlayfs that a replay of
//! the operations of the unionmount test suite has shown.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags};

/// A mount that goes away with the test.
struct Mounted(PathBuf);

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Err(error) = rustix::mount::unmount(&self.0, UnmountFlags::DETACH) {
            eprintln!("umount {}: {error}", self.0.display());
        }
    }
}

/// Whether real mounts can be made here; says so when not.
fn can_mount(test: &str) -> bool {
    let reason = if !rustix::process::geteuid().is_root() {
        "not root"
    } else if !Path::new("/dev/fuse").exists() {
        "no /dev/fuse"
    } else {
        return true;
    };
    eprintln!("SKIPPED: {test}: {reason}");
    false
}

fn make_dir(area: &Path, name: &str) -> PathBuf {
    let path = area.join(name);
    fs::create_dir(&path).unwrap();
    path
}

/// A ramfs: the simplest filesystem without extended attributes.
fn mount_ramfs(at: &Path) -> Mounted {
    rustix::mount::mount(c"ramfs", at, c"ramfs", MountFlags::empty(), None).unwrap();
    Mounted(at.to_owned())
}

fn mount_union(area: &Path, lower: &Path) -> Mounted {
    let [upper, work, point] = ["upper", "work", "union"].map(|name| make_dir(area, name));
    let options = [("lowerdir", lower), ("upperdir", &*upper), ("workdir", &*work)]
        .map(|(option, path)| format!("{option}={}", path.display()))
        .join(",");
    let unionfuse = Command::new(env!("CARGO_BIN_EXE_unionfuse"))
        .args([OsStr::new("-o"), OsStr::new(&options), point.as_os_str()])
        .output()
        .unwrap();
    assert!(unionfuse.status.success(), "{}", String::from_utf8_lossy(&unionfuse.stderr));
    Mounted(point)
}

/// The kernel asks for the ACL of every file that the caller does not own, and passes an error on to the caller.
#[test]
fn files_of_others_are_usable_on_a_lower_filesystem_without_attributes() {
    if !can_mount("files_of_others_are_usable_on_a_lower_filesystem_without_attributes") {
        return;
    }
    let area = tempfile::tempdir().unwrap();
    let lower = make_dir(area.path(), "lower");
    let _ramfs = mount_ramfs(&lower);
    let dir = make_dir(&lower, "dir");
    fs::write(dir.join("file"), "lower").unwrap();
    for path in [&dir, &dir.join("file")] {
        chown(path, Some(1), Some(1)).unwrap();
    }
    let union = mount_union(area.path(), &lower);
    let file = union.0.join("dir/file");
    assert_eq!(fs::read(&file).unwrap(), b"lower");
    assert_eq!(fs::read_dir(union.0.join("dir")).unwrap().count(), 1);
    fs::write(&file, "upper").unwrap();
    assert_eq!(fs::read(&file).unwrap(), b"upper");
    assert_eq!(fs::read(lower.join("dir/file")).unwrap(), b"lower");
}
