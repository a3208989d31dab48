//! Which of the layers' entries a name stands for.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use unionfuse::types::{Kind, NodeId};

use crate::kit::bench::{over, union};
use crate::kit::layer::Layer;

#[test]
fn the_top_most_file_is_shown() {
    let bench = union(|[top, bottom]: &[Layer; 2], upper| {
        upper.file("a", "upper");
        top.file("a", "top").file("b", "top");
        bottom.file("a", "bottom").file("b", "bottom").file("c", "bottom");
    });
    assert_eq!(bench.text("a").unwrap(), "upper");
    assert_eq!(bench.text("b").unwrap(), "top");
    assert_eq!(bench.text("c").unwrap(), "bottom");
    assert_eq!(bench.stat("d"), Err(Errno::NOENT));
}

#[test]
fn directories_are_merged_at_every_depth() {
    let bench = union(|[top, bottom]: &[Layer; 2], upper| {
        upper.file("d/e/f/upper", "");
        top.file("d/e/f/top", "");
        bottom.file("d/e/f/bottom", "").file("d/e/g", "");
    });
    assert_eq!(bench.names("d/e/f").unwrap(), ["bottom", "top", "upper"]);
    assert_eq!(bench.names("d/e").unwrap(), ["f", "g"]);
}

#[test]
fn a_file_hides_directories_below_and_ends_a_merge() {
    let bench = union(|[top, middle, bottom]: &[Layer; 3], upper| {
        upper.dir("merged").file("file", "");
        top.file("merged/1", "");
        middle.file("merged", "in between").file("file/x", "");
        bottom.file("merged/3", "");
    });
    assert_eq!(bench.names("merged").unwrap(), ["1"]);
    assert_eq!(bench.stat("file").unwrap().kind, Kind::File);
    assert_eq!(bench.stat("file/x"), Err(Errno::NOTDIR));
}

#[test]
fn a_directory_takes_its_attributes_from_the_top_most_layer() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.dir("d").mode("d", 0o750).owner("d", 5, 6).time("d", 1000);
        bottom.dir("d").mode("d", 0o711).time("d", 2000);
    });
    let attr = bench.stat("d").unwrap();
    assert_eq!((attr.perm, attr.uid, attr.gid, attr.mtime.sec), (0o750, 5, 6, 1000));
}

#[test]
fn names_are_bytes() {
    let name = OsStr::from_bytes(b"\xff\xfe not utf-8 \x01");
    let longest = "x".repeat(255);
    let bench = over(|lower| {
        lower.file(name, "bytes").file(&longest, "long");
    });
    assert_eq!(bench.text(name).unwrap(), "bytes");
    assert_eq!(bench.text(&longest).unwrap(), "long");
    bench.write(name, "BYTES").unwrap();
    bench.unlink(&longest).unwrap();
    assert!(bench.upper().is_whiteout(&longest));
    bench.write(&longest, "again").unwrap();
    assert_eq!(bench.upper().text(name), "BYTES");
    assert_eq!(bench.upper().text(&longest), "again");
}

#[test]
fn a_name_too_long_is_refused() {
    let bench = over(|_| {});
    let long = "x".repeat(256);
    assert_eq!(bench.stat(&long), Err(Errno::NAMETOOLONG));
    assert_eq!(bench.create(&long), Err(Errno::NAMETOOLONG));
    assert_eq!(bench.mkdir(&long), Err(Errno::NAMETOOLONG));
}

#[test]
fn a_deep_tree_of_long_names() {
    // Sixteen names of 255 bytes make a path of 4,095 bytes with their slashes.
    let path = vec!["y".repeat(255); 16].join("/");
    let bench = over(|_| {});
    let mut at = String::new();
    for name in path.split('/') {
        at.push_str(name);
        bench.mkdir(&at).unwrap();
        at.push('/');
    }
    bench.write(format!("{path}/f"), "deep").unwrap();
    bench.forget_all();
    assert_eq!(bench.text(format!("{path}/f")).unwrap(), "deep");
}

