//! Scratch space on the filesystem the run asks for.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::UnmountFlags;

use super::mode::Mode;
use super::recipe::Layer;

/// A fresh directory, on a filesystem of its own when `UNIONFUSE_TEST_FS` names one (`ext4`, `xfs`, `btrfs`, `tmpfs`);
/// everything mounted under it is gone when it is dropped.
pub struct Area {
    path: PathBuf,
    /// What this area mounted, innermost last.
    filesystems: RefCell<Vec<PathBuf>>,
    home: tempfile::TempDir,
}

impl Area {
    pub fn new() -> Area {
        let home = tempfile::Builder::new().prefix("unionfuse-").tempdir().expect("a temporary directory");
        // Scripts also run as other users, who must be able to walk down to the mount.
        set_mode(home.path(), 0o755);
        let path = home.path().join("fs");
        std::fs::create_dir(&path).expect("mkdir in a fresh directory");
        let area = Area { path, filesystems: RefCell::default(), home };
        if let Ok(kind) = std::env::var("UNIONFUSE_TEST_FS") {
            area.mount_fresh(&kind, &area.path);
        }
        area
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

    /// Builds each layer in a directory, on the filesystem it asks for, and returns the directories.
    pub fn build_lowers(&self, layers: &[Layer]) -> Vec<PathBuf> {
        let build = |(i, layer): (usize, &Layer)| {
            let dir = self.dir(&format!("l{i}"));
            match layer.filesystem() {
                None => layer.build(&dir),
                Some("squashfs") => {
                    let contents = self.dir(&format!("contents{i}"));
                    layer.build(&contents);
                    self.mount_packed(&contents, &dir);
                }
                Some(kind) => {
                    self.mount_fresh(kind, &dir);
                    layer.build(&dir);
                }
            }
            dir
        };
        layers.iter().enumerate().map(build).collect()
    }

    fn mount_fresh(&self, kind: &str, path: &Path) {
        assert_eq!(Mode::current(), Mode::Root, "a fresh {kind} needs root to mount it");
        if kind == "tmpfs" {
            run(Command::new("mount").args(["-t", "tmpfs", "-o", "size=4g", "tmpfs"]).arg(path));
        } else {
            let image = self.home.path().join(format!("image{}", self.filesystems.borrow().len()));
            let file = std::fs::File::create(&image).expect("an image file");
            file.set_len(4 << 30).expect("a sparse image file");
            let quiet: &[&str] = if kind == "ext4" { &["-q", "-F"] } else { &["-q"] };
            run(Command::new(format!("mkfs.{kind}")).args(quiet).arg(&image));
            run(Command::new("mount").args(["-o", "loop"]).arg(&image).arg(path));
        }
        self.filesystems.borrow_mut().push(path.to_owned());
        set_mode(path, 0o755);
    }

    /// Mounts a squashfs of `contents` (without extended attributes) at `path`.
    fn mount_packed(&self, contents: &Path, path: &Path) {
        let image = self.home.path().join(format!("image{}", self.filesystems.borrow().len()));
        run(Command::new("mksquashfs").arg(contents).arg(&image).args([
            "-quiet",
            "-no-xattrs",
            "-no-progress",
        ]));
        run(Command::new("mount").args(["-o", "loop,ro"]).arg(&image).arg(path));
        self.filesystems.borrow_mut().push(path.to_owned());
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        for path in self.filesystems.get_mut().iter().rev() {
            // Plain first: a lazily detached loop mount could outlive the image file.
            if rustix::mount::unmount(path, UnmountFlags::empty()).is_err() {
                let _ = rustix::mount::unmount(path, UnmountFlags::DETACH);
            }
        }
    }
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(mode))
        .expect("our own directory");
}

fn run(command: &mut Command) {
    let done = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(done.status.success(), "{command:?}: {}", String::from_utf8_lossy(&done.stderr));
}
