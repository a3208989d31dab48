//! Unions on filesystems that lack something: device nodes, nameless files, ways to copy, file handles.

use std::sync::Arc;

use rustix::io::Errno;
use unionfuse::types::{RenameMode, SetAttr};

use crate::kit::bench::{Bench, errno};
use crate::kit::faulty::{Calls, Fault, Faulty};
use crate::kit::layer::Layer;

const NO_DEVICES: Calls = &[("mknod device", Errno::PERM)];

fn on(lacking: Calls, fill: impl FnOnce(&[Layer; 1], &Layer)) -> Bench {
    let mut bench = Bench::prepare(fill);
    let store = Faulty::new();
    store.arm(Fault::Lack(lacking));
    bench.open_on(Arc::new(store));
    bench
}

fn sample([lower]: &[Layer; 1], upper: &Layer) {
    lower.file("d/f", "lower").file("d/g", "").file("e/sub/h", "deep").symlink("s", "x");
    lower.file("both/l", "").dir("empty");
    upper.file("both/u", "").file("up", "up").dir("updir");
}

#[test]
fn whiteouts_are_attributes_where_devices_cannot_be_made() {
    let mut bench = on(NO_DEVICES, sample);
    bench.unlink("d/f").unwrap();
    bench.unlink("s").unwrap();
    bench.rmdir("empty").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.names("").unwrap(), ["both", "d", "e", "up", "updir"]);
        assert_eq!(bench.names("d").unwrap(), ["g"]);
        assert!(!bench.has("d/f"));
        bench.reopen();
    }
    let upper = bench.upper();
    assert_eq!(upper.get("d", "trusted.overlay.opaque").unwrap(), b"x");
    assert_eq!(upper.get("d/f", "trusted.overlay.whiteout").unwrap(), b"y");
    assert_eq!((upper.stat("d/f").len(), upper.is_whiteout("d/f")), (0, false));
    assert!(bench.xattrs("d").unwrap().is_empty());
    bench.write("d/f", "new").unwrap();
    bench.mkdir("empty").unwrap();
    bench.reopen();
    assert_eq!(bench.text("d/f").unwrap(), "new");
    assert_eq!(bench.names("empty").unwrap(), [""; 0]);
}

#[test]
fn renames_without_devices() {
    for (from, to) in [
        ("d/f", "d/new"),
        ("d/f", "up"),
        ("up", "d/g"),
        ("d/f", "d/g"),
        ("e", "new"),
        ("both", "d/new"),
        ("e", "updir"),
        ("both", "empty"),
        ("updir", "empty"),
        ("e/sub", "updir"),
    ] {
        let mut bench = on(NO_DEVICES, sample);
        let node = bench.node(from).unwrap();
        bench.rename(from, to).unwrap_or_else(|errno| panic!("{from} to {to}: {errno}"));
        for _ in 0..2 {
            assert!(!bench.has(from), "{from} to {to}");
            assert_eq!(bench.node(to).unwrap(), node, "{from} to {to}");
            bench.reopen();
        }
    }
}

#[test]
fn directories_in_place_of_whiteouts_without_devices() {
    for from in ["e", "both", "updir"] {
        let mut bench = on(NO_DEVICES, sample);
        let names = bench.names(from).unwrap();
        bench.unlink("d/g").unwrap();
        bench.rename(from, "d/g").unwrap();
        for _ in 0..2 {
            assert!(!bench.has(from), "{from}");
            assert_eq!(bench.names("d/g").unwrap(), names, "{from}");
            bench.reopen();
        }
    }
}

#[test]
fn exchange_and_tree_copy_up_without_devices() {
    for redirect_dir in [true, false] {
        let mut bench = Bench::prepare(sample);
        bench.config.redirect_dir = Some(redirect_dir);
        let store = Faulty::new();
        store.arm(Fault::Lack(NO_DEVICES));
        bench.open_on(Arc::new(store));
        bench.unlink("d/f").unwrap();
        bench.rename_with("d", "e", RenameMode::Exchange).unwrap();
        for _ in 0..2 {
            assert_eq!(bench.names("e").unwrap(), ["g"], "redirect_dir: {redirect_dir}");
            assert_eq!(bench.text("d/sub/h").unwrap(), "deep");
            bench.reopen();
        }
        bench.unlink("e/g").unwrap();
        bench.rmdir("e").unwrap();
        bench.reopen();
        assert!(!bench.has("e"));
    }
}

