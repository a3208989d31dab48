//! Renaming directories where redirects are off: the tree is copied up.

use rustix::io::Errno;
use unionfuse::types::RenameMode;

use crate::kit::bench::{Bench, union_with};
use crate::kit::layer::Layer;

fn without_redirects(fill: impl FnOnce(&[Layer; 2], &Layer)) -> Bench {
    union_with(fill, |config| config.redirect_dir = Some(false))
}

fn tree() -> Bench {
    without_redirects(|[top, bottom], upper| {
        top.file("d/sub/1", "one").mode("d/sub", 0o700).symlink("d/s", "x");
        bottom.file("d/sub/2", "two").file("d/gone", "").file("d/empty/x", "").dir("in");
        bottom.file("d/linked", "both").link("d/sub/linked", "d/linked");
        upper.whiteout("d/gone").file("d/new", "new").whiteout("d/empty/x");
    })
}

#[test]
fn the_tree_is_the_same_at_its_new_place() {
    for to in ["e", "in/e"] {
        let mut bench = tree();
        let nodes: Vec<_> =
            ["d", "d/sub", "d/sub/1", "d/new", "d/s"].map(|path| bench.node(path).unwrap()).into();
        bench.rename("d", to).unwrap();
        let now = ["", "/sub", "/sub/1", "/new", "/s"].map(|path| bench.node(format!("{to}{path}")).unwrap());
        assert_eq!(nodes, now, "numbers stay while the union lives");
        for _ in 0..2 {
            assert!(!bench.has("d"));
            assert_eq!(bench.names(to).unwrap(), ["empty", "linked", "new", "s", "sub"]);
            assert_eq!(bench.names(format!("{to}/sub")).unwrap(), ["1", "2", "linked"]);
            assert_eq!(bench.names(format!("{to}/empty")).unwrap(), [""; 0]);
            assert_eq!(bench.text(format!("{to}/sub/2")).unwrap(), "two");
            assert_eq!(bench.stat(format!("{to}/sub")).unwrap().perm, 0o700);
            let linked = bench.stat(format!("{to}/linked")).unwrap();
            assert_eq!(linked.node, bench.node(format!("{to}/sub/linked")).unwrap());
            assert_eq!(linked.nlink, 2);
            bench.reopen();
        }
        let upper = bench.upper();
        assert_eq!(upper.redirect(to), None);
        assert!(
            upper.is_whiteout("d") && !upper.has(format!("{to}/gone")),
            "no whiteouts in opaque directories"
        );
    }
}

#[test]
fn numbers_stay_after_all_is_forgotten() {
    let mut bench = tree();
    let before = ["d", "d/sub", "d/sub/1"].map(|path| bench.node(path).unwrap());
    bench.rename("d", "in/e").unwrap();
    let after = |bench: &Bench| ["in/e", "in/e/sub", "in/e/sub/1"].map(|path| bench.node(path).unwrap());
    bench.forget_all();
    // What the upperdir alone had of `d` carries no origin, so `d` itself becomes a new directory.
    assert_eq!(before[1..], after(&bench)[1..]);
    bench.reopen();
    assert_eq!(before[1..], after(&bench)[1..]);
}

#[test]
fn exchange() {
    let mut bench = tree();
    bench.mkdir("other").unwrap();
    bench.create("other/o").unwrap();
    bench.rename_with("other", "d", RenameMode::Exchange).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.names("d").unwrap(), ["o"]);
        assert_eq!(bench.names("other").unwrap(), ["empty", "linked", "new", "s", "sub"]);
        bench.reopen();
    }
}

#[test]
fn over_an_empty_merged_directory() {
    let mut bench = without_redirects(|[top, bottom], upper| {
        top.file("d/f", "text");
        bottom.file("e/x", "");
        upper.whiteout("e/x");
    });
    bench.rename("d", "e").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.names("").unwrap(), ["e"]);
        assert_eq!(bench.names("e").unwrap(), ["f"]);
        bench.reopen();
    }
}

#[test]
fn a_new_tree_in_the_old_place() {
    let mut bench = tree();
    bench.rename("d", "e").unwrap();
    bench.mkdir("d").unwrap();
    bench.mkdir("d/sub").unwrap();
    bench.reopen();
    assert_eq!(bench.names("d").unwrap(), ["sub"]);
    assert_eq!(bench.names("d/sub").unwrap(), [""; 0]);
    assert_eq!(bench.stat("d/new"), Err(Errno::NOENT));
}

#[test]
fn open_files_follow() {
    let bench = tree();
    let node = bench.node("d/sub/1").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "one");
    bench.rename("d", "in/e").unwrap();
    bench.write_node(node, 0, "ONE").unwrap();
    assert_eq!(bench.text("in/e/sub/1").unwrap(), "ONE");
}

#[test]
fn a_listing_that_began_before_goes_on() {
    list_over_a_rename(tempfile::tempdir().unwrap());
}

/// On tmpfs offsets count what was made in the directory; a copy is made in another order. (Hashes of ext4 are the same.)
#[test]
fn a_listing_that_began_before_goes_on_where_offsets_are_counted() {
    list_over_a_rename(tempfile::tempdir_in("/dev/shm").unwrap());
}

fn list_over_a_rename(dir: tempfile::TempDir) {
    let mut bench = Bench::prepare_in(dir, |[_, bottom]: &[Layer; 2], _| {
        for n in 0..100 {
            bottom.file(format!("d/{n}"), "");
        }
    });
    bench.config.redirect_dir = Some(false);
    bench.open();
    let node = bench.node("d").unwrap();
    let first = bench.list_some(node, 0, false, 40).unwrap();
    bench.rename("d", "e").unwrap();
    let mut seen: Vec<_> = first.iter().map(|entry| entry.name.clone()).collect();
    let mut cookie = first.last().unwrap().cookie;
    loop {
        let some = bench.list_some(node, cookie, false, 40).unwrap();
        let Some(last) = some.last() else { break };
        cookie = last.cookie;
        seen.extend(some.into_iter().map(|entry| entry.name));
    }
    seen.sort();
    let total = seen.len();
    seen.dedup();
    assert_eq!((seen.len(), total), (102, 102), "each entry exactly once, and . and ..");
}
