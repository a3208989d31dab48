//! AUFS marks in lowerdirs, as container tools extract layers.

use rustix::io::Errno;

use unionfuse::types::{Kind, RenameMode};

use crate::kit::bench::{Bench, over, union};
use crate::kit::layer::Layer;

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

/// Everything that a union shows, as lines.
fn shown(bench: &Bench, dir: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for name in bench.names(dir).unwrap() {
        let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
        let attr = bench.stat(&path).unwrap();
        match attr.kind {
            Kind::Directory => {
                lines.push(format!("{path}/"));
                lines.extend(shown(bench, &path));
            }
            Kind::File => lines.push(format!("{path}: {}", bench.text(&path).unwrap())),
            other => lines.push(format!("{path}: {other:?}")),
        }
    }
    lines
}

/// The same before and after, whatever the layers are: mounted again, seen by a view, and twice with the upperdir as a lowerdir.
fn assert_lasts(mut bench: Bench, wanted: &[&str]) {
    assert_eq!(shown(&bench, ""), wanted);
    assert_eq!(shown(&bench.view(), ""), wanted, "by a view");
    bench.reopen();
    assert_eq!(shown(&bench, ""), wanted, "mounted again");
    for _ in 0..2 {
        bench.reopen_above();
        assert_eq!(shown(&bench, ""), wanted, "above");
    }
    // What is copied up from such a layer is what it was.
    let dirs = wanted.iter().filter_map(|line| line.strip_suffix('/'));
    let files =
        wanted.iter().filter(|line| !line.ends_with("Symlink")).filter_map(|line| line.split_once(": "));
    for path in dirs.chain(files.map(|(path, _)| path)) {
        bench.chmod(path, 0o700).unwrap();
    }
    bench.reopen_above();
    assert_eq!(shown(&bench, ""), wanted, "copied up");
}

#[test]
fn such_names_are_ordinary_in_the_upper() {
    let bench = over(|lower| {
        lower.file("d/x", "x").file("d/y", "y").file("e/z", "z").file("gone/f", "");
    });
    bench.write("d/.wh.x", "hides nothing").unwrap();
    bench.write("d/.wh..wh..opq", "").unwrap();
    bench.mkdir("e/.wh.z").unwrap();
    bench.write("e/.wh.z/.wh..", "odd").unwrap();
    bench.symlink(".wh.link", "d/x").unwrap();
    bench.link("d/.wh.x", ".wh.e").unwrap();
    bench.write("moved", "moved").unwrap();
    bench.rename("moved", "d/.wh.moved").unwrap();
    bench.write("one", "1").unwrap();
    bench.rename_with("one", "d/.wh..wh..opq", RenameMode::Exchange).unwrap();
    assert_eq!(bench.create("d/.wh.x"), Err(Errno::EXIST));
    bench.write("d/.wh.removed", "").unwrap();
    bench.unlink("d/.wh.removed").unwrap();
    bench.unlink("gone/f").unwrap();
    bench.create("gone/.wh.f").unwrap();
    assert_eq!(bench.rmdir("gone"), Err(Errno::NOTEMPTY));
    let wanted = [
        ".wh.e: hides nothing",
        ".wh.link: Symlink",
        "d/",
        "d/.wh..wh..opq: 1",
        "d/.wh.moved: moved",
        "d/.wh.x: hides nothing",
        "d/x: x",
        "d/y: y",
        "e/",
        "e/.wh.z/",
        "e/.wh.z/.wh..: odd",
        "e/z: z",
        "gone/",
        "gone/.wh.f: ",
        "one: ",
    ];
    assert_lasts(bench, &wanted);
}

/// The layers of another engine's store hold such names as data, and the union deletes some.
#[test]
fn such_names_are_deleted_and_stay_so() {
    let mut bench = over(|lower| {
        lower.file("keep", "kept").file("store/g", "g").file("store/h", "h").file("tree/f", "f");
    });
    bench.write("store/.wh.g", "first").unwrap();
    bench.write("store/.wh.h", "second").unwrap();
    bench.mkdir("tree/.wh.f").unwrap();
    bench.write("tree/.wh.f/.wh.deep", "deep").unwrap();
    bench.write(".wh.keep", "third").unwrap();
    bench.reopen_above();
    bench.unlink("store/.wh.g").unwrap();
    bench.rename("store/.wh.h", "store/.wh.i").unwrap();
    bench.rename("tree", "trunk").unwrap();
    bench.unlink("trunk/.wh.f/.wh.deep").unwrap();
    bench.rmdir("trunk/.wh.f").unwrap();
    bench.unlink(".wh.keep").unwrap();
    let wanted =
        ["keep: kept", "store/", "store/.wh.i: second", "store/g: g", "store/h: h", "trunk/", "trunk/f: f"];
    assert_lasts(bench, &wanted);
}

#[test]
fn marks_of_lowers_hide_beside_ordinary_names_of_the_upper() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file("d/.wh.x", "").file("o/.wh..wh..opq", "");
        bottom.file("d/x", "x").file("d/y", "y").file("o/old", "");
    });
    bench.write("d/.wh.x", "mine").unwrap();
    bench.write("d/.wh.y", "mine too").unwrap();
    bench.write("o/.wh.new", "n").unwrap();
    let wanted = ["d/", "d/.wh.x: mine", "d/.wh.y: mine too", "d/y: y", "o/", "o/.wh.new: n"];
    assert_lasts(bench, &wanted);
}

#[test]
fn many_lowers_with_ordinary_names_and_marks() {
    let mut bench = union(|lowers: &[Layer; 10], _| {
        for (number, lower) in lowers.iter().enumerate() {
            lower.file(format!("d/{number}"), "").file(format!("d/.wh.{}", number + 1), "");
        }
    });
    bench.write("d/.wh.0", "").unwrap();
    bench.reopen_above();
    assert_eq!(bench.names("d").unwrap(), [".wh.0", "0"]);
    assert!(bench.has("d/.wh.0") && bench.has("d/0") && !bench.has("d/1") && !bench.has("d/.wh.1"));
}

/// Nothing that a directory of the upperdir holds, but whiteouts, goes with it unseen.
#[test]
fn a_directory_is_not_removed_with_what_others_left_in_it() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("m/f", "");
        upper.file("d/.wh.keep", "mine").file("m/.wh.keep", "mine").file("e/.wh..wh..opq", "mine");
    });
    bench.unlink("m/f").unwrap();
    for dir in ["d", "m", "e"] {
        assert_eq!(bench.rmdir(dir), Err(Errno::NOTEMPTY), "{dir}");
        bench.mkdir("other").unwrap();
        assert_eq!(bench.rename("other", dir), Err(Errno::NOTEMPTY), "{dir}");
        bench.rmdir("other").unwrap();
    }
    assert_eq!(bench.upper().text("d/.wh.keep"), "mine");
    assert_eq!(bench.upper().text("m/.wh.keep"), "mine");
}
