//! Looks on that the engine stays inside its layers.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{FileType, OFlags};

use crate::kit::watched::Watch;

/// Panics when a call names more than one component or a parent, when a file from outside the layers is opened, and when
/// anything but a regular file or a directory is opened for more than its place: opening devices and FIFOs has effects.
#[derive(Debug, Default)]
pub struct Guard {
    outside: HashSet<(u64, u64)>,
}

impl Guard {
    /// `outside`: what must not be opened.
    pub fn new<P: AsRef<Path>>(outside: impl IntoIterator<Item = P>) -> Self {
        let id = |path: P| {
            let meta = std::fs::metadata(path).unwrap();
            (meta.dev(), meta.ino())
        };
        Self { outside: outside.into_iter().map(id).collect() }
    }
}

impl Watch for Guard {
    fn before(&self, call: &'static str, names: &[&OsStr]) {
        for name in names {
            let inside = *name != ".." && !name.as_bytes().contains(&b'/');
            assert!(inside, "{call} on {name:?}, which could lead out of the layer");
        }
    }

    fn opened(&self, flags: OFlags, file: BorrowedFd<'_>) {
        let stat = rustix::fs::fstat(file).unwrap();
        assert!(!self.outside.contains(&(stat.st_dev, stat.st_ino)), "opened a file outside the layers");
        let kind = FileType::from_raw_mode(stat.st_mode);
        let harmless = flags.contains(OFlags::PATH) || kind.is_file() || kind.is_dir();
        assert!(harmless, "opened a {kind:?}");
    }
}
