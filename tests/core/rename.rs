//! Renaming files. Directories are in `rename_dir`.

use rustix::io::Errno;
use unionfuse::types::RenameMode;

use crate::kit::bench::{Bench, errno, over, union};
use crate::kit::layer::Layer;

/// A file in the lowerdir, in both, in the upperdir, and a whiteout.
fn every_state() -> Bench {
    union(|[lower]: &[Layer; 1], upper| {
        lower.file("d/low", "low").file("d/both", "old").file("d/gone", "gone").dir("e");
        upper.file("d/both", "both").file("d/up", "up").whiteout("d/gone");
    })
}

#[test]
fn to_a_free_name() {
    for name in ["low", "both", "up"] {
        let mut bench = every_state();
        let node = bench.node(format!("d/{name}")).unwrap();
        bench.rename(format!("d/{name}"), "e/new").unwrap();
        for _ in 0..2 {
            assert_eq!(bench.text("e/new").unwrap(), name);
            assert_eq!(bench.node("e/new").unwrap(), node, "{name}: the number stays");
            assert_eq!(bench.stat(format!("d/{name}")), Err(Errno::NOENT));
            bench.reopen();
        }
        assert_eq!(bench.upper().is_whiteout(format!("d/{name}")), name != "up");
        assert_eq!(bench.upper().has(format!("d/{name}")), name != "up");
    }
}

#[test]
fn over_every_state_of_the_target() {
    for from in ["low", "both", "up"] {
        for to in ["low", "both", "up", "gone"].into_iter().filter(|to| *to != from) {
            let mut bench = every_state();
            let node = bench.node(format!("d/{from}")).unwrap();
            bench.rename(format!("d/{from}"), format!("d/{to}")).unwrap();
            for _ in 0..2 {
                assert_eq!(bench.text(format!("d/{to}")).unwrap(), from, "{from} over {to}");
                assert_eq!(bench.node(format!("d/{to}")).unwrap(), node, "{from} over {to}");
                assert!(!bench.has(format!("d/{from}")), "{from} over {to}");
                bench.reopen();
            }
            let upper = bench.upper();
            assert_eq!(upper.is_whiteout(format!("d/{from}")), from != "up", "{from} over {to}");
            assert!(!upper.is_whiteout(format!("d/{to}")));
        }
    }
}

#[test]
fn exchange_of_every_pair() {
    for one in ["low", "both", "up"] {
        for two in ["low", "both", "up"].into_iter().filter(|two| *two != one) {
            let mut bench = every_state();
            let (first, second) = (format!("d/{one}"), format!("d/{two}"));
            let nodes = (bench.node(&first).unwrap(), bench.node(&second).unwrap());
            bench.rename_with(&first, &second, RenameMode::Exchange).unwrap();
            for _ in 0..2 {
                assert_eq!(bench.text(&first).unwrap(), two);
                assert_eq!(bench.text(&second).unwrap(), one);
                assert_eq!((bench.node(&second).unwrap(), bench.node(&first).unwrap()), nodes);
                bench.reopen();
            }
            bench.unlink(&first).unwrap();
            bench.unlink(&second).unwrap();
            bench.reopen();
            assert!(!bench.has(&first) && !bench.has(&second));
        }
    }
}

#[test]
fn without_replacing() {
    let bench = every_state();
    for to in ["low", "both", "up"] {
        let from = if to == "up" { "low" } else { "up" };
        let answer = bench.rename_with(format!("d/{from}"), format!("d/{to}"), RenameMode::NoReplace);
        assert_eq!(answer, Err(Errno::EXIST));
    }
    bench.rename_with("d/up", "d/gone", RenameMode::NoReplace).unwrap();
    bench.rename_with("d/low", "d/new", RenameMode::NoReplace).unwrap();
    assert_eq!(bench.names("d").unwrap(), ["both", "gone", "new"]);
    assert_eq!(bench.text("d/gone").unwrap(), "up");
}

