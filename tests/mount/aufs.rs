//! AUFS-style whiteouts in lower layers: `.wh.NAME` hides NAME, `.wh..wh..opq` makes its directory opaque. Ours alone, since the
//! kernel's overlayfs shows such files as they are: as we do in the upperdir.

use std::fs;

use crate::kit::alone::Alone;
use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::{Layer, layer};
use crate::kit::subject::ours_or_skip;
use crate::kit::tree::snapshot;

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

/// As in an image store inside the union: whatever the kernel's overlayfs lets be done with such names, ours does.
#[test]
fn such_names_are_ordinary_where_they_are_made() {
    let lower = layer().file("d/x", "x").file("d/y", "y").file("e/f", "f");
    let steps = [
        put("d/.wh.x", "mine"),
        put("d/.wh..wh..opq", ""),
        mkdir("e/.wh.f"),
        put("e/.wh.f/.wh.", "odd"),
        symlink("x", ".wh.s"),
        link("d/.wh.x", ".wh.l"),
        rename("d/.wh..wh..opq", "e/.wh..wh..opq"),
        exchange("d/.wh.x", "e/f"),
        list("d"),
        list("e"),
        stat("d/.wh.x"),
        unlink("d/y"),
        put("d/.wh.y", ""),
        rmdir("e/.wh.f"),
        unlink("e/.wh.f/.wh."),
        rmdir("e/.wh.f"),
        rmdir("d"),
        setxattr("d", "user.overlay.opaque", "y"),
        read("d/x"),
    ];
    case().lower(lower).run(steps).check();
}

/// The kernel would take what lies in an upperdir under such a name for an ordinary one below another union, too. There, for us, it
/// may be an AUFS mark: unless it was made in a union.
#[test]
fn such_names_survive_the_upper_becoming_a_lower() {
    if !ours_or_skip() {
        return;
    }
    let first = Alone::new(&[bottom()], &layer());
    let root = first.root();
    fs::write(root.join("d/.wh.x"), "mine").unwrap();
    fs::write(root.join(".wh..wh..opq"), "").unwrap();
    fs::create_dir(root.join("d/.wh.dir")).unwrap();
    let seen = snapshot(root).paths();
    assert!(seen.contains(&"d/x".to_owned()) && seen.contains(&"d/.wh.x".to_owned()), "{seen:?}");
    let upper = first.stack.upper.as_ref().unwrap().0.clone();
    let mut second = Alone::prepared(&[layer(), bottom()], &layer(), |stack| {
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([upper.join("."), stack.lowers[0].clone()])
            .status();
        assert!(copied.unwrap().success());
    });
    for _ in 0..2 {
        assert_eq!(snapshot(second.root()).paths(), seen);
        fs::remove_file(second.root().join("g")).ok();
        fs::write(second.root().join("g"), "g").unwrap();
        second.remount();
    }
    second.unmount();
    first.unmount();
}
