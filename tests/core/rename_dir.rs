//! Renaming directories, with redirects.

use rustix::io::Errno;
use unionfuse::types::RenameMode;

use crate::kit::bench::{Bench, over, union};
use crate::kit::layer::Layer;

/// Directories of every kind: in the lowerdir, merged, in the upperdir; empty ones; a whiteout; a file.
fn every_kind() -> Bench {
    union(|[lower]: &[Layer; 1], upper| {
        lower.file("low/l", "").file("both/l", "").dir("empty-low").dir("empty-both").file("gone/old", "");
        lower.file("file", "").file("hollow/x", "").dir("in");
        upper.file("both/u", "").file("up/u", "").dir("empty-up").dir("empty-both").whiteout("gone");
        upper.whiteout("hollow/x");
    })
}

const KINDS: [(&str, &[&str]); 3] = [("low", &["l"]), ("both", &["l", "u"]), ("up", &["u"])];

#[test]
fn to_a_free_name_in_the_same_and_in_another_directory() {
    for (from, names) in KINDS {
        for to in ["new", "in/new"] {
            let mut bench = every_kind();
            let node = bench.node(from).unwrap();
            let child = bench.node(format!("{from}/{}", names[0])).unwrap();
            bench.rename(from, to).unwrap();
            for _ in 0..2 {
                assert_eq!(bench.names(to).unwrap(), names);
                assert_eq!(bench.node(to).unwrap(), node, "{from} to {to}: the number stays");
                assert_eq!(bench.node(format!("{to}/{}", names[0])).unwrap(), child);
                assert!(!bench.has(from));
                bench.reopen();
            }
            assert_eq!(bench.upper().is_whiteout(from), from != "up");
            let expected = match (from, to) {
                ("up", _) => None,
                (_, "new") => Some(from.to_owned()),
                _ => Some(format!("/{from}")),
            };
            assert_eq!(bench.upper().redirect(to), expected);
        }
    }
}

#[test]
fn over_empty_directories_and_whiteouts() {
    for (from, names) in KINDS {
        for to in ["empty-low", "empty-both", "empty-up", "hollow", "gone"] {
            let mut bench = every_kind();
            let node = bench.node(from).unwrap();
            bench.rename(from, to).unwrap();
            for _ in 0..2 {
                assert_eq!(bench.names(to).unwrap(), names, "{from} over {to}");
                assert_eq!(bench.node(to).unwrap(), node, "{from} over {to}");
                assert!(!bench.has(from));
                bench.reopen();
            }
            assert_eq!(bench.upper().has(from), from != "up", "{from} over {to}");
            assert_eq!(bench.upper().is_whiteout(from), from != "up");
        }
    }
}

#[test]
fn exchange_of_every_pair() {
    for (one, first) in KINDS {
        for (two, second) in KINDS.into_iter().filter(|(two, _)| *two != one) {
            let mut bench = every_kind();
            let nodes = (bench.node(one).unwrap(), bench.node(two).unwrap());
            bench.rename_with(one, two, RenameMode::Exchange).unwrap();
            for _ in 0..2 {
                assert_eq!(bench.names(one).unwrap(), second, "{one} and {two}");
                assert_eq!(bench.names(two).unwrap(), first, "{one} and {two}");
                assert_eq!((bench.node(two).unwrap(), bench.node(one).unwrap()), nodes);
                bench.reopen();
            }
        }
    }
}

#[test]
fn exchange_of_a_directory_and_a_file() {
    for (dir, names) in KINDS {
        let mut bench = every_kind();
        bench.rename_with("file", dir, RenameMode::Exchange).unwrap();
        for _ in 0..2 {
            assert_eq!(bench.names("file").unwrap(), names);
            assert_eq!(bench.text(dir).unwrap(), "");
            bench.reopen();
        }
        bench.unlink(dir).unwrap();
        bench.reopen();
        assert!(!bench.has(dir));
    }
}

#[test]
fn what_is_refused() {
    let bench = every_kind();
    for (full, _) in KINDS {
        assert_eq!(bench.rename("empty-low", full), Err(Errno::NOTEMPTY), "{full}");
        assert_eq!(bench.rename_with("empty-low", full, RenameMode::NoReplace), Err(Errno::EXIST));
        assert_eq!(bench.rename(full, format!("{full}/inside")), Err(Errno::INVAL));
        assert_eq!(bench.rename(full, "file"), Err(Errno::NOTDIR));
        assert_eq!(bench.rename("file", full), Err(Errno::ISDIR));
    }
    bench.mkdir("low/a").unwrap();
    bench.mkdir("low/a/b").unwrap();
    assert_eq!(bench.rename("low", "low/a/b/c"), Err(Errno::INVAL));
    assert_eq!(bench.rename_with("low", "low/a/b", RenameMode::Exchange), Err(Errno::INVAL));
    assert_eq!(bench.rename_with("low/a/b", "low", RenameMode::Exchange), Err(Errno::INVAL));
    assert_eq!(bench.names("low").unwrap(), ["a", "l"]);
}

