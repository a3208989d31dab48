//! AUFS-style whiteouts in lower layers: `.wh.NAME` hides NAME, `.wh..wh..opq` makes its directory opaque. Ours alone, since the
//! kernel's overlayfs shows such files as they are.

use std::fs;

use crate::support::alone::Alone;
use crate::support::layer::{Layer, layer};
use crate::support::subject::ours_or_skip;
use crate::support::tree::snapshot;

fn bottom() -> Layer {
    layer()
        .file("f", "f")
        .file("g", "g")
        .file("d/x", "x")
        .file("d/y", "y")
        .file("o/hidden", "h")
        .file("o/sub/hidden", "h")
        .file("whole/1", "1")
}

fn marked() -> Layer {
    layer()
        .file(".wh.f", "")
        .file("d/.wh.x", "")
        .file("o/.wh..wh..opq", "")
        .file("o/seen", "s")
        .file("o/sub/new", "n")
        .file(".wh.whole", "")
        .file(".wh.never_was", "")
}

#[test]
fn aufs_marks_hide_and_do_not_show() {
    if !ours_or_skip() {
        return;
    }
    let union = Alone::new(&[marked(), bottom()], &layer());
    let tree = snapshot(union.root());
    assert_eq!(tree.paths(), ["d/", "d/y", "g", "o/", "o/seen", "o/sub/", "o/sub/new"]);
    assert_eq!(tree.readdir_lies, Vec::<String>::new());
    for name in
        ["f", ".wh.f", "d/x", "d/.wh.x", "o/hidden", "o/.wh..wh..opq", "o/sub/hidden", "whole", ".wh.whole"]
    {
        let error = fs::symlink_metadata(union.root().join(name)).expect_err(name);
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{name}");
    }
    union.unmount();
}

#[test]
fn aufs_marks_in_the_middle_of_a_stack() {
    if !ours_or_skip() {
        return;
    }
    let top = layer().file("f", "again").file("o/top", "t").file("whole/2", "2");
    let union = Alone::new(&[top, marked(), bottom()], &layer());
    assert_eq!(
        snapshot(union.root()).paths(),
        ["d/", "d/y", "f", "g", "o/", "o/seen", "o/sub/", "o/sub/new", "o/top", "whole/", "whole/2"]
    );
    union.unmount();
}

#[test]
fn hidden_names_can_be_made_again() {
    if !ours_or_skip() {
        return;
    }
    let mut union = Alone::new(&[marked(), bottom()], &layer());
    let root = union.root().to_owned();
    fs::write(root.join("f"), "second life").unwrap();
    fs::create_dir(root.join("whole")).unwrap();
    fs::rename(root.join("o"), root.join("oo")).unwrap();
    fs::remove_file(root.join("d/y")).unwrap();
    fs::remove_dir(root.join("d")).unwrap();
    for _ in 0..2 {
        assert_eq!(snapshot(&root).paths(), ["f", "g", "oo/", "oo/seen", "oo/sub/", "oo/sub/new", "whole/"]);
        assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "second life");
        union.remount();
    }
    union.unmount();
}

#[test]
fn such_names_cannot_be_made_in_the_union() {
    if !ours_or_skip() {
        return;
    }
    let union = Alone::new(&[bottom()], &layer());
    let root = union.root();
    assert!(fs::write(root.join(".wh.g"), "").is_err(), "create");
    assert!(fs::create_dir(root.join("d/.wh.x")).is_err(), "mkdir");
    assert!(fs::rename(root.join("g"), root.join(".wh.f")).is_err(), "rename");
    assert!(fs::hard_link(root.join("g"), root.join(".wh..wh..opq")).is_err(), "link");
    assert!(std::os::unix::fs::symlink("x", root.join(".wh.s")).is_err(), "symlink");
    assert!(fs::write(root.join(".whx"), "an ordinary name").is_ok());
    let upper = &union.stack.upper.as_ref().unwrap().0;
    assert_eq!(snapshot(upper).paths(), [".whx"]);
    union.unmount();
}
