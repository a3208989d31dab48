//! Numbers: stable over copy-up, rename and remount, the same in listings, never shared by two live nodes.

use std::collections::HashSet;
use std::sync::Arc;

use rustix::io::Errno;
use unionfuse::types::{NodeId, RenameMode};

use crate::kit::bench::{Bench, errno, over, union};
use crate::kit::faulty::{Fault, Faulty};
use crate::kit::layer::Layer;

#[test]
fn of_lower_files_are_those_of_the_layer() {
    let bench = union(|[top, bottom]: &[Layer; 2], upper| {
        top.file("f", "").dir("d");
        bottom.dir("d").symlink("s", "x");
        upper.file("u", "").dir("d");
    });
    assert_eq!(bench.node("f").unwrap().0, bench.lowers[0].ino("f"));
    assert_eq!(bench.node("s").unwrap().0, bench.lowers[1].ino("s"));
    assert_eq!(bench.node("u").unwrap().0, bench.upper().ino("u"));
    assert_eq!(bench.node("d").unwrap().0, bench.lowers[0].ino("d"));
}

#[test]
fn stay_over_copy_up_rename_and_remount() {
    let mut bench = over(|lower| {
        lower.file("d/f", "").symlink("d/s", "x").node("d/p", rustix::fs::FileType::Fifo, 0o600, 0).dir("e");
    });
    let paths = ["d/f", "d/s", "d/p", "d", "e"];
    let first = paths.map(|path| bench.node(path).unwrap());
    let check = |bench: &crate::kit::bench::Bench, paths: [&str; 5], when: &str| {
        assert_eq!(paths.map(|path| bench.node(path).unwrap()), first, "{when}");
    };
    for path in paths {
        bench.set_xattr(path, "trusted.a", "1").unwrap();
    }
    check(&bench, paths, "after copy-up");
    bench.forget_all();
    check(&bench, paths, "after copy-up, forgotten");
    bench.reopen();
    check(&bench, paths, "after copy-up and remount");
    for name in ["f", "s", "p"] {
        bench.rename(format!("d/{name}"), format!("e/{name}2")).unwrap();
    }
    bench.rename("d", "e/d2").unwrap();
    let paths = ["e/f2", "e/s2", "e/p2", "e/d2", "e"];
    check(&bench, paths, "after rename");
    bench.forget_all();
    check(&bench, paths, "after rename, forgotten");
    bench.reopen();
    check(&bench, paths, "after rename and remount");
}

#[test]
fn of_a_directory_on_another_device_stay_over_copy_up() {
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.file("volume/f", "");
    });
    let volume = bench.lower().ino("volume");
    bench.open_on(std::sync::Arc::new(Faulty::with_boundary_at(volume)));
    let node = bench.node("volume").unwrap();
    bench.chmod("volume", 0o700).unwrap();
    assert_eq!(bench.node("volume").unwrap(), node);
    bench.create("volume/new").unwrap();
    assert_eq!(bench.names("volume").unwrap(), ["f", "new"]);
}

#[test]
fn of_a_file_moved_into_a_new_directory() {
    let mut bench = over(|lower| {
        lower.file("f", "");
    });
    let node = bench.node("f").unwrap();
    bench.mkdir("new").unwrap();
    bench.rename("f", "new/f").unwrap();
    bench.reopen();
    assert_eq!(bench.node("new/f").unwrap(), node);
    bench.mkdir("new/er").unwrap();
    bench.link("new/f", "new/er/g").unwrap();
    bench.reopen();
    assert_eq!(bench.node("new/er/g").unwrap(), node);
}

#[test]
fn of_exchanged_files_go_along() {
    let mut bench = over(|lower| {
        lower.file("low", "");
    });
    bench.mkdir("d").unwrap();
    let up = bench.create("d/up").unwrap().node;
    let low = bench.node("low").unwrap();
    bench.rename_with("low", "d/up", RenameMode::Exchange).unwrap();
    for _ in 0..2 {
        assert_eq!((bench.node("d/up").unwrap(), bench.node("low").unwrap()), (low, up));
        bench.reopen();
    }
}

