//! Layers on filesystems of their own: other inode spaces, no xattrs, no file handles shared with the upper.

use std::os::unix::fs::MetadataExt;

use crate::support::alone::Alone;
use crate::support::case::case;
use crate::support::layer::{Layer, layer};
use crate::support::mode::{Mode, skip, test_name};
use crate::support::op::*;
use crate::support::subject::ours_or_skip;

fn content(name: &str) -> Layer {
    layer()
        .file("common", name)
        .file(&format!("d/{name}"), name)
        .file("d/both", name)
        .file("linked", name)
        .hard_link("linked", &format!("link_{name}"))
        .symlink("common", &format!("s_{name}"))
}

fn script() -> Vec<Op> {
    vec![
        append("common", "!"),
        append("linked", "!"),
        chmod("d", 0o700),
        rename("d/both", "both"),
        rename("d", "e"),
        unlink("e/top"),
        unlink("link_bottom"),
        put("e/new", "new"),
        list("e"),
        mkdir("d"),
        list("d"),
    ]
}

#[test]
fn lowers_on_tmpfs() {
    let stack = case().lower(content("top").on("tmpfs")).lower(content("bottom").on("tmpfs")).run(script());
    stack.root_only("to mount filesystems").check();
}

#[test]
fn every_layer_on_another_filesystem() {
    let stack =
        case().lower(content("top").on("tmpfs")).lower(content("middle")).lower(content("bottom").on("ext4"));
    stack.run(script()).root_only("to mount filesystems").kernel_only("numbers").check();
}

/// No writes to hard links: without xattrs the kernel has no index.
#[test]
fn a_squashfs_without_xattrs() {
    let on_links = |op: &Op| matches!(op, Op::Append(name, _) if name == &"linked".into());
    let stack = case()
        .lower(content("top"))
        .lower(content("bottom").on("squashfs"))
        .run(script().into_iter().filter(|op| !on_links(op)));
    stack.root_only("to mount filesystems").check();
}

#[test]
fn numbers_stay_apart_and_stay_the_same() {
    if Mode::current() != Mode::Root {
        return skip(&test_name(), "needs root to mount filesystems");
    }
    if !ours_or_skip() {
        return;
    }
    let files =
        |name: &str| (0..30).fold(content(name), |layer, i| layer.file(&format!("many/{name}{i}"), ""));
    let mut union =
        Alone::new(&[files("top").on("tmpfs"), files("bottom").on("tmpfs"), files("last")], &layer());
    let root = union.root().to_owned();
    let numbers = || -> std::collections::BTreeMap<String, u64> {
        let names = std::fs::read_dir(root.join("many")).unwrap();
        names
            .map(|entry| entry.unwrap().path())
            .map(|p| (p.display().to_string(), std::fs::metadata(&p).unwrap().ino()))
            .collect()
    };
    let before = numbers();
    let distinct: std::collections::BTreeSet<_> = before.values().collect();
    assert_eq!((before.len(), distinct.len()), (90, 90), "{before:?}");
    for path in before.keys().step_by(3) {
        std::fs::write(path, "changed").unwrap();
    }
    assert_eq!(numbers(), before, "after copy-up");
    union.remount();
    assert_eq!(numbers(), before, "after a remount");
    assert_eq!(crate::support::tree::snapshot(&root).readdir_lies, Vec::<String>::new());
    union.unmount();
}
