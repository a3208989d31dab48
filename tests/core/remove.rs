//! Removing files and directories.

use rustix::io::Errno;

use crate::kit::bench::{errno, name, over, union};
use crate::kit::layer::Layer;

#[test]
fn a_lower_file_leaves_a_whiteout_an_upper_one_nothing() {
    let mut bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("d/low", "").file("d/both", "lower");
        upper.file("d/both", "upper").file("d/up", "");
    });
    for name in ["low", "both", "up"] {
        bench.unlink(format!("d/{name}")).unwrap();
        assert_eq!(bench.unlink(format!("d/{name}")), Err(Errno::NOENT));
    }
    assert_eq!(bench.upper().names("d"), ["both", "low"]);
    assert!(bench.upper().is_whiteout("d/low") && bench.upper().is_whiteout("d/both"));
    bench.reopen();
    assert_eq!(bench.names("d").unwrap(), [""; 0]);
}

#[test]
fn every_kind_of_lower_file() {
    let bench = over(|lower| {
        lower.symlink("s", "x").node("p", rustix::fs::FileType::Fifo, 0o600, 0).file("f", "");
    });
    for path in ["s", "p", "f"] {
        bench.unlink(path).unwrap();
        assert!(bench.upper().is_whiteout(path), "{path}");
    }
    assert_eq!(bench.names("").unwrap(), [""; 0]);
}

#[test]
fn unlink_is_for_files_and_rmdir_for_directories() {
    let bench = over(|lower| {
        lower.file("d/f", "");
    });
    assert_eq!(bench.unlink("d"), Err(Errno::ISDIR));
    assert_eq!(bench.rmdir("d/f"), Err(Errno::NOTDIR));
    assert_eq!(bench.rmdir("d"), Err(Errno::NOTEMPTY));
    assert_eq!(bench.rmdir("x"), Err(Errno::NOENT));
    assert_eq!(bench.names("d").unwrap(), ["f"]);
}

#[test]
fn a_whole_tree_goes_and_stays_gone() {
    let mut bench = union(|[top, bottom]: &[Layer; 2], upper| {
        top.file("d/sub/1", "").file("d/2", "");
        bottom.file("d/sub/deep/3", "").file("d/4", "");
        upper.file("d/sub/5", "").file("d/new/6", "");
    });
    remove_all(&bench, "d");
    for _ in 0..2 {
        assert_eq!(bench.names("").unwrap(), [""; 0]);
        assert!(bench.upper().is_whiteout("d"));
        bench.reopen();
    }
    bench.mkdir("d").unwrap();
    bench.reopen();
    assert_eq!(bench.names("d").unwrap(), [""; 0]);
}

fn remove_all(bench: &crate::kit::bench::Bench, path: &str) {
    for name in bench.names(path).unwrap() {
        let path = format!("{path}/{name}");
        match bench.unlink(&path) {
            Err(Errno::ISDIR) => remove_all(bench, &path),
            other => other.unwrap(),
        }
    }
    bench.rmdir(path).unwrap();
}

#[test]
fn rmdir_of_every_kind_of_directory() {
    let mut bench = union(|[top, bottom]: &[Layer; 2], upper| {
        bottom.dir("lower").file("emptied/x", "").dir("merged").file("opaque/x", "");
        top.dir("merged");
        upper.dir("upper").whiteout("emptied/x").opaque("opaque");
    });
    for path in ["lower", "emptied", "merged", "opaque", "upper"] {
        bench.rmdir(path).unwrap();
        assert_eq!(bench.upper().has(path), path != "upper", "{path}");
    }
    bench.reopen();
    assert_eq!(bench.names("").unwrap(), [""; 0]);
}

#[test]
fn an_upper_directory_with_whiteouts_left_in_it_goes() {
    let bench = union(|[_]: &[Layer; 1], upper| {
        upper.whiteout("d/x").whiteout("d/y").opaque("o").whiteout("o/z");
    });
    bench.rmdir("d").unwrap();
    bench.rmdir("o").unwrap();
    assert_eq!(bench.upper().names(""), [""; 0]);
}

#[test]
fn removal_changes_the_directorys_time() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("d/f", "").dir("d/e").time("d", 10);
        upper.time("", 20);
    });
    bench.unlink("d/f").unwrap();
    let first = bench.stat("d").unwrap().mtime;
    assert!(first.sec > 10);
    bench.rmdir("d/e").unwrap();
    assert!(bench.stat("d").unwrap().mtime >= first);
    assert_eq!(bench.stat("").unwrap().mtime.sec, 20);
}

#[test]
fn a_removed_directory_can_still_be_looked_at_and_is_empty() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("merged/x", "").dir("lower");
        upper.dir("upper");
    });
    bench.unlink("merged/x").unwrap();
    for path in ["merged", "lower", "upper"] {
        let before = bench.stat(path).unwrap();
        bench.rmdir(path).unwrap();
        let after = errno(bench.raw().getattr(before.node)).unwrap();
        assert_eq!((after.node, after.kind, after.perm), (before.node, before.kind, before.perm));
        assert_eq!(bench.look(before.node, "x").unwrap(), None, "{path}");
        let names = bench.list_some(before.node, 0, false, 100).unwrap();
        assert!(names.iter().all(|entry| entry.name == "." || entry.name == ".."), "{path}: {names:?}");
    }
}

#[test]
fn a_removed_directory_keeps_its_number_from_newcomers() {
    let bench = over(|_| {});
    let mut seen = std::collections::HashSet::new();
    for _ in 0..20 {
        let made = bench.mkdir("d").unwrap().node;
        assert!(seen.insert(made), "{made:?} stands for two directories");
        bench.rmdir("d").unwrap();
    }
}

#[test]
fn marks_of_lowers_and_hidden_names_cannot_be_removed() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file(".wh.f", "");
        bottom.file("f", "");
    });
    assert_eq!(bench.unlink(".wh.f"), Err(Errno::NOENT));
    assert_eq!(bench.unlink("f"), Err(Errno::NOENT));
}

#[test]
fn removal_by_a_node_that_is_no_directory() {
    let bench = over(|lower| {
        lower.file("f", "");
    });
    let file = bench.node("f").unwrap();
    assert_eq!(errno(bench.raw().unlink(file, name("x"))), Err(Errno::NOTDIR));
    assert_eq!(errno(bench.raw().rmdir(file, name("x"))), Err(Errno::NOTDIR));
}
