//! Files without a name, which whoever has them open goes on using.

use rustix::io::Errno;
use unionfuse::types::{NewTime, SetAttr, Time};

use crate::kit::bench::{Bench, ROOT, errno, name, union};
use crate::kit::layer::Layer;

fn files() -> Bench {
    union(|[lower]: &[Layer; 1], upper| {
        lower.file("low", "lower text").file("both", "old").set("low", "user.a", "1");
        upper.file("both", "both").file("up", "upper text");
    })
}

#[test]
fn are_read_written_and_truncated() {
    let bench = files();
    for (path, text) in [("low", "lower text"), ("both", "both"), ("up", "upper text")] {
        let node = bench.node(path).unwrap();
        bench.unlink(path).unwrap();
        assert_eq!(bench.text_of(node).unwrap(), text);
        bench.write_node(node, text.len() as u64, " and more").unwrap();
        assert_eq!(bench.text_of(node).unwrap(), format!("{text} and more"));
        let size = SetAttr { size: Some(4), ..SetAttr::default() };
        assert_eq!(errno(bench.raw().setattr(ROOT, node, size)).unwrap().value.size, 4);
        assert_eq!(bench.text_of(node).unwrap(), text[..4]);
        let attr = errno(bench.raw().getattr(node)).unwrap();
        assert_eq!((attr.node, attr.nlink, attr.size), (node, 0, 4), "{path}");
        assert_eq!(errno(bench.raw().fsync(node, false)), Ok(()));
        assert_eq!(errno(bench.raw().seek(node, 0, true)), Ok(4));
    }
    assert_eq!(bench.names("").unwrap(), [""; 0]);
}

#[test]
fn take_all_other_changes() {
    let bench = files();
    for path in ["low", "both", "up"] {
        let node = bench.node(path).unwrap();
        bench.unlink(path).unwrap();
        let at = NewTime::At(Time { sec: 5, nsec: 6 });
        let change =
            SetAttr { perm: Some(0o600), uid: Some(7), gid: Some(8), mtime: Some(at), ..SetAttr::default() };
        let attr = errno(bench.raw().setattr(ROOT, node, change)).unwrap();
        assert_eq!((attr.value.perm, attr.value.uid, attr.value.gid, attr.value.mtime.sec), (0o600, 7, 8, 5));
        errno(bench.raw().set_xattr(ROOT, node, "user.b".as_ref(), b"2", 0)).unwrap();
        assert_eq!(errno(bench.raw().get_xattr(node, "user.b".as_ref())).unwrap(), b"2");
        errno(bench.raw().allocate(ROOT, node, 0, 0, 100)).unwrap();
        assert_eq!(errno(bench.raw().getattr(node)).unwrap().size, 100);
    }
}

#[test]
fn a_lower_file_needs_no_copy_to_be_read() {
    let bench = files();
    let node = bench.node("low").unwrap();
    bench.unlink("low").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "lower text");
    assert_eq!(errno(bench.raw().get_xattr(node, "user.a".as_ref())).unwrap(), b"1");
}

#[test]
fn a_removed_lower_file_has_no_links() {
    let bench = files();
    let node = bench.node("low").unwrap();
    bench.unlink("low").unwrap();
    assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0);
}

#[test]
fn directories_take_changes_too() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.dir("low").mode("low", 0o755).set("low", "user.a", "1").dir("both").file("outer/inner/f", "");
        upper.dir("both").dir("up");
    });
    let inner = bench.node("outer/inner").unwrap();
    bench.unlink("outer/inner/f").unwrap();
    bench.rmdir("outer/inner").unwrap();
    bench.rmdir("outer").unwrap();
    let rest = ["low", "both", "up"].map(|path| {
        let node = bench.node(path).unwrap();
        bench.rmdir(path).unwrap();
        node
    });
    for node in std::iter::once(inner).chain(rest) {
        let at = NewTime::At(Time { sec: 5, nsec: 6 });
        let change =
            SetAttr { perm: Some(0o700), uid: Some(7), gid: Some(8), mtime: Some(at), ..SetAttr::default() };
        let attr = errno(bench.raw().setattr(ROOT, node, change)).unwrap();
        assert_eq!(
            (attr.value.node, attr.value.perm, attr.value.uid, attr.value.gid, attr.value.mtime.sec),
            (node, 0o700, 7, 8, 5)
        );
        errno(bench.raw().set_xattr(ROOT, node, "user.b".as_ref(), b"2", 0)).unwrap();
        assert_eq!(errno(bench.raw().get_xattr(node, "user.b".as_ref())).unwrap(), b"2");
        assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0);
        assert!(bench.list_some(node, 0, true, 10).unwrap().is_empty());
        assert_eq!(errno(bench.raw().mkdir(ROOT, node, name("x"), 0o755)).err(), Some(Errno::NOENT));
    }
    assert_eq!(errno(bench.raw().get_xattr(rest[0], "user.a".as_ref())).unwrap(), b"1");
    assert_eq!(bench.names("").unwrap(), [""; 0]);
}

#[test]
fn directories_do_not_change_by_being_removed() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("merged/x", "");
        upper.whiteout("merged/x").whiteout("up/x").time("merged", 77).time("up", 77);
    });
    for path in ["merged", "up"] {
        let node = bench.node(path).unwrap();
        bench.rmdir(path).unwrap();
        assert_eq!(errno(bench.raw().getattr(node)).unwrap().mtime.sec, 77, "{path}");
    }
}

#[test]
fn survive_the_removal_of_their_directory() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("d/low", "low");
        upper.file("d/up", "up");
    });
    let (low, up) = (bench.node("d/low").unwrap(), bench.node("d/up").unwrap());
    bench.unlink("d/low").unwrap();
    bench.unlink("d/up").unwrap();
    bench.rmdir("d").unwrap();
    assert_eq!(bench.text_of(low).unwrap(), "low");
    assert_eq!(bench.text_of(up).unwrap(), "up");
    bench.write_node(low, 0, "LOW").unwrap();
    bench.write_node(up, 0, "UP").unwrap();
    assert_eq!((bench.text_of(low).unwrap().as_str(), bench.text_of(up).unwrap().as_str()), ("LOW", "UP"));
}

#[test]
fn do_not_disturb_a_new_file_of_the_same_name() {
    let bench = files();
    for path in ["low", "both", "up"] {
        let old = bench.node(path).unwrap();
        bench.unlink(path).unwrap();
        let new = bench.write(path, "new").unwrap();
        bench.write_node(old, 0, "OLD").unwrap();
        assert_ne!(old, new);
        assert_eq!(bench.text(path).unwrap(), "new");
        assert!(bench.text_of(old).unwrap().starts_with("OLD"));
        bench.forget(old);
        assert_eq!(bench.text(path).unwrap(), "new");
    }
}

#[test]
fn leave_nothing_on_the_disk_when_forgotten() {
    let bench = files();
    let free = |bench: &Bench| bench.raw().statfs().unwrap().blocks_free;
    let node = bench.create("big").unwrap().node;
    errno(bench.raw().allocate(ROOT, node, 0, 0, 64 << 20)).unwrap();
    bench.text_of(node).unwrap();
    bench.unlink("big").unwrap();
    let before = free(&bench);
    bench.forget_all();
    // Other tests use the filesystem too, but not that much.
    let gained = (free(&bench).saturating_sub(before)) * u64::from(bench.raw().statfs().unwrap().fragment);
    assert!(gained > 32 << 20, "{gained} bytes came back");
}
