//! Files that are open while things happen to their names.

use rustix::fs::{OFlags, SeekFrom};

use super::one_file;
use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::layer;

const RW: OFlags = OFlags::RDWR;

#[test]
fn unlinked_lower_file_stays_usable() {
    let steps = [
        open("f", "f", OFlags::RDONLY),
        unlink("f"),
        Op::FdPread("f", 0, 100),
        put("f", "another"),
        Op::FdPread("f", 0, 100),
        Op::FdSeek("f", SeekFrom::End(0)),
        Op::Close("f"),
    ];
    case().lower(one_file()).run(steps).check();
}

#[test]
fn unlinked_open_for_writing() {
    let steps = [
        open("f", "f", RW),
        Op::FdPwrite("f", 0, b"written before".to_vec()),
        unlink("f"),
        Op::FdStat("f"),
        Op::FdPwrite("f", 5, b"WRITTEN AFTER".to_vec()),
        Op::FdPread("f", 0, 100),
        Op::FdTruncate("f", 8),
        Op::FdSeek("f", SeekFrom::End(0)),
        Op::FdWrite("f", b"appended".to_vec()),
        Op::FdChmod("f", 0o600),
        Op::FdStat("f"),
        Op::FdSync("f"),
        Op::FdPread("f", 0, 100),
        Op::Close("f"),
        stat("f"),
    ];
    case().lower(one_file()).run(steps).check();
}

#[test]
fn unlinked_new_file() {
    let steps = [
        open("n", "n", RW | OFlags::CREATE | OFlags::EXCL),
        unlink("n"),
        Op::FdWrite("n", b"nobody else sees this".to_vec()),
        Op::FdStat("n"),
        Op::FdPread("n", 0, 6),
        mkdir("n"),
        Op::FdTruncate("n", 3),
        Op::FdStat("n"),
        Op::Close("n"),
    ];
    case().lower(one_file()).run(steps).check();
}

#[test]
fn replaced_by_rename() {
    let steps = [
        open("f", "f", RW),
        put("new", "new content"),
        rename("new", "f"),
        Op::FdPread("f", 0, 100),
        Op::FdPwrite("f", 0, b"to the old one".to_vec()),
        Op::FdPread("f", 0, 100),
        read("f"),
        open("new", "f", RW),
        Op::FdPwrite("new", 0, b"NEW".to_vec()),
        Op::FdPread("f", 0, 3),
        Op::Close("f"),
        Op::Close("new"),
        read("f"),
    ];
    case().lower(one_file()).run(steps).check();
}

#[test]
fn renamed_while_open() {
    let steps = [
        open("f", "f", RW),
        rename("f", "d/moved"),
        Op::FdWrite("f", b"after".to_vec()),
        rename("d", "e"),
        Op::FdWrite("f", b", again".to_vec()),
        unlink("e/moved"),
        Op::FdWrite("f", b", nowhere".to_vec()),
        Op::FdPread("f", 0, 100),
        Op::FdStat("f"),
        Op::Close("f"),
    ];
    case().lower(one_file()).run(steps).check();
}

#[test]
fn one_of_two_names_unlinked_while_open() {
    let lower = layer().file("a", "linked").hard_link("a", "b");
    let steps = [
        open("a", "a", RW),
        unlink("a"),
        Op::FdWrite("a", b"LINK".to_vec()),
        read("b"),
        Op::FdStat("a"),
        unlink("b"),
        Op::FdStat("a"),
        Op::FdWrite("a", b"ED".to_vec()),
        Op::FdPread("a", 0, 10),
        Op::Close("a"),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn open_flags() {
    let excl = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL;
    let steps = [
        open("x", "f", excl),
        open("x", "new", excl),
        open("y", "new", excl),
        open("y", "d", OFlags::WRONLY),
        open("y", "d", RW | OFlags::CREATE),
        open("y", "f", OFlags::RDONLY | OFlags::DIRECTORY),
        open("y", "nothing", RW),
        open("y", "f/x", OFlags::RDONLY),
        open("y", "f", OFlags::PATH),
        open("z", "f", OFlags::WRONLY | OFlags::APPEND),
        Op::FdWrite("z", b"1".to_vec()),
        Op::FdPwrite("z", 0, b"2".to_vec()),
        append("f", "3"),
        Op::FdWrite("z", b"4".to_vec()),
        read("f"),
        open("w", "d/g", OFlags::RDONLY | OFlags::TRUNC),
        stat("d/g"),
        symlink("d/g", "link"),
        open("v", "link", RW | OFlags::NOFOLLOW),
        open("v", "link", excl),
        open("v", "link", RW | OFlags::CREATE),
        Op::FdWrite("v", b"through the link".to_vec()),
        read("d/g"),
    ];
    case().lower(one_file()).run(steps).check();
}

#[test]
fn two_appenders_never_overwrite_each_other() {
    let append_from_two = call("append from two descriptors in turn", || {
        let flags = OFlags::WRONLY | OFlags::APPEND;
        let one = rustix::fs::open("f", flags, rustix::fs::Mode::empty())?;
        let two = rustix::fs::open("f", flags, rustix::fs::Mode::empty())?;
        for i in 0..50 {
            rustix::io::write(&one, format!("a{i} ").as_bytes())?;
            rustix::io::write(&two, format!("b{i} ").as_bytes())?;
        }
        Ok("done".into())
    });
    case().lower(one_file()).run([append_from_two, stat("f")]).check();
}

#[test]
fn a_file_open_over_the_whole_script() {
    let steps = [
        open("r", "f", OFlags::RDONLY),
        open("w", "f", RW),
        Op::FdPwrite("w", 0, b"first".to_vec()),
        chmod("f", 0o600),
        Op::FdPwrite("w", 5, b"second".to_vec()),
        link("f", "f2"),
        Op::FdPwrite("w", 11, b"third".to_vec()),
        unlink("f"),
        Op::FdPwrite("w", 16, b"fourth".to_vec()),
        read("f2"),
        truncate("f2", 14),
        Op::FdPread("w", 0, 100),
        setxattr("f2", "user.x", "y"),
        Op::FdStat("w"),
        Op::Close("w"),
        Op::Close("r"),
    ];
    case().lower(one_file()).run(steps).check();
}
