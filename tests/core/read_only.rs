//! A union without an upperdir.

use rustix::io::Errno;
use unionfuse::types::{RenameMode, SetAttr};

use crate::kit::bench::{Bench, ROOT, errno, union_with};
use crate::kit::layer::Layer;

fn read_only() -> Bench {
    union_with(
        |[top, bottom]: &[Layer; 2], _| {
            top.file("d/top", "").file("f", "text").set("f", "user.a", "1");
            bottom.file("d/bottom", "").symlink("s", "f");
        },
        |config| {
            config.upper = None;
            config.work = None;
        },
    )
}

#[test]
fn everything_can_be_read() {
    let bench = read_only();
    assert!(bench.raw().is_read_only());
    assert_eq!(bench.names("").unwrap(), ["d", "f", "s"]);
    assert_eq!(bench.names("d").unwrap(), ["bottom", "top"]);
    assert_eq!(bench.text("f").unwrap(), "text");
    assert_eq!(bench.get_xattr("f", "user.a").unwrap(), b"1");
    assert_eq!(bench.target("s").unwrap(), "f");
    assert!(bench.raw().statfs().unwrap().blocks > 0);
    let node = bench.node("f").unwrap();
    assert_eq!(errno(bench.raw().fsync(node, false)), Ok(()));
}

#[test]
fn nothing_can_be_changed() {
    let bench = read_only();
    let node = bench.node("f").unwrap();
    let refused: [(&str, Result<(), Errno>); 14] = [
        ("create", bench.create("new").map(drop)),
        ("mkdir", bench.mkdir("new").map(drop)),
        ("symlink", bench.symlink("new", "x").map(drop)),
        ("link", bench.link("f", "new").map(drop)),
        ("unlink", bench.unlink("f")),
        ("rmdir", bench.rmdir("d")),
        ("rename", bench.rename("f", "g")),
        ("exchange", bench.rename_with("f", "s", RenameMode::Exchange)),
        ("chmod", bench.chmod("f", 0).map(drop)),
        ("truncate", bench.setattr("f", SetAttr { size: Some(0), ..SetAttr::default() }).map(drop)),
        ("write", bench.write_node(node, 0, "x")),
        ("allocate", errno(bench.raw().allocate(ROOT, node, 0, 0, 9)).map(drop)),
        ("setxattr", bench.set_xattr("f", "user.b", "1")),
        ("removexattr", bench.remove_xattr("f", "user.a")),
    ];
    for (what, answer) in refused {
        assert_eq!(answer, Err(Errno::ROFS), "{what}");
    }
}

#[test]
fn the_hidden_work_directorys_name_is_free_where_there_is_none() {
    let bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.dir(".unionfuse-work");
        },
        |config| {
            config.upper = None;
            config.work = None;
        },
    );
    assert_eq!(bench.names("").unwrap(), [".unionfuse-work"]);
}
