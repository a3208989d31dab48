//! What the kernel remembers of attributes is right also after changes that no answer tells of. (Ours alone: it is about our
//! notifications.)

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, IFlags, StatxFlags, XattrFlags};

use crate::kit::alone::Alone;
use crate::kit::mode::announce;
use crate::kit::recipe::{Layer, layer};
use crate::kit::subject::ours_or_skip;

/// What `stat` answers with what the kernel remembers, and what it does when it has to ask.
fn remembered_and_real(path: &Path) -> [String; 2] {
    [AtFlags::SYMLINK_NOFOLLOW, AtFlags::SYMLINK_NOFOLLOW | AtFlags::STATX_FORCE_SYNC].map(|flags| {
        let stat = rustix::fs::statx(CWD, path, flags, StatxFlags::BASIC_STATS).unwrap();
        let changed = (stat.stx_ctime.tv_sec, stat.stx_ctime.tv_nsec);
        let modified = (stat.stx_mtime.tv_sec, stat.stx_mtime.tv_nsec);
        let numbers = (stat.stx_ino, stat.stx_nlink, stat.stx_size, stat.stx_blocks);
        format!("{numbers:?} {:o} changed {changed:?} modified {modified:?}", stat.stx_mode)
    })
}

fn everything_in(root: &Path) -> Vec<PathBuf> {
    let mut paths = vec![root.to_owned()];
    let mut next = 0;
    while let Some(path) = paths.get(next).cloned() {
        next += 1;
        if path.symlink_metadata().unwrap().is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    paths
}

fn set_no_dump(path: &Path) {
    let file = File::open(path).unwrap();
    if let Err(errno) = rustix::fs::ioctl_setflags(&file, IFlags::NODUMP) {
        announce(&format!("SKIPPED: chattr of {}: {errno}", path.display()));
    }
}

type Change = (&'static str, fn(&Path));

const CHANGES: [Change; 12] = [
    ("chattr", |root| set_no_dump(&root.join("n/d/f"))),
    ("chattr of a lower file", |root| set_no_dump(&root.join("a/d/f"))),
    ("chmod", |root| fs::set_permissions(root.join("b/d/f"), fs::Permissions::from_mode(0o600)).unwrap()),
    ("write", |root| fs::write(root.join("c/d/f"), "more").unwrap()),
    ("link", |root| fs::hard_link(root.join("l/d/f"), root.join("l/d/new")).unwrap()),
    ("rename", |root| fs::rename(root.join("r/d/f"), root.join("r/moved")).unwrap()),
    ("rename of a directory", |root| fs::rename(root.join("t/d"), root.join("t/e")).unwrap()),
    ("unlink of a hard link", |root| fs::remove_file(root.join("u/d/f")).unwrap()),
    ("xattr", |root| {
        rustix::fs::setxattr(root.join("x/d/f"), "user.a", b"1", XattrFlags::empty()).unwrap();
    }),
    ("a file where one was deleted", |root| {
        fs::remove_file(root.join("b/g")).unwrap();
        fs::write(root.join("b/g"), "").unwrap();
    }),
    ("a directory where one was deleted", |root| {
        fs::remove_dir_all(root.join("a/d")).unwrap();
        fs::create_dir(root.join("a/d")).unwrap();
    }),
    ("mkdir", |root| fs::create_dir(root.join("m/d/new")).unwrap()),
];

#[test]
fn right_after_changes_in_passing() {
    if !ours_or_skip() {
        return;
    }
    let file =
        |layer: Layer, name: &str| layer.file(&format!("{name}/d/f"), "f").file(&format!("{name}/g"), "g");
    let lower = ["a", "b", "c", "l", "r", "t", "u", "x"].into_iter().fold(layer(), file);
    let lower = lower.hard_link("l/d/f", "l/other").hard_link("u/d/f", "u/other").file("m/d/1", "");
    let union = Alone::new(&[lower, layer().file("m/d/2", "")], &layer().file("n/d/f", ""));
    let root = union.root();
    for (name, change) in CHANGES {
        let before = everything_in(root);
        assert!(before.iter().all(|path| path.symlink_metadata().is_ok()));
        // Coarse clocks must have moved on.
        std::thread::sleep(Duration::from_millis(20));
        change(root);
        // First without a listing, which would bring the attributes of all that it shows.
        check(name, before.into_iter().filter(|path| path.symlink_metadata().is_ok()));
        check(name, everything_in(root));
    }
    union.unmount();
}

fn check(change: &str, paths: impl IntoIterator<Item = PathBuf>) {
    for path in paths {
        let start = Instant::now();
        loop {
            let [remembered, real] = remembered_and_real(&path);
            if remembered == real {
                break;
            }
            // Files are told of by a thread of its own.
            let is_late = path.is_dir() || start.elapsed() > Duration::from_secs(2);
            assert!(!is_late, "{change}: {}: remembered {remembered}, real {real}", path.display());
        }
    }
}