#[test]
fn what_is_refused() {
    let bench = every_state();
    assert_eq!(bench.rename("d/gone", "d/new"), Err(Errno::NOENT));
    assert_eq!(bench.rename("d/low", "e"), Err(Errno::ISDIR));
    assert_eq!(bench.rename("e", "d/low"), Err(Errno::NOTDIR));
    assert_eq!(bench.rename_with("d/low", "d/gone", RenameMode::Exchange), Err(Errno::NOENT));
    assert_eq!(bench.rename("d/low", "d/up/x"), Err(Errno::NOTDIR));
    assert_eq!(bench.names("d").unwrap(), ["both", "low", "up"]);
}

#[test]
fn a_name_onto_itself_changes_nothing() {
    let bench = every_state();
    for name in ["low", "both", "up"] {
        let path = format!("d/{name}");
        bench.rename(&path, &path).unwrap();
        assert_eq!(bench.text(&path).unwrap(), name);
    }
    assert!(!bench.upper().has("d/low"));
}

#[test]
fn one_name_of_a_file_onto_another_changes_nothing() {
    let bench = over(|lower| {
        lower.file("a", "text").link("b", "a");
    });
    bench.rename("a", "b").unwrap();
    assert_eq!(bench.names("").unwrap(), ["a", "b"]);
    assert_eq!(bench.stat("a").unwrap().nlink, 2);
}

#[test]
fn there_and_back_again() {
    let mut bench = every_state();
    let node = bench.node("d/low").unwrap();
    bench.rename("d/low", "d/x").unwrap();
    bench.rename("d/x", "d/low").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.node("d/low").unwrap(), node);
        assert_eq!(bench.text("d/low").unwrap(), "low");
        bench.reopen();
    }
    assert_eq!(bench.upper().names("d"), ["both", "gone", "low", "up"]);
}

#[test]
fn the_replaced_file_stays_usable() {
    for to in ["low", "both", "up"] {
        let bench = every_state();
        bench.write("d/new", "new").unwrap();
        let old = bench.node(format!("d/{to}")).unwrap();
        bench.rename("d/new", format!("d/{to}")).unwrap();
        assert_eq!(bench.text_of(old).unwrap(), to);
        bench.write_node(old, 0, "!").unwrap();
        assert_eq!(&bench.text_of(old).unwrap()[1..], &to[1..]);
        assert_eq!(bench.text(format!("d/{to}")).unwrap(), "new");
        assert_ne!(bench.node(format!("d/{to}")).unwrap(), old);
    }
}

#[test]
fn times_of_directories_and_of_the_file() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("from/f", "").dir("to").time("from/f", 1).time("from", 2).time("to", 3);
        upper.time("", 4);
    });
    bench.rename("from/f", "to/f").unwrap();
    assert_eq!(bench.stat("to/f").unwrap().mtime.sec, 1);
    assert!(bench.stat("from").unwrap().mtime.sec > 2);
    assert!(bench.stat("to").unwrap().mtime.sec > 3);
    assert_eq!(bench.stat("").unwrap().mtime.sec, 4);
}

#[test]
fn symlinks_and_special_files() {
    let mut bench = over(|lower| {
        lower.symlink("s", "target").node("p", rustix::fs::FileType::Fifo, 0o600, 0).file("f", "");
    });
    let nodes = (bench.node("s").unwrap(), bench.node("p").unwrap());
    bench.rename("s", "s2").unwrap();
    bench.rename("p", "f").unwrap();
    bench.reopen();
    assert_eq!(bench.names("").unwrap(), ["f", "s2"]);
    assert_eq!((bench.node("s2").unwrap(), bench.node("f").unwrap()), nodes);
    assert_eq!(bench.target("s2").unwrap(), "target");
}

#[test]
fn a_file_is_usable_by_node_before_and_after() {
    let bench = every_state();
    let node = bench.node("d/low").unwrap();
    bench.rename("d/low", "e/1").unwrap();
    bench.write_node(node, 0, "LOW").unwrap();
    bench.rename("e/1", "d/2").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "LOW");
    assert_eq!(errno(bench.raw().getattr(node)).unwrap().size, 3);
    assert_eq!(bench.text("d/2").unwrap(), "LOW");
}
