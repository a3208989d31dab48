//! What other users may do, and the bits that a change by them must clear or hand down.

use rustix::fs::OFlags;

use crate::kit::case::{Case, case};
use crate::kit::op::*;
use crate::kit::recipe::{Layer, layer};

const USER: u32 = 1000;

fn shared() -> Layer {
    layer()
        .dir("open")
        .mode("open", 0o777)
        .dir("sgid")
        .owner("sgid", 0, 2000)
        .mode("sgid", 0o2777)
        .dir("sticky")
        .mode("sticky", 0o1777)
        .file("sticky/roots", "")
        .file("setuid", "program")
        .mode("setuid", 0o6777)
        .file("setgid_unexecutable", "")
        .mode("setgid_unexecutable", 0o2666)
        .file("mine", "mine")
        .owner("mine", USER, USER)
        .mode("mine", 0o6755)
        .file("private", "secret")
        .mode("private", 0o600)
        .dir("closed")
        .mode("closed", 0o700)
        .file("closed/x", "x")
        .file("readonly", "")
        .mode("readonly", 0o444)
}

fn as_others(script: impl IntoIterator<Item = Op>) -> Case {
    case().lower(shared()).run(script).root_only("other users")
}

/// As the user, and the state after it.
fn user(op: Op) -> Op {
    as_user(USER, op)
}

#[test]
fn sgid_directories_hand_down_their_group() {
    as_others([
        put("sgid/f", ""),
        mkdir("sgid/d"),
        mkdir("sgid/d/e"),
        symlink("x", "sgid/s"),
        fifo("sgid/p"),
        user(put("sgid/by_user", "")),
        user(mkdir("sgid/dir_by_user")),
        user(create("sgid/executable", 0o2755)),
        rename("setuid", "sgid/setuid"),
        stat("sgid/by_user"),
    ])
    .check();
}

#[test]
fn umask_applies() {
    case()
        .lower(layer().dir("d"))
        .run([
            Op::Umask(0o027),
            create("d/f", 0o666),
            mkdir_mode("d/d", 0o777),
            fifo("d/p"),
            mknod("d/r", rustix::fs::FileType::RegularFile, 0o666, (0, 0)),
            Op::Umask(0),
            create("d/all", 0o777),
            mkdir_mode("d/sticky", 0o1777),
            Op::Umask(0o777),
            create("d/none", 0o666),
            mkdir_mode("d/none_dir", 0o777),
            symlink("x", "d/s"),
        ])
        .root_only("to look into a directory without permissions")
        .check();
}

#[test]
fn writing_clears_setuid() {
    as_others([user(write("setuid", 0, "P")), stat("setuid"), user(append("mine", "!")), stat("mine")])
        .check();
}

/// Linux since 6.2: the bit means something only to members of the group.
#[test]
fn writing_by_a_stranger_to_the_group_clears_setgid_without_execute_too() {
    as_others([
        user(write("setgid_unexecutable", 0, "x")),
        stat("setgid_unexecutable"),
        chmod("setgid_unexecutable", 0o2666),
        Op::As(USER, 0, Box::new(write("setgid_unexecutable", 0, "x"))),
        stat("setgid_unexecutable"),
    ])
    .check();
}

#[test]
fn writing_as_root_keeps_setuid() {
    as_others([write("setuid", 0, "P"), stat("setuid"), truncate("mine", 1), stat("mine")]).check();
}

#[test]
fn writing_through_an_open_file_clears_setuid() {
    as_others([
        user(open("f", "setuid", OFlags::RDWR)),
        user(Op::FdPwrite("f", 1, b"x".to_vec())),
        Op::FdStat("f"),
        chmod("setuid", 0o6777),
        user(Op::FdPwrite("f", 2, b"y".to_vec())),
        Op::FdStat("f"),
    ])
    .check();
}

#[test]
fn truncating_clears_setuid() {
    as_others([user(truncate("setuid", 1)), stat("setuid"), user(truncate("mine", 100)), stat("mine")])
        .check();
}

#[test]
fn truncating_open_clears_setuid() {
    as_others([user(put("setuid", "all new")), stat("setuid"), user(put("mine", "")), stat("mine")]).check();
}

#[test]
fn chown_clears_setuid() {
    as_others([
        chown("setuid", 7, 8),
        stat("setuid"),
        chmod("setuid", 0o6777),
        chown("setuid", 7, 8),
        stat("setuid"),
        user(chown("mine", USER, USER)),
        stat("mine"),
        chown("sgid", 9, 9),
        stat("sgid"),
        chown("setgid_unexecutable", 1, 1),
        stat("setgid_unexecutable"),
    ])
    .check();
}

