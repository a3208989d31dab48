//! Marks in layers whose values are broken or mean harm.

use std::time::{Duration, Instant};

use rustix::io::Errno;
use unionfuse::types::Kind;

use super::{is_root, mark, prepared};
use crate::kit::bench::{Bench, errno};

const REDIRECT: &str = "trusted.overlay.redirect";

#[test]
fn redirects_that_could_leave_the_layer_are_refused() {
    for value in
        ["..", ".", "../outside", "/..", "/../outside", "/d/../../outside", "a/b", "/", "//d", "/d/", ""]
    {
        let union = prepared(|[top, bottom], _| {
            top.file("p/d/f", "top").set("p/d", REDIRECT, value).file("p/other", "");
            bottom.file("p/d/f", "bottom").file("outside/x", "");
        });
        assert_eq!(union.stat("p/d").unwrap_err(), Errno::INVAL, "{value:?}");
        assert_eq!(union.rmdir("p/d").unwrap_err(), Errno::INVAL, "{value:?}");
        assert_eq!(union.rename("p/d", "p/e").unwrap_err(), Errno::INVAL, "{value:?}");
        // One broken entry closes neither its directory nor its neighbours.
        let names: Vec<_> = union.list("p").unwrap().into_iter().map(|entry| entry.name).collect();
        assert_eq!(names.len(), 2, "{value:?}: {names:?}");
        assert_eq!(union.rmdir("p").unwrap_err(), Errno::NOTEMPTY, "{value:?}");
        assert_eq!(union.text("p/other").unwrap(), "");
    }
}

#[test]
fn redirects_lead_through_no_symlink() {
    let union = prepared(|[top, bottom], _| {
        top.file("a/f", "top").set("a", REDIRECT, "/link/x");
        top.file("b/f", "top").set("b", REDIRECT, "link");
        top.file("c/f", "top").set("c", REDIRECT, "/dir/link");
        bottom.symlink("link", "../outside").symlink("dir/link", "../../outside");
    });
    for dir in ["a", "b", "c"] {
        assert_eq!(union.names(dir).unwrap(), ["f"], "{dir}");
    }
}

#[test]
fn redirects_to_what_is_no_directory() {
    let union = prepared(|[top, bottom], _| {
        top.file("a/f", "top").set("a", REDIRECT, "/file");
        top.file("b/f", "top").set("b", REDIRECT, "/file/below");
        top.file("c/f", "top").set("c", REDIRECT, "/nothing");
        bottom.file("file", "bottom").file("a/g", "").file("b/g", "").file("c/g", "");
    });
    for dir in ["a", "b", "c"] {
        assert_eq!(union.names(dir).unwrap(), ["f"], "{dir}");
    }
}

/// A user of the union has no say in the way down: marks on files that are not directories are nothing.
#[test]
fn redirects_on_files_are_nothing() {
    let union = prepared(|[top, bottom], upper| {
        top.file("f", "top").set("f", REDIRECT, "/other");
        upper.file("g", "upper").set("g", REDIRECT, "/other");
        bottom.file("other", "other");
    });
    assert_eq!((union.text("f").unwrap(), union.text("g").unwrap()), ("top".to_owned(), "upper".to_owned()));
}

