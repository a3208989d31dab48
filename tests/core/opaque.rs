//! Opaque directories, by every mark there is.

use crate::kit::bench::{over, union};
use crate::kit::layer::Layer;

#[test]
fn an_opaque_directory_hides_the_layers_below_for_all_its_descendants() {
    let bench = union(|[top, middle, bottom]: &[Layer; 3], upper| {
        upper.dir("d");
        top.file("d/top/1", "");
        middle.opaque("d").file("d/top/2", "").file("d/middle", "");
        bottom.file("d/top/3", "").file("d/bottom", "");
    });
    assert_eq!(bench.names("d").unwrap(), ["middle", "top"]);
    assert_eq!(bench.names("d/top").unwrap(), ["1", "2"]);
}

#[test]
fn the_mark_of_fuse_overlayfs_counts_as_well() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        let marks = ["trusted.overlay.opaque", "user.fuseoverlayfs.opaque"];
        for (n, mark) in marks.into_iter().enumerate() {
            upper.dir(format!("{n}")).set(format!("{n}"), mark, "y").file(format!("{n}/seen"), "");
            lower.file(format!("{n}/hidden"), "");
        }
        upper.dir("not").set("not", "trusted.overlay.opaque", "n");
        lower.file("not/shown", "");
    });
    for n in 0..2 {
        assert_eq!(bench.names(format!("{n}")).unwrap(), ["seen"], "{n}");
        assert!(bench.xattrs(format!("{n}")).unwrap().is_empty());
    }
    assert_eq!(bench.names("not").unwrap(), ["shown"]);
}

#[test]
fn a_directory_made_anew_stays_empty_at_every_depth() {
    let mut bench = over(|lower| {
        lower.file("d/sub/old", "").file("d/f", "");
    });
    bench.unlink("d/sub/old").unwrap();
    bench.rmdir("d/sub").unwrap();
    bench.unlink("d/f").unwrap();
    bench.rmdir("d").unwrap();
    bench.mkdir("d").unwrap();
    bench.mkdir("d/sub").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.names("d").unwrap(), ["sub"]);
        assert_eq!(bench.names("d/sub").unwrap(), [""; 0]);
        bench.reopen();
    }
    assert!(bench.upper().is_opaque("d"));
}
