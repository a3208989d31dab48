//! Owners stored otherwise than shown.

use std::os::unix::fs::MetadataExt;

use rustix::io::Errno;
use unionfuse::testing::idmap::{IdMap, IdRanges, NO_ID};
use unionfuse::types::{Caller, Kind, SetAttr};

use crate::kit::bench::{Bench, ROOT, errno, union_with};
use crate::kit::layer::Layer;

/// 0 is stored as 1000; 1 to 999 as 100001 to 100999.
fn mapped() -> IdMap {
    let ranges = IdRanges::parse(b"1000:0:1:100001:1:999").unwrap();
    IdMap { uids: Some(ranges.clone()), gids: Some(ranges), ..IdMap::default() }
}

fn with(id_map: IdMap) -> Bench {
    union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("d/f", "text").owner("d/f", 100_007, 1000).owner("d", 1000, 1000);
            lower.file("d/foreign", "").owner("d/foreign", 2000, 3000);
        },
        |config| config.id_map = id_map,
    )
}

fn owner(bench: &Bench, path: &str) -> (u32, u32) {
    let attr = bench.stat(path).unwrap();
    (attr.uid, attr.gid)
}

fn stored(bench: &Bench, path: &str) -> (u32, u32) {
    let meta = bench.upper().stat(path);
    (meta.uid(), meta.gid())
}

#[test]
fn owners_are_shown_mapped() {
    let bench = with(mapped());
    assert_eq!(owner(&bench, "d/f"), (7, 0));
    assert_eq!(owner(&bench, "d"), (0, 0));
    assert_eq!(owner(&bench, "d/foreign"), (NO_ID, NO_ID), "nobody's, also not the user nobody's");
}

#[test]
fn copy_up_keeps_what_is_stored() {
    let bench = with(mapped());
    bench.chmod("d/f", 0o600).unwrap();
    assert_eq!(stored(&bench, "d/f"), (100_007, 1000));
    assert_eq!(stored(&bench, "d"), (1000, 1000));
    bench.chmod("d/foreign", 0o600).unwrap();
    assert_eq!(stored(&bench, "d/foreign"), (2000, 3000));
}

/// Root of the host, who has no id in the union, works in the tree of a container.
#[test]
fn what_root_makes_who_is_nobody_in_the_union_is_the_unions_roots() {
    let ranges = IdRanges::parse(b"0:1000:10").unwrap();
    let bench = with(IdMap { uids: Some(ranges.clone()), gids: Some(ranges), ..IdMap::default() });
    let made = bench.mknod(ROOT, "new", Kind::File, 0o644, 0).unwrap();
    assert_eq!(((made.uid, made.gid), stored(&bench, "new")), ((1000, 1000), (0, 0)));
    let change = SetAttr { uid: Some(1003), gid: Some(1004), ..SetAttr::default() };
    let given = bench.setattr("new", change).unwrap();
    assert_eq!(((given.uid, given.gid), stored(&bench, "new")), ((1003, 1004), (3, 4)));
    let stranger = Caller { uid: 5, gid: 0, ..ROOT };
    assert_eq!(bench.mknod(stranger, "other", Kind::File, 0o644, 0), Err(Errno::OVERFLOW));
}

/// Lowerdirs that are idmapped mounts, with the ranges beside them (rootful Podman).
#[test]
fn what_is_mapped_already_stays_as_it_came() {
    let bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("f", "").owner("f", 7, 8);
        },
        |config| config.id_map = mapped(),
    );
    assert_eq!(owner(&bench, "f"), (7, 8));
    bench.chmod("f", 0o600).unwrap();
    assert_eq!((owner(&bench, "f"), stored(&bench, "f")), ((7, 8), (7, 8)));
}

#[test]
fn changes_and_creations_are_stored_mapped() {
    let bench = with(mapped());
    let change = SetAttr { uid: Some(3), gid: Some(4), ..SetAttr::default() };
    let attr = bench.setattr("d/f", change).unwrap();
    assert_eq!((attr.uid, attr.gid), (3, 4));
    assert_eq!(stored(&bench, "d/f"), (100_003, 100_004));
    let caller = Caller { uid: 9, gid: 0, ..ROOT };
    let made = bench.mknod(caller, "d/new", Kind::File, 0o644, 0).unwrap();
    assert_eq!((made.uid, made.gid), (9, 0));
    assert_eq!(stored(&bench, "d/new"), (100_009, 1000));
}

#[test]
fn owners_that_cannot_be_stored_are_refused() {
    let bench = with(mapped());
    let change = SetAttr { uid: Some(5000), ..SetAttr::default() };
    assert_eq!(bench.setattr("d/f", change), Err(Errno::INVAL));
    assert_eq!(owner(&bench, "d/f"), (7, 0));
    let change = SetAttr { gid: Some(5000), size: Some(0), ..SetAttr::default() };
    assert_eq!(bench.setattr("d/f", change), Err(Errno::INVAL));
    assert_eq!(bench.text("d/f").unwrap(), "text");
    assert!(!bench.upper().path("d").exists());
    let stranger = Caller { uid: 5000, gid: 5000, ..ROOT };
    assert_eq!(bench.mknod(stranger, "d/new", Kind::File, 0o644, 0), Err(Errno::OVERFLOW));
    assert!(!bench.has("d/new"));
}

#[test]
fn squashed_owners() {
    let bench = with(IdMap { squash_uid: Some(42), squash_gid: Some(43), ..IdMap::default() });
    assert_eq!(owner(&bench, "d/f"), (42, 43));
    assert_eq!(owner(&bench, "d/foreign"), (42, 43));
    let change = SetAttr { uid: Some(3), gid: Some(4), ..SetAttr::default() };
    let attr = bench.setattr("d/f", change).unwrap();
    assert_eq!((attr.uid, attr.gid), (42, 43));
    let made = bench.mkdir_as(Caller { uid: 9, gid: 9, ..ROOT }, "d/new", 0o755).unwrap();
    assert_eq!((made.uid, made.gid), (42, 43));
    assert_eq!(stored(&bench, "d/new"), (0, 0));
}

