//! Hard links of lowerdirs: one file under all its names, copied up, removed, and over remounts.

use rustix::io::Errno;

use crate::kit::bench::{Bench, errno, over, union_with};
use crate::kit::layer::Layer;

/// `a`, `d/b` and `d/c` are one lower file.
fn three_names() -> Bench {
    over(|lower| {
        lower.file("a", "lower").link("d/b", "a").link("d/c", "a");
    })
}

const NAMES: [&str; 3] = ["a", "d/b", "d/c"];

fn check_all(bench: &Bench, names: &[&str], text: &str, links: u32) {
    let node = bench.node(names[0]).unwrap();
    for name in names {
        let attr = bench.stat(name).unwrap();
        assert_eq!((attr.node, attr.nlink), (node, links), "{name}");
        assert_eq!(bench.text(name).unwrap(), text, "{name}");
    }
}

#[test]
fn all_names_show_what_was_written_to_one() {
    for written in NAMES {
        let mut bench = three_names();
        let node = bench.node("a").unwrap();
        check_all(&bench, &NAMES, "lower", 3);
        bench.write(written, "UPPER").unwrap();
        for _ in 0..3 {
            check_all(&bench, &NAMES, "UPPER", 3);
            assert_eq!(bench.node(written).unwrap(), node, "the number stays");
            bench.forget_all();
            check_all(&bench, &NAMES, "UPPER", 3);
            bench.reopen();
        }
    }
}

#[test]
fn names_that_were_unknown_at_copy_up() {
    let mut bench = three_names();
    bench.write("d/b", "UPPER").unwrap();
    bench.forget_all();
    assert_eq!(bench.text("a").unwrap(), "UPPER");
    bench.reopen();
    assert_eq!(bench.text("d/c").unwrap(), "UPPER");
    bench.write("d/c", "AGAIN").unwrap();
    bench.reopen();
    check_all(&bench, &NAMES, "AGAIN", 3);
}

#[test]
fn writes_after_a_remount_reach_all_names() {
    let mut bench = three_names();
    bench.write("a", "FIRST").unwrap();
    bench.reopen();
    bench.write("d/c", "SECOND").unwrap();
    for _ in 0..2 {
        check_all(&bench, &NAMES, "SECOND", 3);
        bench.reopen();
    }
}

#[test]
fn unlinking_names_one_by_one() {
    for order in [[0, 1, 2], [2, 0, 1], [1, 2, 0]] {
        for remount in [false, true] {
            let mut bench = three_names();
            let mut left: Vec<&str> = NAMES.to_vec();
            for n in order {
                bench.unlink(NAMES[n]).unwrap();
                left.retain(|name| *name != NAMES[n]);
                if remount {
                    bench.reopen();
                }
                assert!(!bench.has(NAMES[n]));
                if !left.is_empty() {
                    check_all(&bench, &left, "lower", left.len() as u32);
                }
            }
            let index = crate::kit::layer::Layer { root: bench.dir().join("work/index") };
            assert_eq!(index.names(""), [""; 0], "the entry went with the last name");
        }
    }
}

#[test]
fn unlinking_after_copy_up() {
    for copied in NAMES {
        for removed in NAMES {
            let mut bench = three_names();
            bench.write(copied, "UPPER").unwrap();
            bench.unlink(removed).unwrap();
            let left: Vec<&str> = NAMES.into_iter().filter(|name| *name != removed).collect();
            for _ in 0..2 {
                check_all(&bench, &left, "UPPER", 2);
                assert_eq!(bench.stat(removed), Err(Errno::NOENT));
                bench.reopen();
            }
        }
    }
}

#[test]
fn more_names_through_the_union() {
    let mut bench = three_names();
    bench.link("d/b", "new").unwrap();
    let mut names = NAMES.to_vec();
    names.push("new");
    for _ in 0..2 {
        check_all(&bench, &names, "lower", 4);
        bench.reopen();
    }
    bench.unlink("a").unwrap();
    bench.unlink("d/b").unwrap();
    bench.write("new", "UPPER").unwrap();
    for _ in 0..2 {
        check_all(&bench, &["d/c", "new"], "UPPER", 2);
        bench.reopen();
    }
}

#[test]
fn renaming_a_name() {
    for renamed in NAMES {
        let mut bench = three_names();
        bench.rename(renamed, "moved").unwrap();
        let mut names: Vec<&str> = NAMES.into_iter().filter(|name| *name != renamed).collect();
        names.push("moved");
        for _ in 0..2 {
            check_all(&bench, &names, "lower", 3);
            assert!(!bench.has(renamed));
            bench.reopen();
        }
        bench.write("moved", "UPPER").unwrap();
        bench.reopen();
        check_all(&bench, &names, "UPPER", 3);
    }
}

#[test]
fn replacing_a_name() {
    for replaced in NAMES {
        let mut bench = three_names();
        bench.write("other", "other").unwrap();
        bench.rename("other", replaced).unwrap();
        let left: Vec<&str> = NAMES.into_iter().filter(|name| *name != replaced).collect();
        for _ in 0..2 {
            check_all(&bench, &left, "lower", 2);
            assert_eq!(bench.text(replaced).unwrap(), "other");
            assert_eq!(bench.stat(replaced).unwrap().nlink, 1);
            bench.reopen();
        }
    }
}