#[test]
fn are_the_same_in_listings() {
    let mut bench = union(|[top, bottom]: &[Layer; 2], upper| {
        bottom.file("d/low", "").file("d/copied", "").dir("d/dir").symlink("d/s", "x").file("d/moved", "");
        top.dir("d/dir").file("d/linked", "").link("d/linked2", "d/linked");
        upper.file("d/up", "").dir("d/dir");
    });
    bench.chmod("d/copied", 0o600).unwrap();
    bench.rename("d/moved", "d/moved2").unwrap();
    bench.chmod("d/linked", 0o600).unwrap();
    for _ in 0..2 {
        // `names` compares each entry with a lookup of its name.
        let names = ["copied", "dir", "linked", "linked2", "low", "moved2", "s", "up"];
        assert_eq!(bench.names("d").unwrap(), names);
        let dir = bench.node("d").unwrap();
        let dots = bench.list_some(dir, 0, false, 2).unwrap();
        assert_eq!((dots[0].node, dots[1].node), (dir, NodeId::ROOT));
        bench.forget_all();
        for entry in bench.list_some(NodeId::ROOT, 0, false, 9).unwrap() {
            assert!(entry.node == NodeId::ROOT || entry.node == dir);
        }
        bench.reopen();
    }
}

#[test]
fn are_not_reused_while_a_node_lives() {
    let bench = over(|_| {});
    let mut live: HashSet<NodeId> = HashSet::new();
    for n in 0..200 {
        let node = bench.create("f").unwrap().node;
        assert!(live.insert(node), "{node:?} was given to a second file");
        bench.write_node(node, 0, n.to_string()).unwrap();
        bench.unlink("f").unwrap();
    }
    for node in &live {
        let attr = errno(bench.raw().getattr(*node)).unwrap();
        assert_eq!((attr.nlink, attr.node), (0, *node));
    }
    let texts: HashSet<String> = live.iter().map(|node| bench.text_of(*node).unwrap()).collect();
    assert_eq!(texts.len(), 200);
}

#[test]
fn are_right_after_reuse_by_the_filesystem() {
    let bench = over(|_| {});
    for n in 0..50 {
        let node = bench.write("f", format!("file {n}")).unwrap();
        assert_eq!(bench.text_of(node).unwrap(), format!("file {n}"));
        bench.unlink("f").unwrap();
        bench.forget_all();
        let dir = bench.mkdir("f").unwrap();
        assert_eq!(dir.kind, unionfuse::types::Kind::Directory);
        bench.rmdir("f").unwrap();
        bench.forget_all();
    }
}

#[test]
fn replaced_files_keep_theirs_too() {
    let bench = over(|lower| {
        lower.file("target", "0");
    });
    let mut live = HashSet::from([bench.node("target").unwrap()]);
    for n in 1..50 {
        let node = bench.write("new", n.to_string()).unwrap();
        assert!(live.insert(node));
        bench.rename("new", "target").unwrap();
    }
    for node in live {
        assert!(bench.text_of(node).is_ok());
    }
}

#[test]
fn of_two_files_with_one_origin_differ() {
    // A copy made behind our back with all attributes claims the identity of the original.
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("f", "lower");
        upper.dir("d");
    });
    bench.write("f", "upper").unwrap();
    let origin = bench.upper().get("f", "trusted.overlay.origin").unwrap();
    bench.upper().file("d/copy", "copy").set("d/copy", "trusted.overlay.origin", origin);
    bench.upper().set("d", "trusted.overlay.impure", "y");
    let (first, second) = (bench.node("f").unwrap(), bench.node("d/copy").unwrap());
    assert_ne!(first, second);
    assert_eq!(bench.text_of(first).unwrap(), "upper");
    assert_eq!(bench.text_of(second).unwrap(), "copy");
}