#[test]
fn squashing_the_user_leaves_the_group() {
    let bench = with(IdMap { squash_uid: Some(42), ..IdMap::default() });
    let made = bench.mknod(Caller { uid: 9, gid: 8, ..ROOT }, "d/new", Kind::File, 0o644, 0).unwrap();
    assert_eq!((made.uid, made.gid), (42, 8));
    assert_eq!(stored(&bench, "d/new"), (0, 8));
    let change = SetAttr { gid: Some(4), ..SetAttr::default() };
    assert_eq!(bench.setattr("d/f", change).unwrap().gid, 4);
}

#[test]
fn an_access_acl_knows_the_shown_group() {
    let bench = with(mapped());
    bench.chmod("d/f", 0o2755).unwrap();
    let node = bench.node("d/f").unwrap();
    let member = Caller { uid: 7, gid: 0, ..ROOT };
    let acl = super::xattr::acl_for(7);
    errno(bench.raw().set_xattr(member, node, "system.posix_acl_access".as_ref(), &acl, 0)).unwrap();
    assert_eq!(bench.stat("d/f").unwrap().perm & 0o2000, 0o2000);
}

fn mode(bench: &Bench, path: &str) -> u32 {
    bench.upper().stat(path).mode() & 0o7777
}

#[test]
fn squashing_stores_no_set_id_bits_that_the_caller_has_not_earned() {
    const USER: Caller = Caller { uid: 42, gid: 43, ..ROOT };
    let squash = IdMap { squash_uid: Some(42), squash_gid: Some(43), ..IdMap::default() };
    let bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("low", "").owner("low", 42, 43).mode("low", 0o6755);
            lower.file("roots", "").mode("roots", 0o6755).dir("d").mode("d", 0o2755);
        },
        |config| config.id_map = squash,
    );
    let chmod = |caller, path, perm| {
        let node = bench.node(path).unwrap();
        let change = SetAttr { perm: Some(perm), ..SetAttr::default() };
        errno(bench.raw().setattr(caller, node, change)).unwrap().value.perm
    };
    bench.mknod(USER, "new", Kind::File, 0o6755, 0).unwrap();
    assert_eq!((mode(&bench, "new"), stored(&bench, "new")), (0o755, (0, 0)), "made with them");
    assert_eq!(chmod(USER, "new", 0o6711), 0o711, "given later");
    assert_eq!(chmod(ROOT, "new", 0o6711), 0o6711, "root may");
    bench.chmod("low", 0o6755).unwrap();
    // By root, who may; what is about to be written, though, is a copy that belongs to somebody else.
    let node = bench.node("roots").unwrap();
    bench.write_node(node, 0, "x").unwrap();
    assert_eq!(mode(&bench, "roots"), 0o6755, "root's own, copied up");
    assert_eq!(chmod(USER, "d", 0o2755), 0o2755, "a directory's group is no right");
}

#[test]
fn a_squashed_copy_loses_the_set_id_bits_of_another_owner() {
    let squash = IdMap { squash_uid: Some(42), ..IdMap::default() };
    let bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("theirs", "").owner("theirs", 7, 8).mode("theirs", 0o6755);
        },
        |config| config.id_map = squash,
    );
    let time = SetAttr { mtime: Some(unionfuse::types::NewTime::Now), ..SetAttr::default() };
    bench.setattr("theirs", time).unwrap();
    assert_eq!((mode(&bench, "theirs"), stored(&bench, "theirs")), (0o2755, (0, 8)), "7's would be root's");
}

#[test]
fn acls_and_capabilities_name_users_as_owners_are_shown() {
    let acl = super::xattr::acl_for;
    let capability =
        |root: &[u8]| [&[1, 0, 0, if root.is_empty() { 2 } else { 3 }][..], &[1; 16], root].concat();
    const ACL: &str = "system.posix_acl_access";
    const CAPABILITY: &str = "security.capability";
    let bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("f", "").owner("f", 1000, 1000).file("g", "").file("h", "");
            lower.set("f", ACL, acl(100_005)).set("f", CAPABILITY, capability(&1000u32.to_le_bytes()));
            lower.set("g", CAPABILITY, capability(&5000u32.to_le_bytes()));
            lower.file("i", "").set("i", CAPABILITY, capability(&[]));
        },
        |config| config.id_map = mapped(),
    );
    assert_eq!(bench.get_xattr("f", ACL).unwrap(), acl(5));
    assert_eq!(bench.get_xattr("f", CAPABILITY).unwrap(), capability(&[]), "for the union's root");
    assert_eq!(bench.get_xattr("g", CAPABILITY), Err(Errno::NODATA), "for nobody in the union");
    assert_eq!(
        bench.get_xattr("i", CAPABILITY).unwrap(),
        capability(&[]),
        "mapped already, as an owner 0 is"
    );
    bench.set_xattr("h", ACL, acl(7)).unwrap();
    bench.set_xattr("h", CAPABILITY, capability(&[])).unwrap();
    let on_disk = |name| bench.upper().get("h", name).unwrap();
    assert_eq!(on_disk(ACL), acl(100_007));
    assert_eq!(on_disk(CAPABILITY), capability(&1000u32.to_le_bytes()));
    assert_eq!(bench.set_xattr("h", ACL, acl(5000)), Err(Errno::INVAL));
    assert_eq!(on_disk(ACL), acl(100_007));
}
