//! What a copy-up keeps.

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use rustix::io::Errno;
use unionfuse::config::Durability;
use unionfuse::types::{SetAttr, Time};

use super::xattr::acl;
use crate::kit::bench::{Bench, ROOT, done_to, errno, over, union, union_with};
use crate::kit::faulty::{Fault, Faulty};
use crate::kit::layer::Layer;

/// `vfs_cap_data`, version 2, with `cap_net_bind_service=ep`.
const CAPABILITY: [u8; 20] = *b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";

#[test]
fn everything_about_a_file() {
    let bench = over(|lower| {
        lower.file("d/f", "content").owner("d/f", 12, 34).mode("d/f", 0o6640);
        lower.set("d/f", "user.a", "1").set("d/f", "trusted.b", "2").set(
            "d/f",
            "security.capability",
            CAPABILITY,
        );
        lower.set("d/f", "system.posix_acl_access", acl()).time("d/f", -3);
    });
    let before = bench.stat("d/f").unwrap();
    bench.set_xattr("d/f", "user.trigger", "").unwrap();
    let after = bench.stat("d/f").unwrap();
    assert_eq!(after.node, before.node);
    assert_eq!((after.perm, after.uid, after.gid, after.size), (before.perm, 12, 34, 7));
    assert_eq!((after.mtime, after.nlink), (Time { sec: -3, nsec: 123_456_789 }, 1));
    let upper = bench.upper();
    assert_eq!(upper.get("d/f", "user.a").unwrap(), b"1");
    assert_eq!(upper.get("d/f", "trusted.b").unwrap(), b"2");
    assert_eq!(upper.get("d/f", "security.capability").unwrap(), CAPABILITY);
    assert_eq!(upper.get("d/f", "system.posix_acl_access").unwrap(), acl());
    assert_eq!(upper.stat("d/f").atime(), -3);
    assert_eq!(upper.text("d/f"), "content");
}

#[test]
fn everything_about_its_directories() {
    let bench = over(|lower| {
        lower.file("a/b/f", "").owner("a", 5, 6).mode("a", 0o3770).set("a", "user.x", "1");
        lower.set("a", "system.posix_acl_default", acl()).time("a/b", 11).time("a", 22).time("", 33);
    });
    let before = ["", "a", "a/b"].map(|path| bench.stat(path).unwrap());
    bench.write("a/b/f", "x").unwrap();
    let after = ["", "a", "a/b"].map(|path| bench.stat(path).unwrap());
    for (before, after) in before.iter().zip(&after).skip(1) {
        assert_eq!((before.node, before.perm, before.uid), (after.node, after.perm, after.uid));
        assert_eq!(before.mtime, after.mtime);
    }
    assert_eq!(after[1].gid, 6);
    assert_eq!(bench.upper().get("a", "user.x").unwrap(), b"1");
    assert_eq!(bench.upper().get("a", "system.posix_acl_default").unwrap(), acl());
    assert_eq!(bench.upper().stat("a").mtime(), 22);
    assert_eq!(bench.upper().stat("a").atime(), 22);
}

#[test]
fn the_root_keeps_its_times() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("f", "").dir("d");
        upper.time("", 44);
    });
    bench.write("f", "x").unwrap();
    bench.chmod("d", 0o700).unwrap();
    assert_eq!(bench.stat("").unwrap().mtime.sec, 44);
}

#[test]
fn every_kind_of_file() {
    let device = rustix::fs::makedev(1, 5);
    let bench = over(|lower| {
        lower.symlink("s", "target").owner("s", 3, 4).time("s", 50);
        lower.node("p", rustix::fs::FileType::Fifo, 0o640, 0).time("p", 51);
        lower.node("c", rustix::fs::FileType::CharacterDevice, 0o620, device);
        lower.node("x", rustix::fs::FileType::Socket, 0o755, 0);
    });
    for path in ["s", "p", "c", "x"] {
        let before = bench.stat(path).unwrap();
        let after = bench.setattr(path, SetAttr { uid: Some(9), ..SetAttr::default() }).unwrap();
        assert_eq!((after.uid, after.gid), (9, before.gid), "{path}");
        assert_eq!((after.node, after.kind, after.perm), (before.node, before.kind, before.perm), "{path}");
        assert_eq!((after.rdev, after.mtime), (before.rdev, before.mtime), "{path}");
        assert!(bench.upper().has(path));
    }
    assert_eq!(bench.target("s").unwrap(), "target");
}