#[test]
fn without_replacing_onto_a_whiteout() {
    for (from, names) in KINDS {
        let mut bench = every_kind();
        bench.rename_with(from, "gone", RenameMode::NoReplace).unwrap();
        bench.reopen();
        assert_eq!(bench.names("gone").unwrap(), names, "{from}");
    }
}

#[test]
fn an_upper_directory_does_not_merge_at_its_new_place() {
    let mut bench = every_kind();
    bench.rename("low", "away").unwrap();
    bench.rename("up", "low").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.names("low").unwrap(), ["u"]);
        assert_eq!(bench.names("away").unwrap(), ["l"]);
        bench.reopen();
    }
    assert!(bench.upper().is_opaque("low"));
}

#[test]
fn a_new_directory_in_a_renamed_ones_old_place_is_empty() {
    let mut bench = every_kind();
    bench.rename("both", "moved").unwrap();
    bench.mkdir("both").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.names("both").unwrap(), [""; 0]);
        assert_eq!(bench.names("moved").unwrap(), ["l", "u"]);
        bench.reopen();
    }
}

#[test]
fn chains_of_renames() {
    let mut bench = over(|lower| {
        lower.file("a/b/c/f", "text").dir("x/y");
    });
    let node = bench.node("a/b/c/f").unwrap();
    bench.rename("a/b", "a/b2").unwrap();
    bench.rename("a", "z").unwrap();
    bench.rename("z/b2/c", "x/y/c2").unwrap();
    bench.rename("x/y", "z/y2").unwrap();
    bench.rename("z/y2/c2", "z/y2/c3").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.text("z/y2/c3/f").unwrap(), "text");
        assert_eq!(bench.node("z/y2/c3/f").unwrap(), node);
        assert_eq!(bench.names("z").unwrap(), ["b2", "y2"]);
        assert_eq!(bench.names("z/b2").unwrap(), [""; 0]);
        assert_eq!(bench.names("").unwrap(), ["x", "z"]);
        bench.reopen();
    }
    assert_eq!(bench.upper().redirect("z/y2/c3").as_deref(), Some("/a/b/c"));
    assert_eq!(bench.upper().redirect("z").as_deref(), Some("a"));
}

#[test]
fn there_and_back_again() {
    for (from, names) in KINDS {
        let mut bench = every_kind();
        let node = bench.node(from).unwrap();
        bench.rename(from, "in/x").unwrap();
        bench.rename("in/x", from).unwrap();
        for _ in 0..2 {
            assert_eq!(bench.names(from).unwrap(), names);
            assert_eq!(bench.node(from).unwrap(), node);
            bench.reopen();
        }
        assert_eq!(bench.names("in").unwrap(), [""; 0]);
        assert_eq!(bench.upper().names("in"), [""; 0]);
    }
}

#[test]
fn work_in_a_renamed_directory_goes_on() {
    let mut bench = every_kind();
    let (dir, file) = (bench.node("low").unwrap(), bench.node("low/l").unwrap());
    bench.rename("low", "in/low2").unwrap();
    bench.write_node(file, 0, "written").unwrap();
    assert!(bench.look(dir, "l").unwrap().is_some());
    bench.create("in/low2/new").unwrap();
    bench.unlink("in/low2/l").unwrap();
    assert_eq!(bench.names("in/low2").unwrap(), ["new"]);
    bench.reopen();
    assert_eq!(bench.names("in/low2").unwrap(), ["new"]);
    assert!(bench.upper().is_whiteout("in/low2/l"));
}

#[test]
fn contents_are_not_copied_up() {
    let bench = every_kind();
    bench.rename("low", "in/new").unwrap();
    assert_eq!(bench.upper().names("in/new"), [""; 0]);
}

#[test]
fn a_directory_with_names_of_any_bytes() {
    use std::os::unix::ffi::OsStrExt;
    let name = std::ffi::OsStr::from_bytes(b"\xffdir\n");
    let mut bench = over(|lower| {
        lower.file(std::path::Path::new(name).join("f"), "text").dir("in");
    });
    bench.rename(name, "in/x").unwrap();
    bench.reopen();
    assert_eq!(bench.text("in/x/f").unwrap(), "text");
}
