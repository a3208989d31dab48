//! Names and paths at the limits.

use crate::kit::alone::Alone;
use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::layer;
use crate::kit::subject::ours_or_skip;

#[test]
fn names_of_255_bytes() {
    let (old, new, third) = ("o".repeat(255), "n".repeat(255), "t".repeat(255));
    let below = format!("{old}/{new}");
    let too_long = "x".repeat(256);
    let lower = layer().file(&below, "data").file(&third, "third");
    let steps = [
        append(&below, "!"),
        rename(&third, &new),
        rename(&old, &third),
        read(&format!("{third}/{new}")),
        put(&old, "again"),
        unlink(&new),
        put(&too_long, ""),
        stat(&too_long),
        mkdir(&too_long),
        rename(&old, &too_long),
        symlink("x", &too_long),
        link(&old, &too_long),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn names_that_are_not_utf8() {
    let every_byte: Vec<u8> = (1..=255).filter(|byte| *byte != b'/').collect();
    let (head, tail) = every_byte.split_at(120);
    let lower = layer()
        .file(head, "head")
        .file(&[b"d\xff/".as_slice(), tail].concat(), "tail")
        .file(b"\x80", "one byte");
    let steps = [
        append(head, "!"),
        rename(tail, b"\xc3\x28"),
        rename(b"\x80", b"d\xff/\x81"),
        rename(b"d\xff", b"e\xfe"),
        put(b"e\xfe/new\ncolumn\t", "odd"),
        list(b"e\xfe"),
        unlink(&[b"e\xfe/".as_slice(), tail].concat()),
        symlink(b"\xf0\x28", b"link\xff"),
        mkdir(b" "),
        put(b" /\\", "x"),
        setxattr(head, "user.x", b"\xff\x00\xfe"),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn names_that_mean_something_elsewhere() {
    let lower = layer()
        .file("index/f", "")
        .file("work/f", "")
        .file("a:b,c\\d", "punctuation")
        .file("-rf", "")
        .file("...", "dots")
        .file("#1", "");
    let steps = [
        append("index/f", "!"),
        rename("work", "index/work"),
        append("a:b,c\\d", "!"),
        unlink("-rf"),
        rename("...", ".wha"),
        unlink("#1"),
        put("incompat", ""),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn paths_near_4095_bytes() {
    let name = |letter: &str| letter.repeat(250);
    let deep: Vec<String> = (0..16).map(|i| name(&char::from(b'a' + i).to_string())).collect();
    let path = |levels: usize| deep[..levels].join("/");
    let full = |leaf: &str| format!("{}/{leaf}", path(16));
    let lower = (1..=8).fold(layer(), |layer, levels| layer.dir(&path(levels)));
    assert_eq!(full(&"l".repeat(79)).len(), 4095);
    let the_rest = (9..=16).map(|levels| mkdir(&path(levels)));
    let steps = [
        put(&full("f"), "at the bottom"),
        put(&full("g"), "another"),
        append(&full("f"), "!"),
        read(&full("f")),
        put(&full("n"), "new"),
        put(&full(&"l".repeat(79)), "4095 bytes"),
        put(&full(&"l".repeat(80)), "4096 bytes"),
        rename(&full("g"), &full("h")),
        mkdir(&full("dir")),
        unlink(&full("f")),
        rename(&path(1), "short"),
        rename(&format!("short/{}", deep[1]), "short/s2"),
        rename(&format!("short/s2/{}", deep[2]), "short/s2/s3"),
    ];
    case().lower(lower).run(the_rest.chain(steps)).check();
}

/// The kernel's overlayfs records redirects of up to 256 bytes and answers EXDEV beyond; ours must not.
#[test]
fn directories_with_long_paths_move_to_other_directories() {
    if !ours_or_skip() {
        return;
    }
    let long = format!("{}/{}", "a".repeat(250), "b".repeat(250));
    let lower = layer().file(&format!("{long}/d/f"), "data").file("e/x", "x");
    let mut union = Alone::new(&[lower], &layer());
    let root = union.root().to_owned();
    std::fs::rename(root.join(&long).join("d"), root.join("e/d")).unwrap();
    std::fs::rename(root.join("e"), root.join(&long).join("e")).unwrap();
    for _ in 0..2 {
        assert_eq!(std::fs::read_to_string(root.join(&long).join("e/d/f")).unwrap(), "data");
        assert_eq!(std::fs::read_to_string(root.join(&long).join("e/x")).unwrap(), "x");
        union.remount();
    }
    union.unmount();
}

#[test]
fn two_hundred_directories_deep() {
    let path = |levels: usize| vec!["d"; levels].join("/");
    let lower = layer().file(&format!("{}/f", path(200)), "deep");
    let steps = [
        append(&format!("{}/f", path(200)), "!"),
        rename(&path(100), "half"),
        put(&format!("half/{}/g", path(100)), "g"),
        remove_tree("d"),
    ];
    case().lower(lower).run(steps).check();
}