#[test]
fn the_removed_file_stays_usable() {
    let bench = three_names();
    let node = bench.node("a").unwrap();
    for name in NAMES {
        bench.unlink(name).unwrap();
    }
    assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0);
    assert_eq!(bench.text_of(node).unwrap(), "lower");
    bench.write_node(node, 0, "still").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "still");
}

#[test]
fn a_new_file_with_an_old_name_is_another_one() {
    let mut bench = three_names();
    let node = bench.node("a").unwrap();
    bench.unlink("a").unwrap();
    bench.write("a", "new").unwrap();
    for _ in 0..2 {
        assert_ne!(bench.node("a").unwrap(), node);
        assert_eq!((bench.text("a").unwrap().as_str(), bench.stat("a").unwrap().nlink), ("new", 1));
        check_all(&bench, &["d/b", "d/c"], "lower", 2);
        bench.reopen();
    }
}

#[test]
fn symlinks_and_fifos_with_several_names() {
    let mut bench = over(|lower| {
        lower.symlink("s", "target").link("s2", "s");
        lower.node("p", rustix::fs::FileType::Fifo, 0o600, 0).link("p2", "p");
    });
    for (one, two) in [("s", "s2"), ("p", "p2")] {
        let node = bench.node(one).unwrap();
        bench.set_xattr(one, "trusted.a", "1").unwrap();
        for _ in 0..2 {
            assert_eq!(bench.get_xattr(two, "trusted.a").unwrap(), b"1");
            assert_eq!((bench.node(one).unwrap(), bench.node(two).unwrap()), (node, node));
            assert_eq!(bench.stat(two).unwrap().nlink, 2);
            bench.reopen();
        }
    }
}

#[test]
fn the_mark_of_links_is_the_kernels() {
    let bench = three_names();
    bench.chmod("a", 0o600).unwrap();
    // The copy has two links (its name and its index entry), the union shows three.
    assert_eq!(bench.upper().get("a", "trusted.overlay.nlink").unwrap(), b"U+1");
    bench.unlink("d/b").unwrap();
    let index = Layer { root: bench.dir().join("work/index") };
    let entries = index.names("");
    assert_eq!(entries.len(), 1);
    assert!(entries[0].starts_with("00fb"), "{entries:?}");
    assert_eq!(index.ino(&entries[0]), bench.upper().ino("a"));
}

#[test]
fn links_in_different_directories_are_all_impure() {
    let mut bench = over(|lower| {
        lower.file("x/a", "").link("y/b", "x/a").link("z/c", "x/a");
    });
    let node = bench.node("x/a").unwrap();
    bench.rename("y/b", "y/b2").unwrap();
    bench.link("z/c", "z/c2").unwrap();
    bench.reopen();
    for path in ["x/a", "y/b2", "z/c", "z/c2"] {
        assert_eq!(bench.node(path).unwrap(), node, "{path}");
    }
}

#[test]
fn without_an_index_names_part_at_the_next_mount() {
    let mut bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("a", "lower").link("b", "a");
        },
        |config| config.index = false,
    );
    bench.write("a", "UPPER").unwrap();
    assert_eq!(bench.text("b").unwrap(), "UPPER", "one file while the union lives");
    bench.reopen();
    assert_eq!((bench.text("a").unwrap().as_str(), bench.text("b").unwrap().as_str()), ("UPPER", "lower"));
    assert_ne!(bench.node("a").unwrap(), bench.node("b").unwrap());
    assert!(!bench.dir().join("work/index").exists());
}

#[test]
fn truncation_of_one_name() {
    let mut bench = three_names();
    bench.truncate("d/b", 2).unwrap();
    for _ in 0..2 {
        check_all(&bench, &NAMES, "lo", 3);
        bench.reopen();
    }
}

#[test]
fn every_name_that_was_looked_up_is_in_the_upperdir_after_copy_up() {
    for index in [true, false] {
        let union = union_with(
            |[lower]: &[Layer; 1], _| {
                lower.file("a", "old").link("b", "a").dir("d").link("d/c", "a");
            },
            |config| config.index = index,
        );
        union.stat("a").unwrap();
        let node = union.node("d/c").unwrap();
        union.write_node(node, 0, "new").unwrap();
        let upper = union.upper();
        assert_eq!((upper.text("a"), upper.text("d/c")), ("new".to_owned(), "new".to_owned()));
        assert_eq!(upper.ino("a"), upper.ino("d/c"));
        assert_eq!(union.text("b").unwrap(), "new");
    }
}

#[test]
fn special_files_are_changed_even_where_nothing_can_be_noted_on_them() {
    let union = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.node("p", rustix::fs::FileType::Fifo, 0o644, 0).link("p2", "p");
            lower.symlink("s", "target").link("s2", "s");
        },
        |config| config.xattr_namespace = unionfuse::config::XattrNamespace::User,
    );
    assert_eq!(union.chmod("p", 0o600).unwrap().perm, 0o600);
    assert_eq!(union.stat("p2").unwrap().perm, 0o600, "one file while it is mounted");
    union.link("p", "p3").unwrap();
    union.link("s", "s3").unwrap();
    union.unlink("s").unwrap();
    union.unlink("p").unwrap();
    assert_eq!(union.names("").unwrap(), ["p2", "p3", "s2", "s3"]);
    assert_eq!(union.target("s3").unwrap(), "target");
}
