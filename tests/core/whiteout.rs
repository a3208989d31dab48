//! Whiteouts, in the upperdir and in lowerdirs.

use rustix::io::Errno;

use crate::kit::bench::{over, union};
use crate::kit::layer::Layer;

#[test]
fn whiteouts_hide_what_is_below_their_layer_only() {
    let bench = union(|[top, middle, bottom]: &[Layer; 3], upper| {
        upper.whiteout("a");
        top.file("b", "top").file("a", "top");
        middle.whiteout("b").whiteout("c").whiteout("d");
        bottom.file("b", "bottom").file("c", "bottom").file("d/x", "").file("e", "bottom");
    });
    assert_eq!(bench.stat("a"), Err(Errno::NOENT));
    assert_eq!(bench.text("b").unwrap(), "top");
    assert_eq!(bench.stat("c"), Err(Errno::NOENT));
    assert_eq!(bench.stat("d"), Err(Errno::NOENT));
    assert_eq!(bench.names("").unwrap(), ["b", "e"]);
}

#[test]
fn a_whiteout_in_a_middle_layer_ends_a_merge() {
    let bench = union(|[top, middle, bottom]: &[Layer; 3], upper| {
        upper.file("d/0", "");
        top.file("d/1", "");
        middle.whiteout("d");
        bottom.file("d/3", "");
    });
    assert_eq!(bench.names("d").unwrap(), ["0", "1"]);
}

#[test]
fn other_devices_are_no_whiteouts() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.node("null", rustix::fs::FileType::CharacterDevice, 0o666, rustix::fs::makedev(1, 3));
        top.node("zero", rustix::fs::FileType::BlockDevice, 0o666, 0);
        bottom.file("null", "").file("zero", "");
    });
    assert_eq!(bench.names("").unwrap(), ["null", "zero"]);
}

#[test]
fn many_whiteouts_share_one_inode() {
    let mut bench = over(|lower| {
        for n in 0..50 {
            lower.file(format!("f{n}"), "");
        }
    });
    for n in 0..50 {
        bench.unlink(format!("f{n}")).unwrap();
    }
    let upper = bench.upper();
    let first = upper.ino("f0");
    assert!((0..50).all(|n| upper.is_whiteout(format!("f{n}")) && upper.ino(format!("f{n}")) == first));
    bench.reopen();
    assert_eq!(bench.names("").unwrap(), [""; 0]);
    bench.write("f7", "new").unwrap();
    assert_eq!(bench.names("").unwrap(), ["f7"]);
}

#[test]
fn attribute_whiteouts_of_the_kernel_are_read() {
    let bench = union(|[top, bottom]: &[Layer; 2], upper| {
        upper.dir("d").set("d", "trusted.overlay.opaque", "x");
        upper.file("d/by-upper", "").set("d/by-upper", "trusted.overlay.whiteout", "y");
        top.dir("d").set("d", "trusted.overlay.opaque", "x");
        top.file("d/by-top", "").set("d/by-top", "trusted.overlay.whiteout", "y").file("d/empty", "");
        for name in ["by-upper", "by-top", "left"] {
            bottom.file(format!("d/{name}"), "");
        }
    });
    assert_eq!(bench.names("d").unwrap(), ["empty", "left"]);
    bench.write("d/by-upper", "again").unwrap();
    bench.mkdir("d/by-top").unwrap();
    assert_eq!(bench.names("d").unwrap(), ["by-top", "by-upper", "empty", "left"]);
}

#[test]
fn attribute_whiteouts_count_in_directories_marked_so_only() {
    let bench = union(|[top, bottom]: &[Layer; 2], _| {
        top.file("d/f", "").set("d/f", "trusted.overlay.whiteout", "y");
        bottom.file("d/f", "below");
    });
    assert_eq!(bench.text("d/f").unwrap(), "");
}
