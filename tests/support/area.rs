//! Scratch space on the filesystem the run asks for.

use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::UnmountFlags;

use super::mode::Mode;

/// A fresh directory, on a filesystem of its own when `UNIONFUSE_TEST_FS` names one (`ext4`, `xfs`, `btrfs`, `tmpfs`);
/// everything mounted under it is gone when it is dropped.
pub struct Area {
    path: PathBuf,
    own_filesystem: bool,
    _home: tempfile::TempDir,
}

impl Area {
    pub fn new() -> Area {
        let home = tempfile::Builder::new()
            .prefix("unionfuse-")
            .tempdir()
            .expect("a temporary directory");
        // Scripts also run as other users, who must be able to walk down to the mount.
        set_mode(home.path(), 0o755);
        let path = home.path().join("fs");
        std::fs::create_dir(&path).expect("mkdir in a fresh directory");
        let kind = std::env::var("UNIONFUSE_TEST_FS").unwrap_or_default();
        if !kind.is_empty() {
            mount_fresh(&kind, home.path(), &path);
        }
        Area {
            path,
            own_filesystem: !kind.is_empty(),
            _home: home,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory `name`, parents included, and returns its path.
    pub fn dir(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("mkdir {}: {e}", path.display()));
        path
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        if self.own_filesystem {
            // Plain first: a lazily detached loop mount could outlive the image file.
            if rustix::mount::unmount(&self.path, UnmountFlags::empty()).is_err() {
                let _ = rustix::mount::unmount(&self.path, UnmountFlags::DETACH);
            }
        }
    }
}

fn mount_fresh(kind: &str, home: &Path, path: &Path) {
    assert_eq!(
        Mode::current(),
        Mode::Root,
        "UNIONFUSE_TEST_FS={kind} needs root to mount a filesystem"
    );
    if kind == "tmpfs" {
        return run(Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=4g", "tmpfs"])
            .arg(path));
    }
    let image = home.join("image");
    let file = std::fs::File::create(&image).expect("an image file");
    file.set_len(4 << 30).expect("a sparse image file");
    let quiet: &[&str] = if kind == "ext4" { &["-q", "-F"] } else { &["-q"] };
    run(Command::new(format!("mkfs.{kind}")).args(quiet).arg(&image));
    run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(path));
    set_mode(path, 0o755);
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        .expect("our own directory");
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        done.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&done.stderr)
    );
}
