//! Redirects as the kernel writes them, in upper and lower layers.

use rustix::io::Errno;

use crate::kit::bench::{over, union, union_with};
use crate::kit::layer::Layer;

const REDIRECT: &str = "trusted.overlay.redirect";

#[test]
fn absolute_and_relative_ones_are_followed() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("a/b/old/f", "1").file("old2/f", "2");
        upper.dir("new").set("new", REDIRECT, "/a/b/old").dir("new2").set("new2", REDIRECT, "old2");
        upper.whiteout("a/b/old").whiteout("old2");
    });
    assert_eq!(bench.text("new/f").unwrap(), "1");
    assert_eq!(bench.text("new2/f").unwrap(), "2");
    assert_eq!(bench.names("").unwrap(), ["a", "new", "new2"]);
    assert_eq!(bench.node("new").unwrap().0, bench.lower().ino("a/b/old"));
}

#[test]
fn in_a_middle_layer_they_lead_to_the_layers_below_it() {
    let bench = union(|[top, middle, bottom]: &[Layer; 3], upper| {
        upper.dir("new");
        top.file("new/top", "").file("old/not-this", "");
        middle.file("new/middle", "").set("new", REDIRECT, "/old");
        bottom.file("old/bottom", "").file("new/not-this-either", "");
    });
    assert_eq!(bench.names("new").unwrap(), ["bottom", "middle", "top"]);
}

#[test]
fn redirects_below_redirects() {
    let bench = union(|[top, bottom]: &[Layer; 2], upper| {
        bottom.file("p/q/f", "text");
        top.dir("p2").set("p2", REDIRECT, "/p").dir("p2/q2").set("p2/q2", REDIRECT, "q").whiteout("p");
        upper.dir("p3").set("p3", REDIRECT, "/p2").whiteout("p2");
    });
    assert_eq!(bench.text("p3/q2/f").unwrap(), "text");
}

#[test]
fn what_is_below_a_redirect_is_copied_up_and_removed_in_its_place() {
    let mut bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("old/sub/f", "text").file("old/g", "");
        upper.dir("new").set("new", REDIRECT, "old").whiteout("old");
    });
    bench.write("new/sub/f", "TEXT").unwrap();
    bench.unlink("new/g").unwrap();
    for _ in 0..2 {
        assert_eq!(bench.text("new/sub/f").unwrap(), "TEXT");
        assert_eq!(bench.names("new").unwrap(), ["sub"]);
        bench.reopen();
    }
    assert_eq!(bench.upper().text("new/sub/f"), "TEXT");
    assert!(bench.upper().is_whiteout("new/g"));
}

#[test]
fn a_redirect_that_leads_nowhere_or_to_a_file_merges_nothing() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("file", "").file("1/hidden", "").file("2/hidden", "");
        upper.file("1/u", "").set("1", REDIRECT, "/no/where").file("2/u", "").set("2", REDIRECT, "file");
    });
    assert_eq!(bench.names("1").unwrap(), ["u"]);
    assert_eq!(bench.names("2").unwrap(), ["u"]);
}

#[test]
fn a_redirect_out_of_the_layer_is_refused() {
    for value in ["..", "/../x", "a/../..", "", "/"] {
        let bench = union(|[lower]: &[Layer; 1], upper| {
            lower.dir("d");
            upper.dir("d").set("d", REDIRECT, value);
        });
        assert_eq!(bench.stat("d"), Err(Errno::INVAL), "{value:?}");
    }
}

#[test]
fn symlinks_in_a_layer_never_lead_a_redirect_out_of_it() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.symlink("link", "/etc").file("x", "");
        upper.dir("d").set("d", REDIRECT, "/link");
        upper.dir("e").set("e", REDIRECT, "/link/ssl");
    });
    assert_eq!(bench.names("d").unwrap(), [""; 0]);
    assert_eq!(bench.names("e").unwrap(), [""; 0]);
}

#[test]
fn marks_go_to_the_user_namespace_where_that_is_asked_for() {
    let mut bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("d/f", "").dir("in");
        },
        |config| {
            config.xattr_namespace = unionfuse::config::XattrNamespace::User;
            config.redirect_dir = Some(true);
        },
    );
    bench.rename("d", "in/e").unwrap();
    bench.reopen();
    assert_eq!(bench.names("in/e").unwrap(), ["f"]);
    assert_eq!(bench.upper().get("in/e", "user.overlay.redirect").unwrap(), b"/d");
    assert_eq!(bench.upper().get("in/e", REDIRECT), None);
}

#[test]
fn without_being_asked_no_redirect_is_written_where_the_kernel_would_not_follow_it() {
    let mut bench = union_with(
        |[lower]: &[Layer; 1], _| {
            lower.file("d/f", "").dir("in");
        },
        |config| config.xattr_namespace = unionfuse::config::XattrNamespace::User,
    );
    bench.rename("d", "in/e").unwrap();
    bench.reopen();
    assert_eq!(bench.names("in/e").unwrap(), ["f"]);
    assert_eq!(bench.upper().get("in/e", "user.overlay.redirect"), None);
    assert!(bench.upper().has("in/e/f"));
}

#[test]
fn a_whiteout_at_the_target_ends_the_merge() {
    let bench = union(|[top, bottom]: &[Layer; 2], upper| {
        upper.file("new/u", "").set("new", REDIRECT, "/old");
        top.whiteout("old");
        bottom.file("old/hidden", "");
    });
    assert_eq!(bench.names("new").unwrap(), ["u"]);
}

#[test]
fn an_opaque_directory_on_the_way_ends_the_merge() {
    let bench = union(|[top, middle, bottom]: &[Layer; 3], upper| {
        upper.dir("new").set("new", REDIRECT, "/p/old");
        top.file("p/old/1", "");
        middle.opaque("p").file("p/old/2", "");
        bottom.file("p/old/3", "");
    });
    assert_eq!(bench.names("new").unwrap(), ["1", "2"]);
}

#[test]
fn a_broken_entry_is_listed_all_the_same() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("d/f", "").dir("d/bad").dir("e/bad");
        upper.dir("d/bad").set("d/bad", REDIRECT, "..").dir("e/bad").set("e/bad", REDIRECT, "..");
    });
    let node = bench.node("d").unwrap();
    // Left out, the directory could be taken for empty and removed.
    assert_eq!(bench.list_some(node, 0, false, 100).unwrap().len(), 4);
    assert_eq!(bench.list_some(node, 0, true, 100).unwrap().len(), 4);
    assert_eq!(bench.stat("d/bad").unwrap_err(), Errno::INVAL);
    assert_eq!(bench.text("d/f").unwrap(), "");
    assert_eq!(bench.rmdir("e"), Err(Errno::NOTEMPTY));
}

#[test]
fn a_renamed_tree_can_be_removed() {
    let mut bench = over(|lower| {
        lower.file("d/sub/f", "").dir("in");
    });
    bench.rename("d", "in/e").unwrap();
    bench.unlink("in/e/sub/f").unwrap();
    bench.rmdir("in/e/sub").unwrap();
    bench.rmdir("in/e").unwrap();
    bench.reopen();
    assert_eq!(bench.names("").unwrap(), ["in"]);
    assert_eq!(bench.names("in").unwrap(), [""; 0]);
    assert_eq!(bench.upper().names("in"), [""; 0], "no whiteout where nothing is hidden");
}
