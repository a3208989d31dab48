//! A plain directory holding what the union of the layers should show: POSIX semantics straight from the filesystem.
//! The yardstick where the kernel's overlayfs cannot be mounted.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Stat, Timespec, Timestamps, XattrFlags};

use super::mount::{Backing, Mount};
use super::subject::{Stack, Subject};

/// Layers merged by hand.
pub struct Plain;

impl Subject for Plain {
    fn name(&self) -> &'static str {
        "plain"
    }

    fn keeps_numbers(&self) -> bool {
        false
    }

    fn mount(&self, stack: &Stack) -> Result<Mount, String> {
        // "Remounting" finds the directory as it was left.
        let merged = stack.point.join("merged");
        if !merged.exists() {
            fs::create_dir(&merged).map_err(|e| e.to_string())?;
            let upper = stack.upper.as_ref().map(|(upper, _)| upper);
            for layer in upper.into_iter().chain(&stack.lowers).rev() {
                Merge::default().directory(layer, &merged);
            }
        }
        Ok(Mount::new(&merged, Backing::Nothing))
    }
}

/// Puts one layer over what is there already.
#[derive(Default)]
struct Merge {
    /// Where each hard-linked file of the layer went, by inode number.
    linked: BTreeMap<u64, PathBuf>,
}

impl Merge {
    fn directory(&mut self, from: &Path, to: &Path) {
        for entry in fs::read_dir(from).expect("layers are readable").flatten() {
            let (source, target) = (entry.path(), to.join(entry.file_name()));
            let meta = entry.metadata().expect("layers hold still");
            let existing = fs::symlink_metadata(&target).ok();
            let keep = meta.is_dir() && existing.as_ref().is_some_and(|e| e.is_dir()) && !is_opaque(&source);
            match existing {
                Some(old) if old.is_dir() && !keep => fs::remove_dir_all(&target).expect("ours to remove"),
                Some(old) if !old.is_dir() => fs::remove_file(&target).expect("ours to remove"),
                _ => {}
            }
            if meta.is_dir() {
                if !keep {
                    fs::create_dir(&target).expect("a free name");
                }
                self.directory(&source, &target);
            } else if !is_whiteout(&source) {
                self.file(&source, &target, meta.ino(), meta.nlink());
            }
        }
        copy_attributes(from, to);
    }

    fn file(&mut self, from: &Path, to: &Path, ino: u64, links: u64) {
        if let Some(first) = self.linked.get(&ino) {
            return fs::hard_link(first, to).expect("a free name");
        }
        let stat = stat(from);
        let kind = FileType::from_raw_mode(stat.st_mode);
        match kind {
            FileType::RegularFile => drop(fs::copy(from, to).expect("files of layers are readable")),
            FileType::Symlink => {
                std::os::unix::fs::symlink(fs::read_link(from).expect("a symlink"), to).expect("a free name");
            }
            _ => rustix::fs::mknodat(CWD, to, kind, rustix::fs::Mode::from_raw_mode(0o600), stat.st_rdev)
                .expect("a device the layer holds too"),
        }
        copy_attributes(from, to);
        if links > 1 {
            self.linked.insert(ino, to.to_owned());
        }
    }
}

fn copy_attributes(from: &Path, to: &Path) {
    let stat = stat(from);
    let owner = (rustix::process::Uid::from_raw(stat.st_uid), rustix::process::Gid::from_raw(stat.st_gid));
    rustix::fs::chownat(CWD, to, Some(owner.0), Some(owner.1), AtFlags::SYMLINK_NOFOLLOW)
        .expect("chown as the layer's");
    for name in xattr_names(to) {
        rustix::fs::lremovexattr(to, &name[..]).expect("ours to remove");
    }
    if FileType::from_raw_mode(stat.st_mode) != FileType::Symlink {
        let mode = rustix::fs::Mode::from_raw_mode(stat.st_mode & 0o7777);
        rustix::fs::chmodat(CWD, to, mode, AtFlags::empty()).expect("ours to change");
    }
    for name in xattr_names(from) {
        let mut value = vec![0; 65536];
        let n = rustix::fs::lgetxattr(from, &name[..], &mut value[..]).expect("listed");
        rustix::fs::lsetxattr(to, &name[..], &value[..n], XattrFlags::empty()).expect("xattr as the layer's");
    }
    let last_access = Timespec { tv_sec: stat.st_atime, tv_nsec: stat.st_atime_nsec as _ };
    let last_modification = Timespec { tv_sec: stat.st_mtime, tv_nsec: stat.st_mtime_nsec as _ };
    let times = Timestamps { last_access, last_modification };
    rustix::fs::utimensat(CWD, to, &times, AtFlags::SYMLINK_NOFOLLOW).expect("ours to change");
}

/// The names of the attributes a union shows.
fn xattr_names(path: &Path) -> Vec<Vec<u8>> {
    let mut list = vec![0; 65536];
    let n = rustix::fs::llistxattr(path, &mut list[..]).unwrap_or(0);
    let marks = |name: &&[u8]| name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.");
    list[..n]
        .split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !marks(name))
        .map(<[u8]>::to_vec)
        .collect()
}

fn is_opaque(path: &Path) -> bool {
    ["trusted.overlay.opaque", "user.overlay.opaque"].iter().any(|name| {
        let mut value = [0; 8];
        rustix::fs::lgetxattr(path, *name, &mut value).is_ok_and(|n| &value[..n] == b"y")
    })
}

fn is_whiteout(path: &Path) -> bool {
    let stat = stat(path);
    FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0
}

fn stat(path: &Path) -> Stat {
    rustix::fs::statat(CWD, path, AtFlags::SYMLINK_NOFOLLOW).expect("layers hold still")
}
