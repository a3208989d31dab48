//! Whoever can write to a layer puts something else under a name that the union has shown. The kernel has checked the rights on what
//! was there before: so what is there now is neither read nor changed.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use rustix::fs::FileType;
use rustix::io::Errno;
use unionfuse::testing::release_all;
use unionfuse::types::{NewTime, NodeId, SetAttr, Time};

use super::xattr::acl;
use crate::kit::bench::{Answer, Bench, ROOT, done, errno, skip, union};
use crate::kit::layer::Layer;

/// Something that can be done with a file that is known by its node alone.
type Deed = (&'static str, fn(&Bench, NodeId) -> Answer<()>);

const DEEDS: [Deed; 13] = [
    ("read", |bench, node| errno(bench.raw().read(node, 0, &mut [0; 9])).map(drop)),
    ("write", |bench, node| bench.write_node(node, 0, "new")),
    ("stat", |bench, node| errno(bench.raw().getattr(node)).map(drop)),
    ("chmod", |bench, node| change(bench, node, SetAttr { perm: Some(0o4777), ..SetAttr::default() })),
    ("chown", |bench, node| {
        change(bench, node, SetAttr { uid: Some(7), gid: Some(8), ..SetAttr::default() })
    }),
    ("times", |bench, node| {
        let mtime = Some(NewTime::At(Time { sec: 7, nsec: 0 }));
        change(bench, node, SetAttr { mtime, ..SetAttr::default() })
    }),
    ("truncate", |bench, node| change(bench, node, SetAttr { size: Some(1), ..SetAttr::default() })),
    ("all at once", |bench, node| {
        change(bench, node, SetAttr { perm: Some(0o777), uid: Some(7), size: Some(0), ..SetAttr::default() })
    }),
    ("set an attribute", |bench, node| done(bench.raw().set_xattr(ROOT, node, "user.x".as_ref(), b"y", 0))),
    ("set an ACL", |bench, node| {
        done(bench.raw().set_xattr(ROOT, node, "system.posix_acl_access".as_ref(), &acl(), 0))
    }),
    ("read an attribute", |bench, node| errno(bench.raw().get_xattr(node, "user.secret".as_ref())).map(drop)),
    ("link", |bench, node| {
        let name = unionfuse::types::Name::new("another".as_ref()).unwrap();
        errno(bench.raw().link(node, NodeId::ROOT, name)).map(drop)
    }),
    ("flags", |bench, node| errno(bench.raw().get_flags(node)).map(drop)),
];

fn change(bench: &Bench, node: NodeId, change: SetAttr) -> Answer<()> {
    errno(bench.raw().setattr(ROOT, node, change)).map(drop)
}

/// Puts something in the place of a layer's `f`, given a file outside of all layers.
type Intruder = (&'static str, fn(&Layer, &Layer));

const INTRUDERS: [Intruder; 5] = [
    ("a hard link", |layer, outside| fs::hard_link(outside.path("secret"), layer.path("f")).unwrap()),
    ("a symlink", |layer, outside| {
        std::os::unix::fs::symlink(outside.path("secret"), layer.path("f")).unwrap();
    }),
    ("a FIFO", |layer, _| {
        layer.node("f", FileType::Fifo, 0o666, 0);
    }),
    ("a directory", |layer, _| {
        layer.dir("f");
    }),
    ("nothing", |_, _| ()),
];

fn assert_refused(of: fn(&Bench) -> Layer) {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, whose daemon has rights that others have not");
    }
    for (intruder, intrude) in INTRUDERS {
        for (deed, act) in DEEDS {
            let context = format!("{deed}, {intruder}");
            let home = tempfile::tempdir().unwrap();
            let outside = Layer { root: home.path().to_owned() };
            outside.file("secret", "secret").mode("secret", 0o600).set("secret", "user.secret", "secret");
            let before = outside.everything();
            let mut bench = union(|[lower]: &[Layer; 1], upper| {
                lower.file("l/f", "lower").set("l/f", "user.secret", "own");
                upper.file("u/f", "upper").set("u/f", "user.secret", "own");
            });
            let layer = of(&bench);
            let node = bench.node(if layer.root.ends_with("l") { "l/f" } else { "u/f" }).unwrap();
            release_all();
            fs::remove_file(layer.path("f")).unwrap();
            intrude(&layer, &outside);
            // The link that the intruder has made.
            let made = outside.everything();
            let answer = act(&bench, node);
            assert!(matches!(answer, Err(Errno::STALE | Errno::NOENT)), "{context}: {answer:?}");
            assert_eq!(outside.everything(), made, "{context}");
            assert_eq!(outside.stat("secret").permissions().mode() & 0o7777, 0o600, "{context}");
            assert!(!bench.has("another"), "{context}");
            fs::remove_file(layer.path("f")).or_else(|_| fs::remove_dir(layer.path("f"))).ok();
            // Its time of change and its links are as before, too.
            assert_eq!(outside.stat("secret").nlink(), 1, "{context}");
            assert_eq!(outside.everything().len(), before.len(), "{context}");
            // The lower was changed, which is not the union's doing.
            bench.lowers.clear();
            bench.close();
        }
    }
}

#[test]
fn files_of_an_upperdir_are_compared_with_what_was_shown() {
    assert_refused(|bench| Layer { root: bench.upper().path("u") });
}

#[test]
fn files_of_a_lowerdir_are_compared_with_what_was_shown() {
    assert_refused(|bench| Layer { root: bench.lower().path("l") });
}

#[test]
fn a_directory_of_a_lowerdir_is_compared_with_what_was_shown() {
    let mut bench = union(|[lower]: &[Layer; 1], _| {
        lower.file("l/d/f", "shown").file("other/f", "not");
    });
    let node = bench.node("l/d").unwrap();
    release_all();
    let lower = bench.lower().clone();
    fs::rename(lower.path("l/d"), lower.path("l/e")).unwrap();
    fs::rename(lower.path("other"), lower.path("l/d")).unwrap();
    let name = unionfuse::types::Name::new("f".as_ref()).unwrap();
    assert_eq!(errno(bench.raw().lookup(node, name)).unwrap_err(), Errno::STALE);
    bench.lowers.clear();
    bench.close();
}

/// A number that the filesystem gives to the next file is not the file's any more.
#[test]
fn a_file_that_has_the_number_of_the_one_before_is_another_one() {
    for upper in [true, false] {
        for (deed, act) in DEEDS {
            let mut bench = union(|[lower]: &[Layer; 1], upper| {
                lower.file("l/f", "lower").set("l/f", "user.secret", "own");
                upper.file("u/f", "upper").set("u/f", "user.secret", "own");
            });
            let (layer, path) = if upper { (bench.upper(), "u/f") } else { (bench.lower().clone(), "l/f") };
            let node = bench.node(path).unwrap();
            release_all();
            let number = layer.ino(path);
            bench.lowers.clear();
            let next_has_it = (0..100).any(|_| {
                fs::remove_file(layer.path(path)).unwrap();
                layer.file(path, "somebody else's").set(path, "user.secret", "secret").ino(path) == number
            });
            if !next_has_it {
                return skip("the filesystem gives numbers to other files later");
            }
            let before = layer.everything();
            assert_eq!(act(&bench, node), Err(Errno::STALE), "{deed}");
            assert_eq!(layer.everything(), before, "{deed}");
            assert_ne!(bench.node(path).unwrap(), node);
            assert_eq!(bench.text(path).unwrap(), "somebody else's");
            bench.close();
        }
    }
}
