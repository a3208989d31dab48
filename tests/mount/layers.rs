//! Stacks of every height, with whiteouts and opaque directories in their middle.

use crate::kit::case::{Case, case};
use crate::kit::op::*;
use crate::kit::recipe::{Layer, layer};

#[test]
fn one_layer() {
    let lower = layer().file("f", "f").file("d/x", "x").dir("e");
    case().lower(lower).run([append("f", "!"), rename("d", "e/d"), put("n", "n"), rmdir("e")]).check();
}

#[test]
fn two_layers() {
    let bottom = layer()
        .file("f", "bottom")
        .file("d/1", "1")
        .file("d/both", "bottom")
        .dir("kind")
        .symlink("f", "file_over_symlink");
    let top = layer()
        .file("f", "top")
        .file("d/2", "2")
        .file("d/both", "top")
        .file("kind", "a file over a directory")
        .file("file_over_symlink", "");
    case()
        .lower(top)
        .lower(bottom)
        .run([
            read("f"),
            list("d"),
            unlink("f"),
            stat("f"),
            unlink("kind"),
            mkdir("kind"),
            rename("d", "dd"),
            append("dd/1", "!"),
        ])
        .check();
}

#[test]
fn whiteouts_in_the_middle() {
    let bottom = layer().file("a", "1").file("b", "1").file("d/x", "1").file("d/y", "1").file("e/x", "1");
    let middle = layer().whiteout("a").whiteout("b").whiteout("d/x").whiteout("e");
    let top = layer().file("b", "3").file("d/z", "3").file("e/new", "3");
    case()
        .lower(top)
        .lower(middle)
        .lower(bottom)
        .run([
            stat("a"),
            read("b"),
            list("d"),
            list("e"),
            put("a", "4"),
            unlink("b"),
            put("d/x", "4"),
            rename("d", "dd"),
            rename("e", "d"),
            list("d"),
        ])
        .check();
}

#[test]
fn opaque_directories_in_the_middle() {
    let bottom = layer().file("d/x", "1").file("d/sub/y", "1").file("d/sub/deep/z", "1").file("e/sub/f", "1");
    let middle = layer().opaque("d").file("d/sub/y2", "2").opaque("e/sub").file("e/kept", "2");
    let top = layer().file("d/t", "3").file("d/sub/deep/t", "3").file("e/sub/g", "3");
    case()
        .lower(top)
        .lower(middle)
        .lower(bottom)
        .run([
            list("d"),
            list("d/sub"),
            list("d/sub/deep"),
            list("e/sub"),
            rename("d", "dd"),
            rename("e/sub", "sub"),
            mkdir("d"),
            list("dd/sub"),
        ])
        .check();
}

#[test]
fn files_between_directories_end_the_merge() {
    let bottom = layer().file("d/hidden", "1").file("link/hidden", "1").file("gone/hidden", "1");
    let middle = layer().file("d", "a file").symlink("d", "link").whiteout("gone");
    let top = layer().file("d/seen", "3").file("link/seen", "3").file("gone/seen", "3");
    case()
        .lower(top)
        .lower(middle)
        .lower(bottom)
        .run([
            list("d"),
            list("link"),
            list("gone"),
            rename("d", "d2"),
            rename("link", "l2"),
            remove_tree("gone"),
            mkdir("gone"),
            list("gone"),
        ])
        .check();
}

#[test]
fn attributes_come_from_the_top() {
    let bottom =
        layer().file("d/1", "1").mode("d", 0o777).xattr("d", "user.bottom", "1").mtime("d", 600_000_000);
    let top = layer().file("d/2", "2").mode("d", 0o700).xattr("d", "user.top", "2").mtime("d", 600_000_001);
    case()
        .lower(top)
        .lower(bottom)
        .run([stat("d"), getxattr("d", "user.bottom"), chmod("d", 0o711), append("d/1", "!")])
        .check();
}

#[test]
fn an_upper_from_before() {
    let lower = layer().file("a", "1").file("d/x", "1").file("o/hidden", "1");
    let upper = layer()
        .whiteout("a")
        .file("d/y", "2")
        .opaque("o")
        .file("o/seen", "2")
        .file("u", "2")
        .hard_link("u", "u2");
    case()
        .lower(lower)
        .upper(upper)
        .run([
            stat("a"),
            list("d"),
            list("o"),
            append("u", "!"),
            rename("d", "e"),
            rename("o", "d"),
            put("a", "3"),
        ])
        .check();
}

#[test]
fn ten_layers() {
    stack_of(10).check();
}

#[test]
fn five_hundred_layers() {
    stack_of(500).cold_only().check();
}

/// Every layer adds a file of its own to a common directory, renews a common file, and hides something of the layer below;
/// every seventh has the deep directory too.
fn stack_of(height: usize) -> Case {
    let nth = |i: usize| -> Layer {
        let own = layer()
            .file("common", format!("layer {i}"))
            .file(&format!("d/own{i}"), format!("{i}"))
            .file(&format!("d/next{i}"), "");
        let own = if i > 0 { own.whiteout(&format!("d/next{}", i - 1)) } else { own };
        if i.is_multiple_of(7) {
            own.file(&format!("deep/1/2/f{i}"), format!("{i}")).file("deep/1/2/common", format!("{i}"))
        } else {
            own
        }
    };
    let stack = (0..height).rev().fold(case(), |case, i| case.lower(nth(i)));
    stack.run([
        read("common"),
        read("deep/1/2/common"),
        append("d/own0", "!"),
        unlink("d/own1"),
        rename("deep", "d/deep"),
        rename("d", "e"),
        append("e/deep/1/2/f0", "!"),
        mkdir("d"),
        list("d"),
        list("e/deep/1/2"),
        remove_tree("e/deep/1"),
        list("e"),
    ])
}