#[test]
fn two_hundred_layers() {
    let bench = union(|lowers: &[Layer; 200], _| {
        for (n, lower) in lowers.iter().enumerate() {
            lower.file(format!("d/{n}"), n.to_string()).file("same", n.to_string());
        }
    });
    assert_eq!(bench.text("same").unwrap(), "0");
    assert_eq!(bench.text("d/199").unwrap(), "199");
    assert_eq!(bench.names("d").unwrap().len(), 200);
    bench.rename("d", "e").unwrap();
    assert_eq!(bench.names("e").unwrap().len(), 200);
}

#[test]
fn looking_into_a_file_or_an_unknown_node_fails() {
    let bench = over(|lower| {
        lower.file("f", "");
    });
    let file = bench.node("f").unwrap();
    assert_eq!(bench.look(file, "x"), Err(Errno::NOTDIR));
    assert_eq!(bench.look(NodeId(u64::MAX), "x"), Err(Errno::STALE));
}

#[test]
fn symlinks_are_read_not_followed() {
    let bench = over(|lower| {
        lower.symlink("out", "/etc/passwd").symlink("dir", "../..").file("f", "");
    });
    assert_eq!(bench.stat("out").unwrap().kind, Kind::Symlink);
    assert_eq!(bench.target("out").unwrap(), "/etc/passwd");
    assert_eq!(bench.stat("dir/x"), Err(Errno::NOTDIR));
    assert_eq!(bench.target("f"), Err(Errno::INVAL));
}

#[test]
fn a_symlink_to_a_directory_is_not_merged() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.symlink("d", "elsewhere");
        bottom.file("d/f", "");
    });
    assert_eq!(bench.stat("d").unwrap().kind, Kind::Symlink);
    assert_eq!(bench.stat("d/f"), Err(Errno::NOTDIR));
}

#[test]
fn a_node_lives_as_long_as_it_is_referenced() {
    let bench = over(|lower| {
        lower.file("d/f", "");
    });
    let first = bench.stat("d/f").unwrap();
    bench.stat("d/f").unwrap();
    assert_eq!(bench.raw().live_nodes(), 3);
    bench.raw().forget(first.node, 1);
    assert!(bench.raw().getattr(first.node).is_ok());
    bench.raw().forget(first.node, 1);
    assert!(bench.raw().getattr(first.node).is_err());
    assert_eq!(bench.raw().live_nodes(), 2);
    // The harness would give them back a second time; too many are harmless.
    bench.forget_all();
}

#[test]
fn a_directory_outlives_its_own_references_while_it_has_children() {
    let bench = over(|lower| {
        lower.file("a/b/f", "text");
    });
    let file = bench.node("a/b/f").unwrap();
    bench.forget(bench.node("a/b").unwrap());
    bench.forget(bench.node("a").unwrap());
    assert_eq!(bench.text_of(file).unwrap(), "text");
    bench.write_node(file, 0, "TEXT").unwrap();
    assert_eq!(bench.upper().text("a/b/f"), "TEXT");
}

/// The names in a directory of many layers are remembered; whoever changes a layer by other ways can have them forgotten.
#[test]
fn what_came_into_a_layer_is_found_after_a_refresh() {
    let bench = union(|lowers: &[Layer; 9], _| {
        for lower in lowers {
            lower.file("d/f", "").time("d", 5);
        }
    });
    let dir = bench.node("d").unwrap();
    assert_eq!(bench.names("d").unwrap(), ["f"]);
    let late = bench.lowers[3].path("d/late");
    std::fs::write(&late, "").unwrap();
    assert!(!bench.has("d/late"));
    bench.raw().refresh(dir);
    assert!(bench.has("d/late"));
    std::fs::remove_file(late).unwrap();
    bench.lowers[3].time("d", 5);
}