#[test]
fn removed_trees_without_devices() {
    let mut bench = on(NO_DEVICES, sample);
    bench.unlink("e/sub/h").unwrap();
    bench.rmdir("e/sub").unwrap();
    bench.rmdir("e").unwrap();
    bench.mkdir("e").unwrap();
    bench.reopen();
    assert_eq!(bench.names("e").unwrap(), [""; 0]);
}

#[test]
fn copies_are_whole_by_every_means() {
    const NOTHING: Calls = &[
        ("tmpfile", Errno::OPNOTSUPP),
        ("clone_data", Errno::OPNOTSUPP),
        ("copy_range", Errno::XDEV),
        ("seek_data", Errno::INVAL),
    ];
    let data: Vec<u8> = (0..3_000_000u32).map(|n| (n % 251) as u8).collect();
    for lacking in [&NOTHING[..1], &NOTHING[..2], &NOTHING[..3], NOTHING] {
        let bench = on(lacking, |[lower], _| {
            lower.file("f", &data).link("g", "f").file("h", &data);
        });
        let removed = bench.node("h").unwrap();
        bench.unlink("h").unwrap();
        for node in [bench.node("f").unwrap(), removed] {
            bench.write_node(node, 1, "!!").unwrap();
            let mut copy = vec![0; data.len() + 1];
            assert_eq!(bench.raw().read(node, 0, &mut copy).unwrap(), data.len());
            assert!(copy[..3] == [0, b'!', b'!'] && copy[3..data.len()] == data[3..]);
        }
        let copy = std::fs::read(bench.upper().path("f")).unwrap();
        assert!(copy[3..] == data[3..]);
    }
}

#[test]
fn without_attributes_what_needs_none_works() {
    const NO_ATTRIBUTES: Calls = &[
        ("set_xattr", Errno::OPNOTSUPP),
        ("get_xattr", Errno::OPNOTSUPP),
        ("list_xattr", Errno::OPNOTSUPP),
        ("remove_xattr", Errno::OPNOTSUPP),
        ("mknod device", Errno::OPNOTSUPP),
    ];
    let mut bench = on(&NO_ATTRIBUTES[..4], sample);
    bench.write("d/f", "UPPER").unwrap();
    bench.unlink("d/g").unwrap();
    bench.rmdir("empty").unwrap();
    bench.rename("e", "e2").unwrap();
    assert_eq!(bench.mkdir("empty"), Err(Errno::OPNOTSUPP), "nothing could keep it opaque");
    assert!(bench.xattrs("d/f").unwrap().is_empty());
    for _ in 0..2 {
        assert_eq!(bench.text("d/f").unwrap(), "UPPER");
        assert_eq!(bench.names("d").unwrap(), ["f"]);
        assert_eq!(bench.text("e2/sub/h").unwrap(), "deep");
        assert!(!bench.has("e") && !bench.has("empty"));
        bench.reopen();
    }
    bench.close();
    bench.config.upper = Some(bench.upper().root);
    let store = Faulty::new();
    store.arm(Fault::Lack(NO_ATTRIBUTES));
    let error = unionfuse::Union::open_on(Arc::new(store), &bench.config, None).unwrap_err().to_string();
    assert!(error.contains("whiteouts"), "{error}");
}

/// Opaque directories and those with attribute whiteouts have the same mark, and being opaque counts more.
#[test]
fn a_whiteout_in_an_opaque_directory_leaves_it_opaque() {
    let make: [fn(&Bench); 3] = [
        |bench| {
            bench.unlink("d/old").unwrap();
            bench.rmdir("d").unwrap();
            bench.mkdir("d").unwrap();
        },
        |bench| {
            bench.unlink("d/old").unwrap();
            bench.rmdir("d").unwrap();
            bench.mkdir("other").unwrap();
            bench.rename("other", "d").unwrap();
        },
        |bench| {
            bench.unlink("d/old").unwrap();
            bench.mkdir("other").unwrap();
            bench.rename("other", "d").unwrap();
        },
    ];
    for make in make {
        let mut bench = on(NO_DEVICES, |[lower], _| {
            lower.file("d/old", "deleted").file("a/f", "f").file("a/g", "g");
        });
        make(&bench);
        bench.rename("a/f", "d/f").unwrap();
        bench.unlink("d/f").unwrap();
        bench.rename("a/g", "d/g").unwrap();
        for _ in 0..2 {
            assert_eq!(bench.names("d").unwrap(), ["g"]);
            assert_eq!(bench.names("a").unwrap(), [""; 0]);
            bench.reopen();
        }
        assert_eq!(bench.upper().get("d", "trusted.overlay.opaque").unwrap(), b"y");
    }
}

