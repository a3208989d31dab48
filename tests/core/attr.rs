//! Attributes: read and change.

use rustix::io::Errno;
use unionfuse::types::{Kind, NewTime, NodeId, SetAttr, Time};

use crate::kit::bench::{ROOT, USER, errno, over, union};
use crate::kit::layer::Layer;

#[test]
fn attributes_are_those_of_the_shown_file() {
    let bench = over(|lower| {
        // chown(2) takes set-id bits away, so the mode comes last.
        lower.file("f", "12345").owner("f", 11, 12).mode("f", 0o6751).time("f", 99);
    });
    let attr = bench.stat("f").unwrap();
    assert_eq!((attr.kind, attr.perm, attr.nlink, attr.size), (Kind::File, 0o6751, 1, 5));
    assert_eq!((attr.uid, attr.gid), (11, 12));
    assert_eq!(attr.mtime, Time { sec: 99, nsec: 123_456_789 });
    assert_eq!(attr.node.0, bench.lower().ino("f"));
}

#[test]
fn the_root_is_node_one() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        upper.mode("", 0o1777);
        lower.mode("", 0o700);
    });
    let attr = bench.stat("").unwrap();
    assert_eq!((attr.node, attr.perm, attr.kind), (NodeId(1), 0o1777, Kind::Directory));
}

#[test]
fn chmod_copies_up_and_keeps_the_rest() {
    let bench = over(|lower| {
        lower.file("d/f", "data").time("d/f", 50).time("d", 60);
    });
    let before = bench.stat("d/f").unwrap();
    let after = bench.chmod("d/f", 0o600).unwrap();
    assert_eq!((after.perm, after.node, after.mtime), (0o600, before.node, before.mtime));
    assert_eq!(bench.text("d/f").unwrap(), "data");
    assert_eq!(bench.stat("d").unwrap().mtime.sec, 60);
    assert_eq!(
        bench.upper().stat("d/f").permissions(),
        std::os::unix::fs::PermissionsExt::from_mode(0o100_600)
    );
}

#[test]
fn chown_and_times() {
    let bench = over(|lower| {
        lower.file("f", "").symlink("s", "f");
    });
    let owner = SetAttr { uid: Some(7), gid: Some(8), ..SetAttr::default() };
    for path in ["f", "s"] {
        let attr = bench.setattr(path, owner).unwrap();
        assert_eq!((attr.uid, attr.gid), (7, 8), "{path}");
        let at = Time { sec: -5, nsec: 17 };
        let times =
            SetAttr { atime: Some(NewTime::At(at)), mtime: Some(NewTime::At(at)), ..SetAttr::default() };
        let attr = bench.setattr(path, times).unwrap();
        assert_eq!((attr.atime, attr.mtime), (at, at), "{path}");
    }
    let now = bench.setattr("f", SetAttr { mtime: Some(NewTime::Now), ..SetAttr::default() }).unwrap();
    assert!(now.mtime.sec > 1_000_000_000);
    assert_eq!(now.atime.sec, -5);
}

#[test]
fn directories_too() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("low/f", "").dir("both");
        upper.dir("both");
    });
    for path in ["low", "both"] {
        let before = bench.stat(path).unwrap();
        let attr = bench.chmod(path, 0o1770).unwrap();
        assert_eq!((attr.perm, attr.node), (0o1770, before.node));
        assert_eq!(bench.truncate(path, 0), Err(Errno::ISDIR));
    }
    assert_eq!(bench.names("low").unwrap(), ["f"]);
    assert!(!bench.upper().has("low/f"));
}

#[test]
fn the_root_can_be_changed() {
    let mut bench = over(|_| {});
    bench.chmod("", 0o700).unwrap();
    bench.reopen();
    assert_eq!(bench.stat("").unwrap().perm, 0o700);
}

