//! A filesystem that is full.

use std::path::{Path, PathBuf};

use rustix::io::Errno;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use crate::kit::bench::{Bench, skip};
use crate::kit::layer::Layer;

/// A small tmpfs, unmounted when dropped.
pub struct Small {
    point: PathBuf,
    _dir: TempDir,
}

impl Small {
    fn mount(options: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let options = std::ffi::CString::new(options).unwrap();
        match mount("small", dir.path(), "tmpfs", MountFlags::empty(), options.as_c_str()) {
            Ok(()) => Some(Self { point: dir.path().to_owned(), _dir: dir }),
            Err(errno) => {
                skip(&format!("mount tmpfs: {errno}"));
                None
            }
        }
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        let _ = unmount(self.point.as_path(), UnmountFlags::DETACH);
    }
}

/// A union whose upperdir is on `small`, its lower elsewhere.
fn on(small: &Small, fill: impl FnOnce(&Layer)) -> Bench {
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| fill(lower));
    for name in ["upper", "work"] {
        std::fs::create_dir(small.point.join(name)).unwrap();
    }
    bench.config.upper = Some(small.point.join("upper"));
    bench.config.work = Some(small.point.join("work"));
    bench.open();
    bench
}

fn used(point: &Path) -> u64 {
    let usage = rustix::fs::statvfs(point).unwrap();
    usage.f_blocks - usage.f_bfree
}

#[test]
fn a_copy_up_that_does_not_fit_leaves_everything_as_it_was() {
    let Some(small) = Small::mount("size=2m") else { return };
    let bench = on(&small, |lower| {
        lower.file("d/big", vec![b'x'; 4 << 20]).file("d/small", "small").link("d/big2", "d/big");
    });
    let before = bench.stat("d/big").unwrap();
    bench.write("d/small", "SMALL").unwrap();
    let taken = used(&small.point);
    for _ in 0..3 {
        assert_eq!(bench.write("d/big", "y"), Err(Errno::NOSPC));
        assert_eq!(bench.chmod("d/big2", 0o600), Err(Errno::NOSPC));
        assert_eq!(bench.rename("d/big", "d/moved"), Err(Errno::NOSPC));
    }
    let mut data = [0; 8];
    assert_eq!(bench.raw().read(before.node, (4 << 20) - 8, &mut data).unwrap(), 8);
    assert_eq!(&data, b"xxxxxxxx");
    assert_eq!(bench.stat("d/big").unwrap(), before);
    assert_eq!(bench.names("d").unwrap(), ["big", "big2", "small"]);
    assert_eq!(std::fs::read_dir(small.point.join("upper/d")).unwrap().count(), 1);
    assert_eq!(used(&small.point), taken, "nothing was left behind");
    // What fits is done: a truncation copies nothing.
    assert_eq!(bench.truncate("d/big", 10).unwrap().size, 10);
    assert_eq!(bench.text("d/big2").unwrap(), "xxxxxxxxxx");
}

#[test]
fn no_inodes_left() {
    let Some(small) = Small::mount("size=2m,nr_inodes=30") else { return };
    let bench = on(&small, |lower| {
        for n in 0..50 {
            lower.file(format!("d/f{n}"), n.to_string());
        }
    });
    let mut failed = 0;
    for n in 0..50 {
        match bench.chmod(format!("d/f{n}"), 0o600) {
            Ok(_) => {}
            Err(Errno::NOSPC) => failed += 1,
            Err(errno) => panic!("{errno}"),
        }
    }
    assert!(failed > 20);
    for n in 0..50 {
        assert_eq!(bench.text(format!("d/f{n}")).unwrap(), n.to_string());
    }
    assert_eq!(bench.create("d/new"), Err(Errno::NOSPC));
    assert_eq!(bench.mkdir("d/newdir"), Err(Errno::NOSPC));
    assert_eq!(bench.names("d").unwrap().len(), 50);
}

/// Takes all inodes but those that are freed later.
fn use_up_inodes(small: &Small) {
    for n in 0.. {
        match std::fs::create_dir(small.point.join(format!("filler{n}"))) {
            Ok(()) => {}
            Err(error) => return assert_eq!(error.raw_os_error(), Some(Errno::NOSPC.raw_os_error())),
        }
    }
}

