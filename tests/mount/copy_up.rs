//! Everything that moves a lower file up, and what must not be lost on the way.

use rustix::fs::{FallocateFlags, FileType, OFlags};

use crate::kit::alone::Alone;
use crate::kit::case::{Case, case};
use crate::kit::op::*;
use crate::kit::recipe::{Layer, layer};
use crate::kit::subject::ours_or_skip;

/// Files with attributes worth losing, two directories down.
fn rich() -> Layer {
    layer()
        .file("a/b/f", "the data of f, some of it")
        .mode("a/b/f", 0o640)
        .xattr("a/b/f", "user.note", "kept?")
        .mtime("a/b/f", 900_000_000)
        .mode("a/b", 0o750)
        .mtime("a/b", 900_000_001)
        .xattr("a/b", "user.dir", "kept too?")
        .mtime("a", 900_000_002)
        .symlink("f", "a/b/s")
        .fifo("a/b/p")
        .file("a/b/big", vec![b'x'; 300_000])
        .acl("a/b/big", "u:1234:r")
}

fn each(script: impl IntoIterator<Item = Op>) -> Case {
    case().lower(rich()).run(script)
}

macro_rules! copied_up_by {
    ($($name:ident: [$($step:expr),* $(,)?];)*) => {
        $(#[test] fn $name() { each([$($step),*]).check(); })*
    };
}

copied_up_by! {
    write_to_it: [write("a/b/f", 4, "DATA"), read("a/b/f")];
    write_past_the_end: [write("a/b/f", 5000, "far")];
    write_into_big: [write("a/b/big", 150_000, "y")];
    append_to_it: [append("a/b/f", ", and more"), read("a/b/f")];
    open_for_writing_alone: [open("f", "a/b/f", OFlags::WRONLY), Op::Close("f"), open("f", "a/b/f", OFlags::RDWR), Op::Close("f")];
    truncate_to_nothing: [truncate("a/b/f", 0)];
    truncate_shorter: [truncate("a/b/f", 3)];
    truncate_longer: [truncate("a/b/f", 100_000)];
    // Whether this is a change is up to the filesystem (xfs: no), so the time is set after it.
    truncate_to_its_size: [truncate("a/b/big", 300_000), utimens("a/b/big", 800_000_000)];
    truncating_open: [put("a/b/f", "all new")];
    truncating_open_writing_nothing: [open("f", "a/b/big", OFlags::WRONLY | OFlags::TRUNC), Op::Close("f")];
    truncate_open_file: [open("f", "a/b/f", OFlags::RDWR), Op::FdTruncate("f", 7), Op::FdPwrite("f", 3, b"!".to_vec()), Op::FdStat("f")];
    chmod_it: [chmod("a/b/f", 0o4711), stat("a/b/f")];
    chmod_directory: [chmod("a/b", 0o2700), stat("a/b")];
    chmod_open_file: [open("f", "a/b/f", OFlags::RDONLY), Op::FdChmod("f", 0o600), Op::FdStat("f"), Op::FdPread("f", 0, 8)];
    utimens_of_it: [utimens("a/b/f", 800_000_000), stat("a/b/f")];
    utimens_of_directory: [utimens("a/b", 800_000_000), utimens("a", 800_000_000)];
    utimens_of_symlink: [utimens("a/b/s", 800_000_000), read("a/b/s")];
    utimens_of_fifo: [utimens("a/b/p", 800_000_000)];
    setxattr_on_it: [setxattr("a/b/f", "user.new", "value"), getxattr("a/b/f", "user.note"), getxattr("a/b/f", "user.new")];
    setxattr_on_directory: [setxattr("a/b", "user.new", "value"), removexattr("a/b", "user.dir")];
    removexattr_from_it: [removexattr("a/b/f", "user.note"), removexattr("a/b/f", "user.note")];
    acl_on_it: [setacl("a/b/f", "u:1000:rwx,g:1000:r"), setacl("a/b", "d:u:1000:rwx"), put("a/b/new", "inherits")];
    link_to_it: [link("a/b/f", "a/f2"), append("a/f2", "!"), read("a/b/f"), stat("a/b/f")];
    link_to_symlink: [link("a/b/s", "a/b/s2"), link("a/b/p", "a/p2")];
    rename_of_it: [rename("a/b/f", "a/f"), rename("a/b/s", "a/s"), rename("a/b/p", "a/p")];
    fallocate_beyond: [fallocate("a/b/f", FallocateFlags::empty(), 0, 50_000), stat("a/b/f")];
    fallocate_keep_size: [fallocate("a/b/f", FallocateFlags::KEEP_SIZE, 0, 50_000), stat("a/b/f")];
    punch_hole: [fallocate("a/b/big", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 4096, 100_000)];
    zero_range: [fallocate("a/b/big", FallocateFlags::ZERO_RANGE, 10, 100_000)];
    copy_range_into_it: [copy_range("a/b/big", "a/b/f", 10_000), stat("a/b/f")];
    create_beside_it: [put("a/b/new", ""), utimens("a/b", 800_000_001)];
    unlink_beside_it: [unlink("a/b/f"), utimens("a/b", 800_000_001)];
    mknod_beside_it: [mknod("a/b/file", FileType::RegularFile, 0o604, (0, 0)), stat("a/b/file")];
    nothing_changes_nothing: [chmod("a/b/f", 0o640), truncate("a/b/nothing", 0), write("a/b/nothing", 0, "x"), read("a/b/f"), list("a/b")];
}

#[test]
fn chown_it() {
    let steps = [
        chown("a/b/f", 1000, 1001),
        chown("a/b", 1000, u32::MAX),
        chown("a/b/s", u32::MAX, 1001),
        chown("a/b/p", 5, 6),
    ];
    each(steps).root_only("chown").check();
}

#[test]
fn owners_are_kept() {
    let lower = rich()
        .owner("a/b/f", 1000, 1001)
        .owner("a/b", 1002, 1003)
        .owner("a", 1, 2)
        .owner("a/b/s", 7, 8)
        .mode("a/b/f", 0o6755);
    case()
        .lower(lower)
        .run([append("a/b/f", "!"), utimens("a/b/s", 1), mkdir("a/b/d"), stat("a/b/f")])
        .root_only("chown")
        .check();
}

#[test]
fn trusted_and_security_xattrs_are_kept() {
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let lower = layer()
        .file("f", "f")
        .xattr("f", "trusted.note", "kept?")
        .xattr("f", "security.note", "kept?")
        .file("ping", "program")
        .mode("ping", 0o755)
        .xattr("ping", "security.capability", capability);
    case()
        .lower(lower)
        .run([utimens("f", 5), utimens("ping", 5), getxattr("ping", "security.capability")])
        .root_only("trusted xattrs")
        .check();
}

#[test]
fn directories_made_on_the_way_keep_what_they_are() {
    let deep = layer()
        .file("1/2/3/4/5/f", "deep")
        .mode("1", 0o711)
        .mode("1/2", 0o3777)
        .xattr("1/2/3", "user.three", "3")
        .acl("1/2/3/4", "u:77:rx,d:u:88:rwx")
        .mtime("1/2/3/4/5", 700_000_000)
        .mtime("1/2/3", 700_000_003);
    case().lower(layer().dir("1/2")).lower(deep).run([append("1/2/3/4/5/f", "!")]).check();
}

/// FUSE carries only the modes that keep the file's shape; the others must be refused, not half done.
#[test]
fn collapse_and_insert_range_are_refused() {
    if !ours_or_skip() {
        return;
    }
    let union = Alone::new(&[rich()], &layer());
    let path = union.root().join("a/b/big");
    let file = std::fs::File::options().read(true).write(true).open(&path).unwrap();
    for mode in [FallocateFlags::COLLAPSE_RANGE, FallocateFlags::INSERT_RANGE] {
        assert_eq!(
            rustix::fs::fallocate(&file, mode, 4096, 8192),
            Err(rustix::io::Errno::OPNOTSUPP),
            "{mode:?}"
        );
    }
    assert!(std::fs::read(&path).unwrap() == vec![b'x'; 300_000]);
    drop(file);
    union.unmount();
}