#[test]
fn whiteouts_in_a_root_that_is_marked_opaque_stay_whiteouts() {
    let mut bench = on(NO_DEVICES, |[lower], upper| {
        lower.file("f", "deleted").file("g", "g");
        upper.set("", "trusted.overlay.opaque", "y");
    });
    bench.unlink("f").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.names("").unwrap(), ["g"]);
        bench.reopen();
    }
}

const NO_HANDLES: Calls = &[("handle", Errno::OPNOTSUPP)];

/// Without handles there is neither an origin nor an index to find names of one file by. As long as the union is mounted, the
/// node knows.
#[test]
fn hard_links_without_handles_keep_their_count() {
    let bench = on(NO_HANDLES, |[lower], _| {
        lower.file("a", "content").link("d/b", "a").link("d/c", "a");
    });
    bench.truncate("a", 2).unwrap();
    let node = bench.node("a").unwrap();
    let links = |path: &str| (bench.node(path).unwrap(), bench.stat(path).unwrap().nlink);
    for path in ["a", "d/b", "d/c"] {
        assert_eq!(links(path), (node, 3), "{path}: seen after the copy-up");
    }
    bench.write("d/b", "xy").unwrap();
    assert_eq!(links("d/c"), (node, 3));
    bench.unlink("d/c").unwrap();
    assert_eq!(links("a"), (node, 2));
    bench.rename("d/b", "d/e").unwrap();
    assert_eq!(links("d/e"), (node, 2));
    bench.link("a", "f").unwrap();
    assert_eq!(links("f"), (node, 3));
    for path in ["a", "f", "d/e"] {
        bench.unlink(path).unwrap();
    }
    assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0);
}

#[test]
fn numbers_stay_without_handles_when_the_kernel_forgets() {
    let bench = on(NO_HANDLES, sample);
    let before = ["d/f", "s", "e/sub/h"].map(|path| bench.node(path).unwrap());
    bench.write("d/f", "new").unwrap();
    bench.setattr("s", SetAttr { uid: Some(7), ..SetAttr::default() }).unwrap();
    bench.rename("e/sub/h", "moved").unwrap();
    for _ in 0..2 {
        assert_eq!(["d/f", "s", "moved"].map(|path| bench.node(path).unwrap()), before);
        bench.forget_all();
        assert_eq!(bench.raw().live_nodes(), 1);
    }
}

/// A path of more than about 4,000 bytes is too long for an attribute of ext4.
#[test]
fn a_directory_whose_redirect_does_not_fit_is_moved_with_its_tree() {
    for errno in [Errno::NOSPC, Errno::TOOBIG, Errno::RANGE] {
        let lacking: Calls = match errno {
            Errno::NOSPC => &[("set_xattr redirect", Errno::NOSPC)],
            Errno::TOOBIG => &[("set_xattr redirect", Errno::TOOBIG)],
            _ => &[("set_xattr redirect", Errno::RANGE)],
        };
        let mut bench = on(lacking, sample);
        let node = bench.node("e/sub/h").unwrap();
        bench.rename("e", "updir/moved").unwrap();
        bench.rename_with("both", "d", RenameMode::Exchange).unwrap();
        for _ in 0..2 {
            assert_eq!(bench.node("updir/moved/sub/h").unwrap(), node);
            assert_eq!(bench.text("updir/moved/sub/h").unwrap(), "deep");
            assert_eq!(bench.names("both").unwrap(), ["f", "g"]);
            assert_eq!(bench.names("d").unwrap(), ["l", "u"]);
            bench.reopen();
        }
    }
}
