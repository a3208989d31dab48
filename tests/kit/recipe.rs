//! A compact language for the contents of a layer.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FileType, Timespec, Timestamps};

use super::mode::Mode;
use super::op::{self, Name, Op};
use super::run::{in_directory, run_script};

/// When everything in a layer was last modified, unless a step says otherwise: far enough back that whatever a script
/// touches later is told apart by its time alone.
pub const LAYER_TIME: i64 = 1_000_000_000;

/// The steps that build one layer. Parents are made as needed, mode 0755.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    steps: Vec<Op>,
    times: Vec<Op>,
    filesystem: Option<&'static str>,
}

/// An empty layer.
pub fn layer() -> Layer {
    Layer::default()
}

impl Layer {
    pub fn dir(self, path: impl Into<Name>) -> Self {
        self.op(op::mkdir(path))
    }
    pub fn file(self, path: impl Into<Name>, data: impl AsRef<[u8]>) -> Self {
        self.op(op::put(path, data))
    }
    pub fn symlink(self, target: impl Into<Name>, path: impl Into<Name>) -> Self {
        self.op(op::symlink(target, path))
    }
    pub fn fifo(self, path: impl Into<Name>) -> Self {
        self.op(op::fifo(path))
    }
    pub fn socket(self, path: impl Into<Name>) -> Self {
        self.op(op::mknod(path, FileType::Socket, 0o755, (0, 0)))
    }
    pub fn char_device(self, path: impl Into<Name>, major: u32, minor: u32) -> Self {
        self.op(op::mknod(path, FileType::CharacterDevice, 0o666, (major, minor)))
    }
    pub fn block_device(self, path: impl Into<Name>, major: u32, minor: u32) -> Self {
        self.op(op::mknod(path, FileType::BlockDevice, 0o660, (major, minor)))
    }
    pub fn whiteout(self, path: impl Into<Name>) -> Self {
        self.op(op::mknod(path, FileType::CharacterDevice, 0, (0, 0)))
    }
    /// A directory that hides what the layers below have under its name.
    pub fn opaque(self, path: &str) -> Self {
        self.dir(path).op(op::setxattr(path, opaque_mark(), "y"))
    }
    pub fn hard_link(self, from: impl Into<Name>, to: impl Into<Name>) -> Self {
        self.op(op::link(from, to))
    }
    pub fn mode(self, path: impl Into<Name>, mode: u32) -> Self {
        self.op(op::chmod(path, mode))
    }
    pub fn owner(self, path: impl Into<Name>, uid: u32, gid: u32) -> Self {
        self.op(op::chown(path, uid, gid))
    }
    pub fn xattr(self, path: impl Into<Name>, name: &'static str, value: impl AsRef<[u8]>) -> Self {
        self.op(op::setxattr(path, name, value))
    }
    pub fn acl(self, path: impl Into<Name>, spec: &'static str) -> Self {
        self.op(op::setacl(path, spec))
    }
    pub fn mtime(mut self, path: impl Into<Name>, seconds: i64) -> Self {
        self.times.push(op::utimens(path, seconds));
        self
    }
    /// A file of `size` bytes, all hole but for `data` at `at`.
    pub fn sparse(self, path: &str, size: u64, at: u64, data: &str) -> Self {
        self.file(path, "").op(op::truncate(path, size)).op(op::write(path, at, data))
    }
    pub fn op(mut self, op: Op) -> Self {
        self.steps.push(op);
        self
    }

    /// Puts the layer on a filesystem of its own, of this kind.
    pub fn on(mut self, kind: &'static str) -> Self {
        self.filesystem = Some(kind);
        self
    }

    pub fn filesystem(&self) -> Option<&'static str> {
        self.filesystem
    }

    /// Makes the layer in the existing directory `root`.
    pub fn build(&self, root: &Path) {
        let mut script = Vec::new();
        for step in &self.steps {
            if let Some(path) = made_by(step) {
                let parents =
                    parents_of(path).filter(|dir| !root.join(std::ffi::OsStr::from_bytes(dir)).exists());
                script.extend(parents.map(op::mkdir));
            }
            script.push(step.clone());
        }
        let tolerated = |step: &str, error| step.starts_with("mkdir") && error == rustix::io::Errno::EXIST;
        for (step, outcome) in run_script(root, &script) {
            match outcome {
                Err(error) if !tolerated(&step, error) => panic!("layer step `{step}`: {error}"),
                _ => {}
            }
        }
        in_directory(root, || stamp(Path::new(".")));
        for (step, outcome) in run_script(root, &self.times) {
            outcome.unwrap_or_else(|e| panic!("layer step `{step}`: {e}"));
        }
    }
}

/// Only real root can write `trusted.*`.
fn opaque_mark() -> &'static str {
    if Mode::current() == Mode::Root { "trusted.overlay.opaque" } else { "user.overlay.opaque" }
}

/// The path a step brings into being.
fn made_by(step: &Op) -> Option<&Name> {
    match step {
        Op::Mkdir(path, _) | Op::Put(path, _) | Op::Mknod(path, ..) | Op::Create(path, _) => Some(path),
        Op::Symlink(_, path) | Op::Link(_, path) => Some(path),
        _ => None,
    }
}

fn parents_of(path: &Name) -> impl Iterator<Item = &[u8]> {
    path.0.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(end, _)| &path.0[..end])
}

/// Gives everything under `dir`, itself included, the layers' time.
fn stamp(dir: &Path) {
    for entry in std::fs::read_dir(dir).expect("layers are readable").flatten() {
        if entry.file_type().expect("d_type").is_dir() {
            stamp(&entry.path());
        } else {
            stamp_one(&entry.path());
        }
    }
    stamp_one(dir);
}

fn stamp_one(path: &Path) {
    let at = Timespec { tv_sec: LAYER_TIME, tv_nsec: 987_654_321 };
    let times = Timestamps { last_access: at, last_modification: at };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW)
        .unwrap_or_else(|e| panic!("utimensat {}: {e}", path.display()));
}
