//! AUFS marks in lowerdirs, as container tools extract layers.

use rustix::io::Errno;

use super::harness::{over, union};
use super::layer::Layer;

#[test]
fn marks_hide_what_is_below_and_are_never_seen() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file(".wh.gone", "")
            .file("d/.wh.x", "")
            .file("d/top", "")
            .file("o/.wh..wh..opq", "")
            .file("o/new", "");
        bottom.file("gone", "").file("d/x", "").file("d/y", "").file("o/old", "").file("stays", "");
    });
    assert_eq!(bench.names("").unwrap(), ["d", "o", "stays"]);
    assert_eq!(bench.names("d").unwrap(), ["top", "y"]);
    assert_eq!(bench.names("o").unwrap(), ["new"]);
    for path in [".wh.gone", "d/.wh.x", "o/.wh..wh..opq", "gone", "d/x", "o/old"] {
        assert_eq!(bench.stat(path), Err(Errno::NOENT), "{path}");
    }
}

#[test]
fn a_mark_does_not_hide_what_is_in_its_own_layer() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file(".wh.f", "").file("f", "top").file(".wh.d", "").file("d/top", "");
        bottom.file("f", "bottom").file("d/bottom", "");
    });
    assert_eq!(bench.text("f").unwrap(), "top");
    assert_eq!(bench.names("d").unwrap(), ["top"]);
}

#[test]
fn marks_are_hidden_in_the_only_layer_too() {
    let bench = over(|lower| {
        lower.file("d/.wh.x", "").file("d/.wh..wh..plnk", "").file("d/x", "");
    });
    assert_eq!(bench.names("d").unwrap(), ["x"]);
    assert!(bench.has("d/x"));
}

#[test]
fn a_name_hidden_by_a_mark_is_free() {
    let mut bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file("d/.wh.f", "").file("d/.wh.sub", "");
        bottom.file("d/f", "old").file("d/sub/old", "");
    });
    bench.write("d/f", "new").unwrap();
    bench.mkdir("d/sub").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.text("d/f").unwrap(), "new");
        assert_eq!(bench.names("d/sub").unwrap(), [""; 0]);
        bench.reopen();
    }
    bench.unlink("d/f").unwrap();
    bench.rmdir("d/sub").unwrap();
    bench.reopen();
    assert_eq!(bench.names("d").unwrap(), [""; 0]);
    assert!(!bench.upper().has("d/f"), "a lowerdir hides it already");
}

#[test]
fn marks_are_looked_for_again_after_a_listing() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file("d/.wh.x", "");
        bottom.file("d/x", "").file("e/x", "").file("d/z", "");
    });
    assert_eq!(bench.names("d").unwrap(), ["z"]);
    assert!(!bench.has("d/x"));
    assert!(bench.has("e/x"));
}

#[test]
fn the_longest_name_has_no_mark() {
    let name = "n".repeat(252);
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.dir("d");
        bottom.file(format!("d/{name}"), "");
    });
    assert_eq!(bench.names("d").unwrap(), [name]);
}

#[test]
fn a_directory_with_marks_only_is_empty() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file("d/.wh.x", "");
        bottom.file("d/x", "");
    });
    bench.rmdir("d").unwrap();
    assert_eq!(bench.names("").unwrap(), [""; 0]);
}