#[test]
fn chmod_by_a_stranger_to_the_group_clears_setgid() {
    as_others([
        chown("mine", USER, 4000),
        user(chmod("mine", 0o2755)),
        stat("mine"),
        user(chmod("setuid", 0o755)),
        stat("setuid"),
    ])
    .check();
}

#[test]
fn writing_clears_capabilities() {
    let capability = [1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let lower = layer()
        .file("a", "program")
        .mode("a", 0o777)
        .xattr("a", "security.capability", capability)
        .file("b", "program")
        .mode("b", 0o777)
        .xattr("b", "security.capability", capability)
        .file("c", "program")
        .xattr("c", "security.capability", capability)
        .file("d", "program")
        .xattr("d", "security.capability", capability);
    case()
        .lower(lower)
        .run([
            user(write("a", 0, "P")),
            getxattr("a", "security.capability"),
            user(truncate("b", 2)),
            getxattr("b", "security.capability"),
            chown("c", 5, 5),
            getxattr("c", "security.capability"),
            append("d", "!"),
            getxattr("d", "security.capability"),
        ])
        .root_only("file capabilities")
        .check();
}

#[test]
fn permissions_are_checked() {
    as_others([
        user(read("private")),
        user(append("private", "x")),
        user(put("new", "")),
        user(put("open/new", "")),
        user(unlink("private")),
        user(unlink("setuid")),
        user(rename("open/new", "new")),
        user(rename("private", "open/private")),
        user(chmod("private", 0o777)),
        user(chown("mine", 0, 0)),
        user(chown("private", USER, USER)),
        user(list("closed")),
        user(stat("closed/x")),
        user(unlink("sticky/roots")),
        user(rename("sticky/roots", "sticky/users")),
        user(put("sticky/own", "")),
        as_user(1001, unlink("sticky/own")),
        user(unlink("sticky/own")),
        user(truncate("readonly", 0)),
        user(utimens("readonly", 5)),
        user(setxattr("readonly", "user.x", "")),
        user(setxattr("mine", "trusted.x", "")),
        user(link("private", "open/link")),
        user(mknod("open/dev", rustix::fs::FileType::CharacterDevice, 0o666, (1, 3))),
        user(mknod("open/fifo", rustix::fs::FileType::Fifo, 0o600, (0, 0))),
    ])
    .check();
}

#[test]
fn new_files_belong_to_their_maker() {
    as_others([
        user(put("open/f", "")),
        user(mkdir("open/d")),
        user(symlink("x", "open/s")),
        Op::As(USER, 3000, Box::new(put("open/other_group", ""))),
        user(rename("open/f", "open/d/f")),
        user(link("open/d/f", "open/d/g")),
        user(append("open/d/g", "own data")),
        user(rmdir("open/d")),
        user(remove_tree("open/d")),
        user(chmod("mine", 0o600)),
        user(append("mine", "copied up by its owner")),
    ])
    .check();
}

#[test]
fn access_lists_are_honoured() {
    let lower = layer()
        .file("f", "for 1000")
        .mode("f", 0o600)
        .acl("f", "u:1000:rw")
        .dir("d")
        .mode("d", 0o700)
        .acl("d", "u:1000:rwx,d:u:1001:r");
    case()
        .lower(lower)
        .run([
            user(read("f")),
            user(append("f", "!")),
            as_user(1001, read("f")),
            user(put("d/new", "new")),
            as_user(1001, read("d/new")),
            as_user(1001, list("d")),
            chmod("f", 0o600),
            user(read("f")),
        ])
        .root_only("other users")
        .check();
}

/// Go's module cache is full of these: whoever owns the file may change it, and the directory is no obstacle.
#[test]
fn files_in_directories_that_may_not_be_written_to() {
    let lower = layer()
        .file("ro/f", "old")
        .file("ro/h", "linked")
        .hard_link("ro/h", "ro/h2")
        .file("ro/sub/deep", "deep")
        .mode("ro/sub", 0o555)
        .mode("ro", 0o555);
    let steps = [
        append("ro/f", "!"),
        append("ro/h2", "!"),
        read("ro/h"),
        append("ro/sub/deep", "!"),
        chmod("ro/f", 0o600),
        utimens("ro/sub", 1_000_000_000),
        stat("ro/sub"),
        list("ro"),
        chmod("ro/sub", 0o511),
        stat("ro"),
        create("made", 0o444),
        append("ro/f", "again"),
        // So that it can be removed.
        chmod("ro/sub", 0o755),
        chmod("ro", 0o755),
        put("ro/new", "new"),
    ];
    case().lower(lower).run(steps).check();
}