#[test]
fn holes_stay_holes() {
    let bench = over(|lower| {
        lower.file("f", "");
        let file = File::options().write(true).open(lower.path("f")).unwrap();
        file.write_all_at(b"begin", 0).unwrap();
        file.write_all_at(b"middle", 8 << 20).unwrap();
        file.set_len(64 << 20).unwrap();
    });
    bench.chmod("f", 0o600).unwrap();
    let meta = bench.upper().stat("f");
    assert_eq!(meta.len(), 64 << 20);
    assert!(meta.blocks() < 64, "{} blocks", meta.blocks());
    let file = File::open(bench.upper().path("f")).unwrap();
    let mut data = [0; 6];
    file.read_exact_at(&mut data, 8 << 20).unwrap();
    assert_eq!(&data, b"middle");
    file.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(&data, b"begin\0");
}

#[test]
fn a_long_copy_is_given_to_others_and_a_short_one_is_not() {
    let bench = over(|lower| {
        lower
            .file("short", vec![1; 1 << 20])
            .file("long", vec![1; 5 << 20])
            .file("emptied", vec![1; 5 << 20]);
    });
    let given = Arc::new(AtomicU32::new(0));
    let nobody_works = Arc::new(AtomicBool::new(false));
    let (count, refuses) = (given.clone(), nobody_works.clone());
    bench.raw().set_long_work(move |work| {
        if refuses.load(Ordering::Relaxed) {
            return;
        }
        count.fetch_add(1, Ordering::Relaxed);
        std::thread::scope(|scope| drop(scope.spawn(work)));
    });
    bench.write("short", "x").unwrap();
    bench.setattr("emptied", SetAttr { size: Some(0), ..SetAttr::default() }).unwrap();
    assert_eq!(given.load(Ordering::Relaxed), 0);
    bench.write("long", "x").unwrap();
    bench.write("long", "y").unwrap();
    assert_eq!(given.load(Ordering::Relaxed), 1);
    assert_eq!(bench.stat("long").unwrap().size, 5 << 20);
    let (long, short) = (bench.node("long").unwrap(), bench.node("short").unwrap());
    let copied = done_to(short, bench.raw().copy_range(ROOT, (long, 0), (short, 1 << 20), 4 << 20));
    assert_eq!(copied, Ok((4 << 20, false)));
    assert_eq!(given.load(Ordering::Relaxed), 2);
    nobody_works.store(true, Ordering::Relaxed);
    assert_eq!(errno(bench.raw().copy_range(ROOT, (long, 0), (short, 0), 4 << 20)), Err(Errno::IO));
    assert_eq!(bench.stat("short").unwrap().size, 5 << 20);
}

#[test]
fn big_files_are_copied_whole() {
    let data: Vec<u8> = (0..5_000_001u32).map(|n| (n * 7 % 251) as u8).collect();
    let bench = over(|lower| {
        lower.file("f", &data);
    });
    let node = bench.node("f").unwrap();
    bench.write_node(node, 5_000_001, "!").unwrap();
    let copy = std::fs::read(bench.upper().path("f")).unwrap();
    assert!(copy[..5_000_001] == data[..] && copy.ends_with(b"!"));
}

#[test]
fn other_names_and_files_are_left_alone() {
    let bench = over(|lower| {
        lower.file("d/f", "").file("d/g", "").file("d/e/h", "");
    });
    bench.write("d/f", "x").unwrap();
    assert_eq!(bench.upper().names("d"), ["f"]);
    assert_eq!(bench.upper().names(""), ["d"]);
}