/// What was there before can be removed, and then there is room for more.
fn check_that_something_can_be_removed(bench: &Bench) {
    assert_eq!(bench.create("new"), Err(Errno::NOSPC));
    bench.unlink("u1").unwrap();
    bench.unlink("d/u2").unwrap();
    bench.rmdir("d").unwrap();
    bench.unlink("u3").unwrap();
    bench.rmdir("e").unwrap();
    bench.rmdir("e2").unwrap();
    bench.rmdir("e3").unwrap();
    // Whoever has a removed file open keeps its inode.
    bench.forget_all();
    bench.mkdir("new").unwrap();
    bench.unlink("lower").unwrap();
    assert_eq!(bench.names("").unwrap(), ["new", "other"]);
}

fn fill_for_removal(lower: &Layer) {
    lower.file("lower", "").file("other", "");
}

fn fill_upper(small: &Small) {
    let upper = Layer { root: small.point.join("upper") };
    upper.file("u1", "").file("d/u2", "").file("u3", "").dir("e").dir("e2").dir("e3");
}

#[test]
fn a_full_filesystem_can_be_mounted_again() {
    let Some(small) = Small::mount("size=2m,nr_inodes=40") else { return };
    let mut bench = on(&small, fill_for_removal);
    fill_upper(&small);
    bench.close();
    use_up_inodes(&small);
    bench.reopen();
    check_that_something_can_be_removed(&bench);
}

#[test]
fn a_full_filesystem_can_be_mounted_for_the_first_time() {
    for given in [true, false] {
        let Some(small) = Small::mount("size=2m,nr_inodes=40") else { return };
        let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| fill_for_removal(lower));
        for name in ["upper", "work"] {
            std::fs::create_dir(small.point.join(name)).unwrap();
        }
        fill_upper(&small);
        use_up_inodes(&small);
        bench.config.upper = Some(small.point.join("upper"));
        bench.config.work = given.then(|| small.point.join("work"));
        bench.open();
        check_that_something_can_be_removed(&bench);
        let made = if given { "work/work" } else { ".upper.unionfuse-work/work" };
        assert!(small.point.join(made).is_dir());
    }
}

#[test]
fn a_volatile_mount_needs_room_for_its_mark() {
    let Some(small) = Small::mount("size=2m,nr_inodes=40") else { return };
    let mut bench = on(&small, fill_for_removal);
    bench.close();
    use_up_inodes(&small);
    bench.config.durability = unionfuse::config::Durability::Volatile;
    let error = unionfuse::Union::open(&bench.config, None).unwrap_err().to_string();
    assert!(error.contains("full"), "{error}");
}

#[test]
fn different_filesystems_keep_their_numbers_apart() {
    let Some(small) = Small::mount("size=2m") else { return };
    let mut bench = on(&small, |lower| {
        lower.file("d/f", "text").file("g", "").dir("d/e").link("d/h", "g");
    });
    for n in 0..20 {
        bench.create(format!("new{n}")).unwrap();
    }
    let paths = ["d/f", "g", "d", "d/e"];
    let before = paths.map(|path| bench.node(path).unwrap());
    for path in paths {
        bench.chmod(path, 0o700).unwrap();
    }
    for _ in 0..2 {
        let now = paths.map(|path| bench.node(path).unwrap());
        assert_eq!(before, now, "numbers stay over copy-up to another filesystem and a remount");
        let all: std::collections::HashSet<_> =
            (0..20).map(|n| bench.node(format!("new{n}")).unwrap()).chain(now).collect();
        assert_eq!(all.len(), 24);
        assert_eq!((bench.node("d/h").unwrap(), bench.stat("g").unwrap().nlink), (now[1], 2));
        assert_eq!(bench.names("d").unwrap(), ["e", "f", "h"]);
        bench.reopen();
    }
}

#[test]
fn pages_are_written_all_or_with_an_error() {
    let Some(small) = Small::mount("size=2m") else { return };
    let bench = on(&small, |lower| {
        lower.file("f", "").file("g", "").file("h", "");
    });
    let data = vec![b'x'; 4 << 20];
    let node = |name: &str| bench.node(name).unwrap();
    let written = bench.raw().write(node("f"), 0, &data, None).unwrap().value;
    assert!(written > 0 && written < data.len(), "write(2) may stop midway: {written}");
    let pages = |name: &str| crate::kit::bench::errno(bench.raw().write_pages(node(name), 0, &data, None));
    assert_eq!(pages("f"), Err(Errno::NOSPC));
    bench.unlink("f").unwrap();
    bench.forget_all();
    assert_eq!(pages("g"), Err(Errno::NOSPC), "also when a part of them was");
    bench.unlink("g").unwrap();
    bench.forget_all();
    let back = crate::kit::bench::errno(bench.raw().write_back(node("h"), 0, &data));
    assert_eq!(back, Err(Errno::NOSPC), "also from the writeback cache");
}
