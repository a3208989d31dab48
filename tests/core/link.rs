//! Hard links made through the union. Those of lowerdirs are in `index`.

use rustix::io::Errno;

use crate::kit::bench::{errno, over, union};
use crate::kit::layer::Layer;

#[test]
fn a_link_to_a_lower_file() {
    let mut bench = over(|lower| {
        lower.file("d/f", "text").dir("e");
    });
    let node = bench.node("d/f").unwrap();
    let attr = bench.link("d/f", "e/g").unwrap();
    assert_eq!((attr.node, attr.nlink), (node, 2));
    bench.write("e/g", "TEXT").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.text("d/f").unwrap(), "TEXT");
        assert_eq!(bench.node("d/f").unwrap(), node);
        assert_eq!(bench.stat("e/g").unwrap().node, node);
        assert_eq!(bench.stat("d/f").unwrap().nlink, 2);
        bench.reopen();
    }
}

#[test]
fn a_link_to_an_upper_file_and_back() {
    let bench = union(|[_]: &[Layer; 1], upper| {
        upper.file("f", "text");
    });
    let node = bench.node("f").unwrap();
    for name in ["a", "b", "c"] {
        assert_eq!(bench.link("f", name).unwrap().node, node);
    }
    assert_eq!(bench.stat("f").unwrap().nlink, 4);
    for (name, left) in [("f", 3), ("b", 2), ("a", 1)] {
        bench.unlink(name).unwrap();
        assert_eq!(bench.stat("c").unwrap().nlink, left);
        assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, left);
    }
    assert_eq!(bench.text_of(node).unwrap(), "text");
}

#[test]
fn symlinks_and_special_files_can_be_linked() {
    let mut bench = over(|lower| {
        lower.symlink("s", "target").node("p", rustix::fs::FileType::Fifo, 0o600, 0);
    });
    for (old, new) in [("s", "s2"), ("p", "p2")] {
        let node = bench.node(old).unwrap();
        assert_eq!(bench.link(old, new).unwrap().node, node);
        bench.reopen();
        assert_eq!(bench.node(old).unwrap(), node);
        assert_eq!(bench.node(new).unwrap(), node);
    }
    assert_eq!(bench.target("s2").unwrap(), "target");
}

#[test]
fn a_link_over_a_whiteout() {
    let mut bench = over(|lower| {
        lower.file("f", "text").file("gone", "old");
    });
    bench.unlink("gone").unwrap();
    bench.link("f", "gone").unwrap();
    bench.reopen();
    assert_eq!(bench.text("gone").unwrap(), "text");
    assert_eq!(bench.node("f").unwrap(), bench.node("gone").unwrap());
}

#[test]
fn what_cannot_be_linked() {
    let bench = over(|lower| {
        lower.file("f", "").file("taken", "").dir("d");
    });
    assert_eq!(bench.link("d", "x"), Err(Errno::PERM));
    assert_eq!(bench.link("f", "taken"), Err(Errno::EXIST));
    assert_eq!(bench.link("f", "d"), Err(Errno::EXIST));
    assert_eq!(bench.link("f", "f"), Err(Errno::EXIST));
    assert_eq!(bench.link("f", "taken/x"), Err(Errno::NOTDIR));
}

#[test]
fn a_file_without_a_name_gets_none() {
    let bench = over(|lower| {
        lower.file("low", "");
    });
    bench.create("up").unwrap();
    for path in ["low", "up"] {
        let node = bench.node(path).unwrap();
        bench.unlink(path).unwrap();
        assert_eq!(bench.link_node(node, "again"), Err(Errno::NOENT), "{path}");
        assert!(!bench.has("again"));
    }
}

#[test]
fn names_that_were_never_looked_up_are_links_all_the_same() {
    let bench = union(|[_]: &[Layer; 1], upper| {
        upper.file("a", "text").link("b", "a").link("c", "a");
    });
    let node = bench.node("a").unwrap();
    bench.unlink("a").unwrap();
    assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 2);
    bench.write_node(node, 0, "TEXT").unwrap();
    assert_eq!(bench.text("b").unwrap(), "TEXT");
    assert_eq!(bench.node("c").unwrap(), node);
    bench.unlink("b").unwrap();
    bench.unlink("c").unwrap();
    assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0);
    assert_eq!(bench.text_of(node).unwrap(), "TEXT");
}

#[test]
fn a_link_leaves_the_directories_times_right() {
    let bench = over(|lower| {
        lower.file("from/f", "").dir("to").time("from", 10).time("to", 20);
    });
    bench.link("from/f", "to/g").unwrap();
    assert_eq!(bench.stat("from").unwrap().mtime.sec, 10);
    assert!(bench.stat("to").unwrap().mtime.sec > 20);
}

/// More names than are remembered: those that are forgotten are found again, and the file outlives all of them while it is open.
#[test]
fn a_file_may_have_more_names_than_are_remembered() {
    const NAMES: u32 = 3000;
    let bench = over(|lower| {
        lower.file("lower", "data");
    });
    for first in ["lower", "upper"] {
        let node =
            if first == "upper" { bench.write(first, "data").unwrap() } else { bench.node(first).unwrap() };
        for n in 1..NAMES {
            bench.link(first, format!("{first}{n}")).unwrap();
        }
        assert_eq!(bench.stat(first).unwrap().nlink, NAMES);
        // In the order in which they were made, so those that were forgotten first.
        bench.unlink(first).unwrap();
        for n in 1..NAMES - 1 {
            bench.unlink(format!("{first}{n}")).unwrap();
        }
        let last = format!("{first}{}", NAMES - 1);
        assert_eq!(bench.stat(&last).unwrap().node, node);
        bench.write(&last, "DATA").unwrap();
        assert_eq!(bench.text_of(node).unwrap(), "DATA");
        bench.unlink(&last).unwrap();
        assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0);
        bench.write_node(node, 0, "none").unwrap();
        assert_eq!(bench.text_of(node).unwrap(), "none");
    }
}
