//! Making files, directories, symlinks and special files.

use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use unionfuse::types::{Caller, Kind};

use crate::kit::bench::{ROOT, USER, name, over, union};
use crate::kit::layer::Layer;

#[test]
fn every_kind_can_be_made() {
    let mut bench = over(|lower| {
        lower.dir("d");
    });
    let device = rustix::fs::makedev(1, 3);
    let made = [
        ("d/file", Kind::File, 0),
        ("d/fifo", Kind::Fifo, 0),
        ("d/socket", Kind::Socket, 0),
        ("d/char", Kind::CharDevice, device),
        ("d/block", Kind::BlockDevice, rustix::fs::makedev(259, 300)),
    ];
    for (path, kind, rdev) in made {
        let attr = bench.mknod(ROOT, path, kind, 0o640, rdev).unwrap();
        assert_eq!((attr.kind, attr.perm, attr.nlink), (kind, 0o640, 1), "{path}");
    }
    bench.mkdir("d/dir").unwrap();
    bench.symlink("d/link", "some where").unwrap();
    bench.reopen();
    assert_eq!(bench.names("d").unwrap(), ["block", "char", "dir", "fifo", "file", "link", "socket"]);
    assert_eq!(bench.stat("d/char").unwrap().rdev, 0x103);
    // The low byte of the minor number, the major number, the rest of the minor number.
    assert_eq!(bench.stat("d/block").unwrap().rdev, 300 & 0xff | 259 << 8 | (300 & !0xff) << 12);
    assert_eq!(bench.target("d/link").unwrap(), "some where");
    assert_eq!(bench.stat("d/link").unwrap().size, 10);
}

#[test]
fn the_directory_is_copied_up_and_keeps_its_attributes() {
    let bench = over(|lower| {
        lower
            .file("a/b/f", "")
            .mode("a", 0o2711)
            .mode("a/b", 0o750)
            .owner("a", 3, 4)
            .mode("a", 0o2711)
            .time("a", 77);
    });
    let before = bench.stat("a").unwrap();
    bench.create("a/b/new").unwrap();
    let after = bench.stat("a").unwrap();
    assert_eq!((after.node, after.perm, after.uid, after.gid), (before.node, 0o2711, 3, 4));
    assert_eq!(after.mtime.sec, 77, "nothing was made in it");
    assert_eq!(bench.stat("a/b").unwrap().perm, 0o750);
    assert_eq!(bench.names("a/b").unwrap(), ["f", "new"]);
    assert_eq!(bench.upper().names("a/b"), ["new"]);
}

#[test]
fn a_new_file_belongs_to_its_caller() {
    let bench = over(|lower| {
        lower.dir("d");
    });
    let caller = Caller { umask: 0o027, ..USER };
    let file = bench.mknod(caller, "d/f", Kind::File, 0o666, 0).unwrap();
    assert_eq!((file.uid, file.gid, file.perm), (1000, 1000, 0o640));
    let dir = bench.mkdir_as(caller, "d/e", 0o1777).unwrap();
    assert_eq!((dir.uid, dir.gid, dir.perm), (1000, 1000, 0o1750));
    let root = bench.create("d/g").unwrap();
    assert_eq!((root.uid, root.gid), (0, 0));
}

#[test]
fn a_set_group_id_directory_gives_its_group() {
    let bench = over(|lower| {
        lower.file("d/gone", "").owner("d", 0, 55).mode("d", 0o2775);
    });
    bench.unlink("d/gone").unwrap();
    bench.mkdir_as(USER, "d/gone", 0o755).unwrap();
    bench.mkdir_as(USER, "d/dir", 0o755).unwrap();
    bench.mknod(USER, "d/file", Kind::File, 0o644, 0).unwrap();
    for (name, perm) in [("gone", 0o2755), ("dir", 0o2755), ("file", 0o644)] {
        let attr = bench.stat(format!("d/{name}")).unwrap();
        assert_eq!((attr.uid, attr.gid, attr.perm), (1000, 55, perm), "{name}");
    }
}

