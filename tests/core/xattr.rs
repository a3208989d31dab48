//! Extended attributes.

use std::ffi::OsStr;

use rustix::io::Errno;

use unionfuse::config::XattrNamespace;

use crate::kit::bench::{Bench, ROOT, USER, done, over, union};
use crate::kit::layer::Layer;

#[test]
fn read_from_the_shown_layer() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("low", "").set("low", "user.a", "1").set("low", "trusted.b", "2");
        lower.dir("d").set("d", "user.from", "lower");
        upper.dir("d").set("d", "user.from", "upper");
    });
    assert_eq!(bench.get_xattr("low", "user.a").unwrap(), b"1");
    assert_eq!(bench.get_xattr("low", "trusted.b").unwrap(), b"2");
    assert_eq!(bench.get_xattr("low", "user.c"), Err(Errno::NODATA));
    assert_eq!(bench.xattrs("low").unwrap(), ["trusted.b", "user.a"]);
    assert_eq!(bench.get_xattr("d", "user.from").unwrap(), b"upper");
}

#[test]
fn changes_copy_up() {
    let mut bench = over(|lower| {
        lower.file("d/f", "text").set("d/f", "user.a", "1").set("d/f", "user.b", "2");
    });
    bench.set_xattr("d/f", "user.c", vec![7; 3000]).unwrap();
    bench.remove_xattr("d/f", "user.a").unwrap();
    bench.set_xattr("d", "user.dir", "").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.xattrs("d/f").unwrap(), ["user.b", "user.c"]);
        assert_eq!(bench.get_xattr("d/f", "user.c").unwrap(), vec![7; 3000]);
        assert_eq!(bench.get_xattr("d", "user.dir").unwrap(), b"");
        bench.reopen();
    }
    assert_eq!(bench.text("d/f").unwrap(), "text");
}

#[test]
fn flags_of_setting() {
    let bench = over(|lower| {
        lower.file("f", "").set("f", "user.a", "1");
    });
    let node = bench.node("f").unwrap();
    let set = |name: &str, flags| done(bench.raw().set_xattr(ROOT, node, OsStr::new(name), b"x", flags));
    assert_eq!(set("user.a", libc::XATTR_CREATE), Err(Errno::EXIST));
    assert_eq!(set("user.b", libc::XATTR_REPLACE), Err(Errno::NODATA));
    assert_eq!(set("user.a", libc::XATTR_REPLACE), Ok(()));
    assert_eq!(set("user.b", libc::XATTR_CREATE), Ok(()));
}

#[test]
fn removing_what_is_not_there_copies_nothing_up() {
    let bench = over(|lower| {
        lower.file("f", "");
    });
    assert_eq!(bench.remove_xattr("f", "user.a"), Err(Errno::NODATA));
    assert!(!bench.upper().has("f"));
    bench.chmod("f", 0o600).unwrap();
    assert_eq!(bench.remove_xattr("f", "user.a"), Err(Errno::NODATA));
}

#[test]
fn marks_are_hidden() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.dir("d").file("e/f", "");
        upper.opaque("d").set("d", "trusted.overlay.impure", "y").set("d", "user.fuseoverlayfs.opaque", "y");
        upper.set("d", "user.mine", "1");
    });
    bench.rename("e", "e2").unwrap();
    bench.chmod("e2/f", 0o600).unwrap();
    assert_eq!(bench.xattrs("d").unwrap(), ["user.mine"]);
    assert!(bench.xattrs("e2").unwrap().is_empty());
    assert!(bench.xattrs("e2/f").unwrap().is_empty());
    for name in ["trusted.overlay.opaque", "trusted.overlay.impure", "user.fuseoverlayfs.opaque"] {
        assert_eq!(bench.get_xattr("d", name), Err(Errno::NODATA), "{name}");
    }
}

#[test]
fn what_looks_like_a_mark_is_escaped_so_that_unions_nest() {
    let mut bench = over(|lower| {
        lower.file("d/f", "");
    });
    for name in ["trusted.overlay.opaque", "user.overlay.redirect", "user.fuseoverlayfs.opaque"] {
        bench.set_xattr("d", name, "y").unwrap();
        assert_eq!(bench.get_xattr("d", name).unwrap(), b"y");
    }
    bench.reopen();
    assert_eq!(bench.names("d").unwrap(), ["f"], "no mark of this union");
    assert_eq!(
        bench.xattrs("d").unwrap(),
        ["trusted.overlay.opaque", "user.fuseoverlayfs.opaque", "user.overlay.redirect"]
    );
    assert_eq!(bench.upper().get("d", "trusted.overlay.overlay.opaque").unwrap(), b"y");
    assert_eq!(bench.upper().get("d", "user.fuseoverlayfs.overlay.opaque").unwrap(), b"y");
    bench.remove_xattr("d", "trusted.overlay.opaque").unwrap();
    bench.remove_xattr("d", "user.fuseoverlayfs.opaque").unwrap();
    assert_eq!(bench.xattrs("d").unwrap(), ["user.overlay.redirect"]);
}