#[test]
fn truncation_copies_only_what_is_left() {
    let bench = over(|lower| {
        lower.file("zero", "0123456789").file("half", "0123456789").file("more", "0123456789");
    });
    assert_eq!(bench.truncate("zero", 0).unwrap().size, 0);
    assert_eq!(bench.truncate("half", 5).unwrap().size, 5);
    assert_eq!(bench.truncate("more", 12).unwrap().size, 12);
    assert_eq!(bench.text("zero").unwrap(), "");
    assert_eq!(bench.text("half").unwrap(), "01234");
    assert_eq!(bench.text("more").unwrap(), "0123456789\0\0");
    assert_eq!(bench.upper().text("half"), "01234");
}

#[test]
fn truncation_of_what_is_no_file_is_refused() {
    let bench = over(|lower| {
        lower.symlink("s", "x").node("p", rustix::fs::FileType::Fifo, 0o600, 0);
    });
    assert_eq!(bench.truncate("s", 0), Err(Errno::INVAL));
    assert_eq!(bench.truncate("p", 0), Err(Errno::INVAL));
    assert_eq!(bench.upper().names(""), [""; 0]);
}

#[test]
fn set_id_bits_go_when_a_user_truncates_or_allocates() {
    let bench = over(|lower| {
        for name in ["by-user", "by-root", "locking", "allocated"] {
            lower.file(name, "data").mode(name, 0o6777);
        }
        lower.owner("locking", 1000, 1000).mode("locking", 0o6767);
    });
    let size = SetAttr { size: Some(1), ..SetAttr::default() };
    let perm = |caller, path: &str| {
        let node = bench.node(path).unwrap();
        errno(bench.raw().setattr(caller, node, size)).unwrap().value.perm
    };
    assert_eq!(perm(USER, "by-user"), 0o777);
    assert_eq!(perm(ROOT, "by-root"), 0o6777);
    // Set-group-id without group execution stays for those in the group.
    assert_eq!(perm(USER, "locking"), 0o2767);
    let node = bench.node("allocated").unwrap();
    bench.raw().allocate(USER, node, 0, 0, 100).unwrap();
    assert_eq!(bench.stat("allocated").unwrap().perm, 0o777);
}

#[test]
fn a_change_of_owner_takes_set_id_bits_and_capabilities_away() {
    const CAPABILITY: [u8; 20] = *b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let bench = over(|lower| {
        lower.file("f", "").mode("f", 0o4755).set("f", "security.capability", CAPABILITY);
    });
    let attr = bench.setattr("f", SetAttr { uid: Some(9), ..SetAttr::default() }).unwrap();
    assert_eq!(attr.perm, 0o755);
    assert_eq!(bench.get_xattr("f", "security.capability"), Err(Errno::NODATA));
}

#[test]
fn links_of_directories() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.dir("pure/a").dir("pure/b").dir("both/a");
        upper.dir("both/b");
    });
    assert_eq!(bench.stat("pure").unwrap().nlink, 4);
    assert_eq!(bench.stat("both").unwrap().nlink, 1);
}

#[test]
fn usage_is_that_of_the_upperdir() {
    let bench = over(|_| {});
    let usage = bench.raw().statfs().unwrap();
    assert_eq!(usage.name_max, 255);
    assert!(usage.blocks >= usage.blocks_free && usage.blocks > 0);
}

#[test]
fn a_change_of_nothing_changes_nothing() {
    let bench = over(|lower| {
        lower.file("f", "").time("f", 10);
    });
    let before = bench.stat("f").unwrap();
    let after = bench.setattr("f", SetAttr::default()).unwrap();
    assert_eq!((before.node, before.mtime, before.perm), (after.node, after.mtime, after.perm));
}

/// The kernel forgets the set-id bits, and with them that only the owner may take them away, before it asks.
#[test]
fn a_stranger_who_changes_nothing_changes_nothing() {
    let bench = over(|lower| {
        lower.file("f", "program").mode("f", 0o6755);
    });
    let node = bench.node("f").unwrap();
    let after = bench.raw().setattr(USER, node, SetAttr::default()).unwrap();
    assert_eq!(after.value.perm, 0o6755);
    assert!(!bench.upper().has("f"));
    // The owner's chown(-1, -1) clears them.
    let owner = unionfuse::types::Caller { uid: bench.stat("f").unwrap().uid, ..USER };
    assert_eq!(bench.raw().setattr(owner, node, SetAttr::default()).unwrap().value.perm, 0o755);
}