#[test]
fn names_that_are_shown_are_taken() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("low", "low").dir("d/lowdir");
        upper.file("up", "up");
    });
    for path in ["low", "up", "d", "d/lowdir"] {
        assert_eq!(bench.create(path), Err(Errno::EXIST), "{path}");
        assert_eq!(bench.mkdir(path), Err(Errno::EXIST), "{path}");
        assert_eq!(bench.symlink(path, "x"), Err(Errno::EXIST), "{path}");
    }
    assert_eq!(bench.text("low").unwrap(), "low");
}

#[test]
fn the_whiteout_device_is_refused() {
    let bench = over(|_| {});
    assert_eq!(bench.mknod(ROOT, "whiteout", Kind::CharDevice, 0, 0), Err(Errno::PERM));
    assert_eq!(bench.upper().names(""), [""; 0]);
}

#[test]
fn something_new_over_a_whiteout() {
    let mut bench = union(|[lower]: &[Layer; 1], upper| {
        for name in ["file", "dir", "link", "fifo"] {
            lower.file(format!("d/{name}"), "old");
            upper.whiteout(format!("d/{name}"));
        }
        lower.file("d/tree/child", "old");
        upper.whiteout("d/tree");
    });
    bench.write("d/file", "new").unwrap();
    bench.mkdir("d/dir").unwrap();
    bench.symlink("d/link", "new").unwrap();
    bench.mknod(ROOT, "d/fifo", Kind::Fifo, 0o600, 0).unwrap();
    bench.mkdir("d/tree").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.text("d/file").unwrap(), "new");
        assert_eq!(bench.names("d/dir").unwrap(), [""; 0]);
        assert_eq!(bench.target("d/link").unwrap(), "new");
        assert_eq!(bench.stat("d/fifo").unwrap().kind, Kind::Fifo);
        assert_eq!(bench.names("d/tree").unwrap(), [""; 0], "deleted children do not come back");
        bench.reopen();
    }
    assert!(bench.upper().is_opaque("d/tree"));
    assert!(!bench.upper().is_whiteout("d/file"));
}

#[test]
fn a_directory_over_a_whiteout_takes_mode_owner_and_time() {
    let bench = over(|lower| {
        lower.file("d/x", "").time("", 5);
    });
    bench.unlink("d/x").unwrap();
    bench.rmdir("d").unwrap();
    let made = bench.mkdir_as(USER, "d", 0o710).unwrap();
    assert_eq!((made.perm, made.uid, made.gid, made.nlink), (0o710, 1000, 1000, 2));
    assert_eq!(made.node.0, bench.upper().stat("d").ino());
    assert!(bench.stat("").unwrap().mtime.sec > 5);
}

#[test]
fn whiteouts_in_a_directory_that_only_the_upperdir_has() {
    // Left by another stack of layers, or by a rename that did not need it.
    let bench = union(|[_]: &[Layer; 1], upper| {
        upper.dir("d").file("d/f", "text");
        for name in ["file", "dir", "link", "moved", "moved-dir"] {
            upper.whiteout(format!("d/{name}"));
        }
    });
    assert_eq!(bench.names("d").unwrap(), ["f"]);
    bench.create("d/file").unwrap();
    bench.mkdir("d/dir").unwrap();
    bench.link("d/f", "d/link").unwrap();
    bench.rename("d/f", "d/moved").unwrap();
    bench.rename("d/dir", "d/moved-dir").unwrap();
    assert_eq!(bench.names("d").unwrap(), ["file", "link", "moved", "moved-dir"]);
    assert_eq!(bench.text("d/link").unwrap(), "text");
}

#[test]
fn nothing_can_be_made_in_a_removed_directory() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.dir("low");
        upper.dir("up");
    });
    for path in ["low", "up"] {
        let node = bench.node(path).unwrap();
        bench.rmdir(path).unwrap();
        let made = bench.raw().mkdir(ROOT, node, name("x"), 0o755);
        assert_eq!(made.unwrap_err().errno(), Errno::NOENT, "{path}");
        let made = bench.raw().mknod(ROOT, node, name("x"), Kind::File, 0o644, 0);
        assert_eq!(made.unwrap_err().errno(), Errno::NOENT, "{path}");
    }
}

#[test]
fn creation_in_what_is_no_directory_is_refused() {
    let bench = over(|lower| {
        lower.file("f", "");
    });
    assert_eq!(bench.create("f/x"), Err(Errno::NOTDIR));
    assert_eq!(bench.create("missing/x"), Err(Errno::NOENT));
}
