//! Numbers: `st_ino` through copy-up, rename and remount, link counts, and never two files under one number.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use crate::kit::alone::Alone;
use crate::kit::mode::Mode;
use crate::kit::recipe::layer;
use crate::kit::subject::ours_or_skip;

fn ino(path: impl AsRef<Path>) -> u64 {
    fs::symlink_metadata(path.as_ref()).unwrap_or_else(|e| panic!("{}: {e}", path.as_ref().display())).ino()
}

fn union() -> Option<Alone> {
    let bottom = layer()
        .file("f", "f")
        .file("d/x", "x")
        .file("m/1", "1")
        .symlink("f", "s")
        .fifo("p")
        .file("a", "")
        .hard_link("a", "b");
    let top = layer().file("m/2", "2");
    ours_or_skip().then(|| Alone::new(&[top, bottom], &layer()))
}

#[test]
fn numbers_survive_copy_up_rename_and_remount() {
    let Some(mut union) = union() else { return };
    let root = union.root().to_owned();
    let before = ["f", "d", "d/x", "m", "m/1", "m/2", "s", "p", "a"].map(|name| (name, ino(root.join(name))));
    let before: BTreeMap<_, _> = before.into_iter().collect();
    let open = OpenOptions::new().write(true).open(root.join("f")).unwrap();
    open.write_at(b"!", 1).unwrap();
    assert_eq!(open.metadata().unwrap().ino(), before["f"]);
    fs::set_permissions(root.join("d"), std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
    fs::write(root.join("d/x"), "changed").unwrap();
    fs::write(root.join("m/1"), "changed").unwrap();
    fs::write(root.join("b"), "changed").unwrap();
    for (name, number) in &before {
        assert_eq!(ino(root.join(name)), *number, "{name} after copy-up");
    }
    fs::rename(root.join("f"), root.join("d/f")).unwrap();
    fs::rename(root.join("d"), root.join("dd")).unwrap();
    fs::rename(root.join("m"), root.join("mm")).unwrap();
    fs::rename(root.join("s"), root.join("ss")).unwrap();
    fs::rename(root.join("p"), root.join("pp")).unwrap();
    fs::rename(root.join("a"), root.join("aa")).unwrap();
    drop(open);
    let moved = [
        ("dd/f", "f"),
        ("dd", "d"),
        ("dd/x", "d/x"),
        ("mm", "m"),
        ("mm/1", "m/1"),
        ("mm/2", "m/2"),
        ("ss", "s"),
        ("pp", "p"),
        ("aa", "a"),
        ("b", "a"),
    ];
    // Without root there is no attribute on symlinks and fifos to record their origin in.
    let recorded = |name: &str| Mode::current() == Mode::Root || !matches!(name, "ss" | "pp");
    for when in ["after rename", "after remount", "after another remount"] {
        for (now, was) in moved.into_iter().filter(|(now, _)| when == "after rename" || recorded(now)) {
            assert_eq!(ino(root.join(now)), before[was], "{now} {when}");
        }
        union.remount();
    }
    union.unmount();
}

#[test]
fn numbers_are_those_of_the_layers() {
    let Some(union) = union() else { return };
    for (name, layer) in
        [("f", 1), ("d", 1), ("d/x", 1), ("m", 0), ("m/1", 1), ("m/2", 0), ("s", 1), ("p", 1), ("b", 1)]
    {
        assert_eq!(ino(union.root().join(name)), ino(union.stack.lowers[layer].join(name)), "{name}");
    }
    union.unmount();
}

#[test]
fn new_files_keep_their_numbers_over_a_remount() {
    let Some(mut union) = union() else { return };
    let root = union.root().to_owned();
    fs::write(root.join("n"), "").unwrap();
    fs::create_dir(root.join("m/dir")).unwrap();
    fs::hard_link(root.join("n"), root.join("d/n")).unwrap();
    let before = ["n", "m/dir", "d/n"].map(|name| ino(root.join(name)));
    fs::rename(root.join("n"), root.join("m/n")).unwrap();
    union.remount();
    assert_eq!(["m/n", "m/dir", "d/n"].map(|name| ino(root.join(name))), before);
    union.unmount();
}

/// The filesystem gives a deleted file's number to the next file while the old one is still open.
#[test]
fn two_live_files_never_share_a_number() {
    let Some(union) = union() else { return };
    let root = union.root().to_owned();
    let mut open = Vec::new();
    for i in 0..200 {
        let path = root.join("d/churn");
        let file = File::options().read(true).write(true).create_new(true).open(&path).unwrap();
        file.write_at(format!("content {i}").as_bytes(), 0).unwrap();
        fs::remove_file(&path).unwrap();
        match i % 3 {
            0 => fs::create_dir(&path).and_then(|()| fs::remove_dir(&path)).unwrap(),
            1 => std::os::unix::fs::symlink("x", &path).and_then(|()| fs::remove_file(&path)).unwrap(),
            _ => {}
        }
        open.push(file);
    }
    let mut seen = BTreeMap::new();
    for (i, file) in open.iter().enumerate() {
        let meta = file.metadata().unwrap();
        assert!(meta.is_file() && meta.nlink() == 0, "file {i}: {meta:?}");
        assert_eq!(seen.insert(meta.ino(), i), None, "file {i} has the number of another");
        let mut data = [0; 32];
        let n = file.read_at(&mut data, 0).unwrap_or_else(|e| panic!("file {i}: {e}"));
        assert_eq!(&data[..n], format!("content {i}").as_bytes());
    }
    drop(open);
    union.unmount();
}

#[test]
fn link_counts_of_lower_links() {
    let Some(mut union) = union() else { return };
    let root = union.root().to_owned();
    let links = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().nlink();
    assert_eq!((links("a"), links("f")), (2, 1));
    fs::hard_link(root.join("a"), root.join("c")).unwrap();
    assert_eq!((links("a"), links("b"), links("c")), (3, 3, 3));
    fs::remove_file(root.join("b")).unwrap();
    assert_eq!((links("a"), links("c")), (2, 2));
    union.remount();
    let links = |name: &str| fs::symlink_metadata(root.join(name)).unwrap().nlink();
    assert_eq!((links("a"), links("c")), (2, 2));
    fs::remove_file(root.join("a")).unwrap();
    assert_eq!(links("c"), 1);
    union.unmount();
}

#[test]
fn readdir_numbers_after_copy_up_under_a_listing() {
    let Some(union) = union() else { return };
    let root = union.root().to_owned();
    for name in ["f", "d/x", "m/1", "m/2", "a"] {
        fs::write(root.join(name), "changed").unwrap();
    }
    fs::rename(root.join("d"), root.join("m/d")).unwrap();
    let tree = crate::kit::tree::snapshot(&root);
    assert_eq!(tree.readdir_lies, Vec::<String>::new());
    assert_eq!(tree.paths(), ["a", "b", "f", "m/", "m/1", "m/2", "m/d/", "m/d/x", "p", "s"]);
    union.unmount();
}

#[test]
fn dot_dot_is_the_parent_also_after_a_move() {
    let Some(union) = union() else { return };
    let root = union.root().to_owned();
    assert_eq!(crate::kit::tree::snapshot(&root).dotdot_lies, Vec::<String>::new(), "before");
    fs::rename(root.join("d"), root.join("m/d")).unwrap();
    fs::create_dir(root.join("n")).unwrap();
    fs::rename(root.join("m"), root.join("n/m")).unwrap();
    assert_eq!(crate::kit::tree::snapshot(&root).dotdot_lies, Vec::<String>::new(), "after");
    union.unmount();
}
