//! The directories of a union with one lower.

use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::mount::{UnmountFlags, unmount};
use unionfuse::UnionConfig;

use super::area::Area;
use super::watchdog::Watchdog;

/// `lower`, `upper`, `work` and `mnt`. However its test ends, nothing stays mounted, and a hang is aborted.
pub struct UnionDirs {
    _watchdog: Watchdog,
    area: Area,
}

impl UnionDirs {
    pub fn new() -> Self {
        let area = Area::new();
        for part in ["lower", "upper", "work", "mnt"] {
            area.dir(part);
        }
        Self { _watchdog: Watchdog::over(area.path()), area }
    }

    /// `None`, said loudly, where nothing can be mounted or users cannot be changed.
    pub fn to_mount(test: &str) -> Option<Self> {
        if rustix::process::geteuid().is_root() && Path::new("/dev/fuse").exists() {
            return Some(Self::new());
        }
        // Not through the macros, whose output libtest captures.
        std::io::stderr()
            .write_all(format!("SKIPPED: {test}: needs root and /dev/fuse\n").as_bytes())
            .unwrap();
        None
    }

    pub fn root(&self) -> &Path {
        self.area.path()
    }

    pub fn path(&self, part: impl AsRef<Path>) -> PathBuf {
        self.area.path().join(part)
    }

    /// A path in the union.
    pub fn mnt(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path("mnt").join(name)
    }

    pub fn config(&self) -> UnionConfig {
        UnionConfig::new([self.path("lower")]).with_upper(self.path("upper"), Some(self.path("work")))
    }
}

impl Drop for UnionDirs {
    fn drop(&mut self) {
        // Nothing may be mounted; then it fails.
        let _ = unmount(self.path("mnt"), UnmountFlags::FORCE | UnmountFlags::DETACH);
    }
}