#[test]
fn survive_a_failed_copy_up_of_another_file() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("d/f", "lower").file("d/g", "");
        upper.dir("d");
    });
    bench.chmod("d/g", 0o600).unwrap();
    let file = bench.node("d/f").unwrap();
    let dir = std::fs::File::open(bench.upper().path("d")).unwrap();
    let flags = ioctl_getflags(&dir).unwrap();
    if ioctl_setflags(&dir, flags | IFlags::IMMUTABLE).is_err() {
        return crate::kit::bench::skip("the filesystem has no immutable directories");
    }
    // The copy is complete when it finds out that it cannot be published. Its inode is free then, and the
    // next file gets it.
    let failed = bench.chmod("d/f", 0o600);
    ioctl_setflags(&dir, flags).unwrap();
    assert!(failed.is_err());
    for n in 0..20 {
        let node = bench.write(format!("new{n}"), "new").unwrap();
        assert_ne!(node, file, "a new file is taken for the lower one");
        assert_eq!(bench.text(format!("new{n}")).unwrap(), "new");
    }
    assert_eq!(bench.text_of(file).unwrap(), "lower");
}

/// A union with an `empty` directory that has to be emptied before `source` can replace it. With the numbers of that directory
/// and of `f`.
fn over_whiteouts() -> (Bench, Arc<Faulty>, [NodeId; 2]) {
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], upper| {
        lower.file("empty/x", "").file("f", "");
        upper.whiteout("empty/x").dir("source");
    });
    let store = Arc::new(Faulty::new());
    bench.open_on(store.clone());
    let numbers = ["empty", "f"].map(|path| bench.node(path).unwrap());
    bench.forget_all();
    (bench, store, numbers)
}

#[test]
fn of_a_directory_that_is_not_replaced_after_all_stay() {
    let (bench, store, _) = over_whiteouts();
    store.arm(Fault::None);
    bench.rename("source", "empty").unwrap();
    let calls = store.disarm();
    let renames: Vec<usize> = (0..calls.len()).filter(|&at| calls[at] == "rename").collect();
    assert_eq!(renames.len(), 2, "one to empty it, one to replace it: {calls:?}");
    for at in renames {
        let (mut bench, store, first) = over_whiteouts();
        store.arm(Fault::Fail(at, Errno::NOSPC));
        assert_eq!(bench.rename("source", "empty"), Err(Errno::NOSPC));
        store.disarm();
        assert_eq!(bench.node("empty").unwrap(), first[0]);
        bench.rename("f", "empty/f").unwrap();
        let numbers = || ["empty", "empty/f"].map(|path| bench.node(path).unwrap());
        assert_eq!(numbers(), first, "call {at} failed");
        bench.forget_all();
        assert_eq!(numbers(), first, "call {at} failed, all forgotten");
        assert_eq!(bench.names("empty").unwrap(), ["f"]);
        bench.reopen();
        assert_eq!(bench.node("empty/f").unwrap(), first[1]);
    }
}

/// Whoever restores or copies an upperdir may give two files one origin. The one that is seen second has another number, for good.
#[test]
fn of_two_files_with_one_origin_each_keeps_its_number() {
    let mut bench = over(|lower| {
        lower.file("d/f", "text");
    });
    bench.chmod("d/f", 0o600).unwrap();
    let origin = bench.upper().get("d/f", "trusted.overlay.origin").unwrap();
    bench.create("d/copy").unwrap();
    bench.close();
    bench.upper().set("d/copy", "trusted.overlay.origin", &origin);
    bench.reopen();
    let first = (bench.node("d/f").unwrap(), bench.node("d/copy").unwrap());
    assert_ne!(first.0, first.1);
    assert!(first.1.0 < 1 << 53);
    bench.forget_all();
    let again = (bench.node("d/copy").unwrap(), bench.node("d/f").unwrap());
    assert_eq!((again.1, again.0), first);
}

#[test]
fn numbers_in_a_filesystem_inside_a_layer_stay() {
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.dir("volume").file("f", "");
    });
    let volume = bench.lower().ino("volume");
    bench.open_on(std::sync::Arc::new(Faulty::with_boundary_at(volume)));
    let before = bench.node("volume").unwrap();
    assert!(before.0 < 1 << 53 && before.0 != volume, "{before:?}");
    for _ in 0..2 {
        bench.forget_all();
        assert_eq!(bench.node("volume").unwrap(), before);
        bench.reopen();
    }
}