/// Each layer sends the next one elsewhere and back: the way down still ends with the last layer.
#[test]
fn redirects_in_circles_end() {
    let mut bench = Bench::prepare(|lowers: &[_; 30], upper| {
        for layer in lowers.iter().chain([upper]) {
            for (name, to) in [("a", "/b"), ("b", "/a"), ("c", "c"), ("d", "/d/d"), ("e", "f"), ("f", "/e/e")]
            {
                layer.file(format!("{name}/{name}/{name}/f"), "");
                layer.set(name, REDIRECT, to).set(format!("{name}/{name}"), REDIRECT, to);
            }
        }
    });
    bench.open();
    let begin = Instant::now();
    for name in ["a", "b", "c", "d", "e", "f"] {
        let mut path = name.to_owned();
        for _ in 0..3 {
            let _ = bench.stat(&path);
            let _ = bench.list(&path);
            path = format!("{path}/{name}");
        }
        bench.rename(name, format!("{name}-moved")).unwrap();
        let _ = bench.list(format!("{name}-moved"));
    }
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

#[test]
fn oversized_redirects() {
    for len in [255, 256, 3000, 60_000] {
        let bench = prepared(|[top, bottom], _| {
            top.file("a/f", "top").file("b/f", "top");
            bottom.file("a/g", "").file("b/g", "");
            for (dir, value) in [("a", "n".repeat(len)), ("b", "/n".repeat(len / 2))] {
                let path = top.path(dir);
                let flags = rustix::fs::XattrFlags::empty();
                if let Err(error) = rustix::fs::setxattr(&path, REDIRECT, value.as_bytes(), flags) {
                    crate::kit::bench::skip(&format!("a value of {len} bytes: {error}"));
                }
            }
        });
        for dir in ["a", "b"] {
            let _ = bench.list(dir);
            let _ = bench.stat(dir);
        }
        if len == 255 {
            assert_eq!(bench.names("a").unwrap(), ["f"]);
        }
    }
}

#[test]
fn odd_opaque_values_mean_nothing() {
    for value in ["", "Y", "yes", "y\0", "n", "1", "\u{ff}"] {
        let union = prepared(|[top, bottom], _| {
            top.file("d/f", "").set("d", &mark("opaque"), value).set("d/f", &mark("opaque"), "y");
            bottom.file("d/g", "");
        });
        assert_eq!(union.names("d").unwrap(), ["f", "g"], "{value:?}");
    }
}

#[test]
fn whiteout_marks_count_on_empty_files_in_marked_directories_only() {
    let union = prepared(|[top, bottom], _| {
        top.file("d/data", "data").set("d/data", &mark("whiteout"), "y");
        top.file("d/empty", "").set("d/empty", &mark("whiteout"), "");
        top.file("d/dir/f", "").set("d/dir", &mark("whiteout"), "y");
        top.file("e/empty", "").set("e/empty", &mark("whiteout"), "y");
        top.set("d", &mark("opaque"), "x");
        bottom.file("d/data", "").file("d/empty", "").file("d/dir/g", "").file("e/empty", "bottom");
    });
    assert_eq!(union.names("d").unwrap(), ["data", "dir"]);
    assert_eq!(union.names("d/dir").unwrap(), ["f", "g"]);
    assert_eq!(union.text("e/empty").unwrap(), "");
}

#[test]
fn a_metacopy_mark_refuses_the_file_alone() {
    let union = prepared(|[top, bottom], _| {
        top.file("p/f", "").set("p/f", &mark("metacopy"), "").file("p/g", "top");
        std::fs::File::options().write(true).open(top.path("p/f")).unwrap().set_len(1 << 20).unwrap();
        bottom.file("p/f", "bottom");
    });
    assert_eq!(union.stat("p/f").unwrap_err(), Errno::IO);
    assert_eq!(union.list("p").unwrap().len(), 2);
    assert_eq!(union.text("p/g").unwrap(), "top");
}

/// Attributes that do not fit into the inode have a block of their own (ext4), so the file seems to have data.
#[test]
fn a_metacopy_mark_refuses_a_file_with_a_block_of_attributes() {
    let union = prepared(|[top, bottom], _| {
        top.file("p/f", "").set("p", &mark("impure"), "y").file("p/g", "top");
        top.set("p/f", &mark("metacopy"), "").set("p/f", "user.much", [b'x'; 1000]);
        std::fs::File::options().write(true).open(top.path("p/f")).unwrap().set_len(6).unwrap();
        bottom.file("p/f", "bottom");
    });
    assert_eq!(union.stat("p/f").unwrap_err(), Errno::IO);
    assert_eq!(union.text("p/g").unwrap(), "top");
}

#[test]
fn broken_origins_are_no_origins() {
    let good = [[0, 0xfb, 29, 0, 1].as_slice(), &[7; 24]].concat();
    let mut values: Vec<Vec<u8>> = (0..good.len()).map(|len| good[..len].to_vec()).collect();
    values.extend([vec![0xff; 29], vec![0; 255], [&good[..], &[0; 200]].concat()]);
    for (at, byte) in [(0, 1), (1, 0), (2, 0), (2, 255), (3, 1), (4, 255)] {
        let mut value = good.clone();
        value[at] = byte;
        values.push(value);
    }
    values.push(good);
    let union = prepared(|[top, _], upper| {
        top.file("d/f", "");
        upper.dir("d").set("d", &mark("impure"), "y");
        for (number, value) in values.iter().enumerate() {
            let file = format!("d/{number}");
            upper.file(&file, "upper").link(format!("{file}-link"), &file).set(&file, &mark("origin"), value);
            upper.set(&file, &mark("nlink"), "U+9223372036854775807");
        }
    });
    for name in union.names("d").unwrap() {
        let path = format!("d/{name}");
        assert_eq!(union.stat(&path).unwrap().nlink, if name == "f" { 1 } else { 2 });
        union.link(&path, format!("{path}-more")).unwrap();
        union.unlink(&path).unwrap();
    }
}

/// The index says how many links a file has in the union; what is out of all bounds must not be calculated with.
#[test]
fn broken_numbers_of_links() {
    if !is_root("trusted attributes") {
        return;
    }
    for value in [
        "",
        "U",
        "L",
        "U+",
        "U+9223372036854775807",
        "U-9223372036854775808",
        "L+9223372036854775807",
        "L-9223372036854775808",
        "L+99999999999999999999",
        "X+1",
        "U 1",
        "L+1\0",
    ] {
        let mut bench = Bench::prepare(|[lower]: &[_; 1], _| {
            lower.file("a", "lower").link("b", "a").link("c", "a");
        });
        bench.open();
        bench.write("a", "upper").unwrap();
        bench.close();
        let index = super::Layer { root: bench.dir().join("work/index") };
        let entry = index.names("")[0].clone();
        index.set(&entry, "trusted.overlay.nlink", value);
        bench.reopen();
        for name in ["a", "b"] {
            let node = bench.node(name).unwrap();
            assert!(errno(bench.raw().getattr(node)).is_ok(), "{value}");
        }
        bench.link("a", "d").unwrap();
        bench.unlink("b").unwrap();
        bench.rename("c", "e").unwrap();
        for name in ["a", "d", "e"] {
            assert_eq!(bench.text(name).unwrap(), "upper", "{value}");
            bench.unlink(name).unwrap();
        }
    }
}

#[test]
fn marks_that_users_set_are_none() {
    let union = prepared(|[top, bottom], _| {
        top.file("d/f", "");
        bottom.file("d/g", "").file("secret/x", "");
    });
    union.set_xattr("d", REDIRECT, "/secret").unwrap();
    union.set_xattr("d", &mark("opaque"), "y").unwrap();
    union.set_xattr("d", "user.fuseoverlayfs.opaque", "y").unwrap();
    union.forget_all();
    assert_eq!(union.names("d").unwrap(), ["f", "g"]);
    assert_eq!(union.get_xattr("d", REDIRECT).unwrap(), b"/secret");
    assert_eq!(union.stat("d").unwrap().kind, Kind::Directory);
    assert_eq!(union.upper().get("d", "trusted.overlay.overlay.redirect").unwrap(), b"/secret");
}