/// Layers with marks in both namespaces, as a union of either kind sees them.
#[test]
fn marks_of_the_other_namespace_are_data() {
    let fill = |[top, bottom]: &[Layer; 2], upper: &Layer| {
        for (dir, own) in [("t", "trusted.overlay."), ("u", "user.overlay.")] {
            top.file(format!("{dir}/seen"), "").set(dir, &format!("{own}opaque"), "y");
            top.file("moved/f", "").set("moved", &format!("{own}redirect"), format!("/from-{dir}"));
            bottom.file(format!("{dir}/below"), "").file(format!("from-{dir}/{dir}"), "");
            upper.file(format!("up-{dir}/seen"), "").set(format!("up-{dir}"), &format!("{own}opaque"), "y");
            bottom.file(format!("up-{dir}/below"), "");
        }
    };
    for (wanted, own, other) in [
        (XattrNamespace::Auto, "t", "u"),
        (XattrNamespace::Trusted, "t", "u"),
        (XattrNamespace::User, "u", "t"),
    ] {
        let mut bench = Bench::prepare(fill);
        bench.config.xattr_namespace = wanted;
        bench.open();
        let foreign = if own == "t" { "user.overlay.opaque" } else { "trusted.overlay.opaque" };
        for _ in 0..2 {
            for prefix in ["", "up-"] {
                assert_eq!(bench.names(format!("{prefix}{own}")).unwrap(), ["seen"], "{wanted:?}");
                assert_eq!(bench.names(format!("{prefix}{other}")).unwrap(), ["below", "seen"], "{wanted:?}");
                assert_eq!(bench.xattrs(format!("{prefix}{own}")).unwrap(), [""; 0]);
                assert_eq!(bench.xattrs(format!("{prefix}{other}")).unwrap(), [foreign]);
            }
            assert_eq!(bench.names("moved").unwrap(), ["f", own], "{wanted:?}");
            // Kept by a copy-up, and seen as before when that is what is looked at.
            bench.chmod(other, 0o711).unwrap();
            assert_eq!(bench.upper().get(other, foreign).unwrap(), b"y");
            bench.set_xattr(own, foreign, "y").unwrap();
            bench.remove_xattr(own, foreign).unwrap();
            bench.reopen();
        }
        assert!(bench.upper().get(own, foreign).is_none());
    }
}

#[test]
fn escaped_attributes_survive_copy_up() {
    let bench = over(|lower| {
        lower.file("f", "").set("f", "trusted.overlay.overlay.opaque", "y");
    });
    bench.chmod("f", 0o600).unwrap();
    assert_eq!(bench.get_xattr("f", "trusted.overlay.opaque").unwrap(), b"y");
}

#[test]
fn of_symlinks() {
    let bench = over(|lower| {
        lower.symlink("s", "x").set("s", "trusted.a", "1");
    });
    bench.set_xattr("s", "trusted.b", "2").unwrap();
    assert_eq!(bench.xattrs("s").unwrap(), ["trusted.a", "trusted.b"]);
    assert_eq!(bench.set_xattr("s", "user.a", "1"), Err(Errno::PERM));
}

/// `posix_acl_xattr_entry` for u::rw-, u:1000:rw-, g::r--, m::rw-, o::---.
pub fn acl() -> Vec<u8> {
    acl_for(1000)
}

pub fn acl_for(user: u32) -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, user), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let mut acl = 2u32.to_le_bytes().to_vec();
    for (tag, perm, id) in entries {
        acl.extend(tag.to_le_bytes());
        acl.extend(perm.to_le_bytes());
        acl.extend(id.to_le_bytes());
    }
    acl
}

#[test]
fn an_access_acl_sets_the_mode_and_clears_set_group_id() {
    let bench = over(|lower| {
        lower.file("f", "").owner("f", 1000, 55).mode("f", 0o2755);
        lower.file("g", "").owner("g", 1000, 1000).mode("g", 0o2755);
    });
    let access = OsStr::new("system.posix_acl_access");
    let perm = |path: &str, caller| {
        let node = bench.node(path).unwrap();
        done(bench.raw().set_xattr(caller, node, access, &acl(), 0)).unwrap();
        bench.stat(path).unwrap().perm
    };
    assert_eq!(perm("f", USER), 0o660, "the user is not in the group");
    assert_eq!(perm("g", USER), 0o2660);
    assert_eq!(bench.get_xattr("f", "system.posix_acl_access").unwrap(), acl());
}

#[test]
fn a_default_acl_is_inherited_and_replaces_the_umask() {
    let bench = over(|lower| {
        lower.dir("d").set("d", "system.posix_acl_default", acl()).file("d/gone", "");
    });
    let caller = unionfuse::types::Caller { umask: 0o077, ..ROOT };
    bench.unlink("d/gone").unwrap();
    for name in ["d/new", "d/gone"] {
        let made = bench.mknod(caller, name, unionfuse::types::Kind::File, 0o666, 0).unwrap();
        assert_eq!(made.perm, 0o660, "{name}");
        assert_eq!(bench.get_xattr(name, "system.posix_acl_access").unwrap(), acl());
    }
    bench.mkdir_as(caller, "d/dir", 0o777).unwrap();
    assert_eq!(bench.get_xattr("d/dir", "system.posix_acl_default").unwrap(), acl());
    bench.remove_xattr("d", "system.posix_acl_default").unwrap();
    let made = bench.mknod(caller, "d/plain", unionfuse::types::Kind::File, 0o666, 0).unwrap();
    assert_eq!(made.perm, 0o600);
}
