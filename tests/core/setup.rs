//! Layers that make no union: the message names option, path and remedy, and nothing is created.

use std::path::{Path, PathBuf};

use tempfile::TempDir;
use unionfuse::config::{Durability, UnionConfig};
use unionfuse::{SetupError, Union};

use crate::kit::layer::Layer;

/// A directory with the lowers `a`, `b` and `c:d`, an upper `u`, a work directory `w` and a file `file`.
struct Place {
    dir: TempDir,
}

impl Place {
    fn new() -> Self {
        rustix::process::umask(rustix::fs::Mode::empty());
        let dir = TempDir::new().unwrap();
        let layer = Layer { root: dir.path().to_owned() };
        layer.file("a/f", "a").file("b/f", "b").dir("c:d").dir("u").dir("w").file("file", "");
        Self { dir }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn config(&self, lowers: &[&str], upper: &str, work: &str) -> UnionConfig {
        let config = UnionConfig::new(lowers.iter().map(|name| self.path(name)));
        config.with_upper(self.path(upper), Some(self.path(work)))
    }

    /// Opening must fail, name `option` and `path`, and change nothing.
    fn refused(&self, config: &UnionConfig, option: &str, path: &Path, words: &str) {
        let layer = Layer { root: self.dir.path().to_owned() };
        let before = layer.everything();
        let error = open(config).expect_err("no union can be made of this").to_string();
        assert!(error.starts_with(option), "{error}");
        assert!(error.contains(&format!("'{}'", path.display())), "{error}");
        assert!(error.contains(words), "{error}");
        assert_eq!(layer.everything(), before, "{error}");
    }
}

fn open(config: &UnionConfig) -> Result<Union, SetupError> {
    Union::open(config, None)
}

#[test]
fn what_is_missing_or_no_directory() {
    let place = Place::new();
    let missing = place.path("missing");
    let file = place.path("file");
    for (name, path) in [("missing", &missing), ("file", &file)] {
        place.refused(&place.config(&["a", name], "u", "w"), "lowerdir", path, "(");
        place.refused(&place.config(&["a"], name, "w"), "upperdir", path, "(");
        place.refused(&place.config(&["a"], "u", name), "workdir", path, "(");
        let mut automatic = place.config(&["a"], name, "w");
        automatic.work = None;
        place.refused(&automatic, "upperdir", path, "(");
        let mut automatic = place.config(&[name], "u", "w");
        automatic.work = None;
        place.refused(&automatic, "lowerdir", path, "(");
    }
}

#[test]
fn no_lowerdir_at_all() {
    let place = Place::new();
    let error = open(&place.config(&[], "u", "w")).unwrap_err().to_string();
    assert!(error.starts_with("lowerdir") && error.contains("--lower"), "{error}");
}

#[test]
fn one_directory_in_two_roles() {
    let place = Place::new();
    place.refused(&place.config(&["a", "u"], "u", "w"), "upperdir", &place.path("u"), "lowerdir");
    place.refused(&place.config(&["a"], "u", "u"), "workdir", &place.path("u"), "upperdir itself");
    std::os::unix::fs::symlink("u", place.path("link")).unwrap();
    place.refused(&place.config(&["a"], "u", "link"), "workdir", &place.path("link"), "upperdir itself");
}

#[test]
fn upper_and_work_inside_each_other() {
    let place = Place::new();
    std::fs::create_dir(place.path("u/in")).unwrap();
    std::fs::create_dir(place.path("w/in")).unwrap();
    place.refused(&place.config(&["a"], "u", "u/in"), "workdir", &place.path("u/in"), "inside");
    place.refused(&place.config(&["a"], "w/in", "w"), "workdir", &place.path("w"), "contains");
}

#[test]
fn upper_and_work_on_different_filesystems() {
    let place = Place::new();
    let elsewhere = TempDir::new_in("/dev/shm").unwrap();
    let mut config = place.config(&["a"], "u", "w");
    config.work = Some(elsewhere.path().to_owned());
    place.refused(&config, "workdir", elsewhere.path(), "filesystem");
    assert_eq!(std::fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}

#[test]
fn a_workdir_without_an_upperdir() {
    let place = Place::new();
    let mut config = place.config(&["a"], "u", "w");
    config.upper = None;
    place.refused(&config, "workdir", &place.path("w"), "upperdir");
}

#[test]
fn an_upperdir_or_workdir_in_use() {
    let place = Place::new();
    std::fs::create_dir(place.path("u2")).unwrap();
    std::fs::create_dir(place.path("w2")).unwrap();
    let first = open(&place.config(&["a"], "u", "w")).unwrap();
    place.refused(&place.config(&["b"], "u", "w2"), "upperdir", &place.path("u"), "in use");
    place.refused(&place.config(&["b"], "u2", "w"), "workdir", &place.path("w"), "in use");
    drop(first);
    open(&place.config(&["b"], "u", "w2")).unwrap();
    open(&place.config(&["b"], "u2", "w")).unwrap();
}

/// Whoever may read a directory may lock it.
#[test]
fn locks_of_strangers_do_not_matter() {
    let place = Place::new();
    let _locked = ["u", "w"].map(|name| {
        let dir = std::fs::File::open(place.path(name)).unwrap();
        rustix::fs::flock(&dir, rustix::fs::FlockOperation::LockExclusive).unwrap();
        dir
    });
    open(&place.config(&["a"], "u", "w")).unwrap();
}

#[test]
fn who_uses_an_upperdir_is_named() {
    let place = Place::new();
    let _first = open(&place.config(&["a"], "u", "w")).unwrap();
    let process = format!("(process {})", std::process::id());
    place.refused(&place.config(&["b"], "u", "w"), "upperdir", &place.path("u"), &process);
}

/// A mount that another namespace has, or whose last file somebody has open, goes on beside the next one.
#[test]
fn a_mount_that_cannot_be_seen_stands_in_no_way() {
    let place = Place::new();
    let first = open(&place.config(&["a"], "u", "w")).unwrap();
    // No FUSE filesystem has this number.
    first.mounted(Some((0, u32::MAX)));
    let second = open(&place.config(&["a"], "u", "w")).unwrap();
    let caller = unionfuse::types::Caller { uid: 0, gid: 0, pid: 0, umask: 0 };
    let name = |name: &'static str| unionfuse::types::Name::new(name.as_ref()).unwrap();
    for (union, new) in [(&first, "one"), (&second, "two"), (&first, "three")] {
        let kind = unionfuse::types::Kind::File;
        union.mknod(caller, unionfuse::types::NodeId::ROOT, name(new), kind, 0o644, 0).unwrap();
    }
    for (union, old) in [(&first, "f"), (&second, "one")] {
        union.unlink(unionfuse::types::NodeId::ROOT, name(old)).unwrap();
    }
    let upper = Layer { root: place.path("u") };
    assert_eq!(upper.names(""), ["f", "three", "two"]);
}

#[test]
fn a_lowerdir_may_be_shared_and_given_twice() {
    let place = Place::new();
    std::fs::create_dir(place.path("u2")).unwrap();
    std::fs::create_dir(place.path("w2")).unwrap();
    let _first = open(&place.config(&["a", "b", "a"], "u", "w")).unwrap();
    let _second = open(&place.config(&["a", "c:d"], "u2", "w2")).unwrap();
}

#[test]
fn a_work_directory_is_made_beside_the_upperdir_and_used_again() {
    let place = Place::new();
    let mut config = place.config(&["a"], "u", "w");
    config.work = None;
    for _ in 0..2 {
        drop(open(&config).unwrap());
        assert!(place.path(".u.unionfuse-work/work").is_dir());
        assert_eq!(Layer { root: place.path("u") }.names(""), [""; 0]);
    }
}

#[test]
fn a_volatile_mount_leaves_its_mark_and_the_next_is_refused() {
    let place = Place::new();
    let mut config = place.config(&["a"], "u", "w");
    config.durability = Durability::Volatile;
    drop(open(&config).unwrap());
    let marker = place.path("w/work/incompat/volatile");
    assert!(marker.is_dir());
    for durability in [Durability::Volatile, Durability::Synced] {
        config.durability = durability;
        place.refused(&config, "workdir", &place.path("w"), "incompat/volatile");
    }
    std::fs::remove_dir(marker).unwrap();
    open(&config).unwrap();
}

#[test]
fn garbage_of_a_crash_is_swept() {
    let place = Place::new();
    let work = Layer { root: place.path("w/work") };
    work.file("#1", "x")
        .file("#2/deep/er/f", "")
        .whiteout("#3")
        .dir("#4")
        .mode("#2/deep", 0)
        .symlink("#5", "/etc");
    let _union = open(&place.config(&["a"], "u", "w")).unwrap();
    assert_eq!(work.names(""), [""; 0]);
    assert!(Path::new("/etc/passwd").exists());
}

#[test]
fn the_rights_of_given_directories_stay() {
    let place = Place::new();
    let layer = Layer { root: place.dir.path().to_owned() };
    layer.mode("u", 0o2750).mode("w", 0o755);
    drop(open(&place.config(&["a"], "u", "w")).unwrap());
    let mode = |name| std::os::unix::fs::MetadataExt::mode(&layer.stat(name)) & 0o7777;
    assert_eq!((mode("u"), mode("w"), mode("w/work")), (0o2750, 0o755, 0o700));
}

/// What is in a workdir is removed: what is another's must not be in it.
#[test]
fn a_workdir_that_holds_something_of_others() {
    let place = Place::new();
    let layer = Layer { root: place.dir.path().to_owned() };
    layer.file("a/work/precious", "").dir("w/layer").file("w/work/precious", "");
    place.refused(&place.config(&["a"], "u", "a"), "workdir", &place.path("a"), "lowerdir");
    place.refused(&place.config(&["b", "w/layer"], "u", "w"), "workdir", &place.path("w"), "w/layer");
    place.refused(&place.config(&["a"], "u", "w"), "workdir", &place.path("w"), "work/precious");
    layer.dir("w2/work/incompat/future");
    place.refused(&place.config(&["a"], "u", "w2"), "workdir", &place.path("w2"), "future");
    // What fuse-overlayfs and the kernel's overlayfs leave behind is swept.
    std::fs::rename(place.path("w/work/precious"), place.path("w/work/17")).unwrap();
    layer.dir("w/work/#a");
    let _union = open(&place.config(&["a"], "u", "w")).unwrap();
    assert_eq!(layer.names("w/work"), [""; 0]);
}