#[test]
fn the_origin_is_recorded_as_the_kernel_does() {
    let bench = over(|lower| {
        lower.file("d/f", "");
    });
    bench.chmod("d/f", 0o600).unwrap();
    let origin = bench.upper().get("d/f", "trusted.overlay.origin").unwrap();
    assert_eq!(origin[..2], [0, 0xfb]);
    assert_eq!(usize::from(origin[2]), origin.len());
    assert!(bench.upper().get("d", "trusted.overlay.origin").is_some());
    assert_eq!(bench.upper().get("d", "trusted.overlay.impure").unwrap(), b"y");
    assert_eq!(bench.upper().get("", "trusted.overlay.impure").unwrap(), b"y");
}

#[test]
fn by_every_degree_of_durability() {
    for durability in [Durability::Synced, Durability::Relaxed, Durability::Volatile] {
        let bench = union_with(
            |[lower]: &[Layer; 1], _| {
                lower.file("d/f", "text").link("d/g", "d/f").symlink("s", "x");
            },
            |config| config.durability = durability,
        );
        bench.write("d/f", "TEXT").unwrap();
        bench.setattr("s", SetAttr { uid: Some(4), ..SetAttr::default() }).unwrap();
        assert_eq!(bench.text("d/g").unwrap(), "TEXT", "{durability:?}");
        bench.raw().fsync(bench.node("d/f").unwrap(), false).unwrap();
    }
}

/// What was copied must be on the disk before it has the name; what holds no copied data need not be waited for.
#[test]
fn only_copied_data_is_waited_for() {
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.file("copied", "text").file("emptied", "text").file("empty", "");
    });
    bench.config.durability = Durability::Synced;
    // Where files can share data, it is not copied.
    let store = Arc::new(Faulty::new());
    bench.open_on(store.clone());
    for (path, size, synced) in [("copied", 4, 1), ("copied", 2, 0), ("emptied", 0, 0), ("empty", 0, 0)] {
        bench.stat(path).unwrap();
        store.arm(Fault::Lack(&[("clone_data", Errno::OPNOTSUPP)]));
        match size {
            4 => bench.chmod(path, 0o600).map(drop).unwrap(),
            _ => bench.truncate(path, size).map(drop).unwrap(),
        }
        let calls = store.disarm();
        assert_eq!(calls.iter().filter(|call| **call == "sync").count(), synced, "{path}: {calls:?}");
        assert_eq!(bench.stat(path).unwrap().size, size);
    }
}

#[test]
fn an_immutable_lower_file_is_not_copied_up() {
    use rustix::fs::{IFlags, ioctl_getflags, ioctl_setflags};
    let bench = over(|lower| {
        lower.file("f", "text");
    });
    let file = File::open(bench.lower().path("f")).unwrap();
    let flags = ioctl_getflags(&file).unwrap();
    if ioctl_setflags(&file, flags | IFlags::IMMUTABLE).is_err() {
        return crate::kit::bench::skip("the filesystem has no immutable files");
    }
    let answer = bench.chmod("f", 0o600);
    ioctl_setflags(&file, flags).unwrap();
    assert_eq!(answer, Err(Errno::PERM));
    assert_eq!(bench.text("f").unwrap(), "text");
    assert!(!bench.upper().has("f"));
}

#[test]
fn a_whole_stack_of_directories_at_once() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        bottom.file("a/b/c/d/e/f", "deep");
        top.dir("a/b/c");
    });
    let nodes = ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"].map(|path| bench.node(path).unwrap());
    bench.write("a/b/c/d/e/f", "DEEP").unwrap();
    bench.forget_all();
    assert_eq!(nodes, ["a", "a/b", "a/b/c", "a/b/c/d", "a/b/c/d/e"].map(|path| bench.node(path).unwrap()));
    assert_eq!(bench.text("a/b/c/d/e/f").unwrap(), "DEEP");
}
