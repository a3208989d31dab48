//! Hard links: one file, however many names, over copy-up and remount.

use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::{Layer, layer};

fn linked() -> Layer {
    layer()
        .file("a", "shared data")
        .hard_link("a", "b")
        .dir("d")
        .hard_link("a", "d/c")
        .file("x", "two names")
        .hard_link("x", "y")
        .symlink("a", "s")
        .hard_link("s", "s2")
        .fifo("p")
        .hard_link("p", "p2")
}

macro_rules! on_links {
    ($($name:ident: [$($step:expr),* $(,)?];)*) => {
        $(#[test] fn $name() { case().lower(linked()).run([$($step),*]).check(); })*
    };
}

on_links! {
    untouched: [stat("a"), stat("b"), stat("x"), stat("s"), stat("p")];
    write_through_one: [append("a", ", changed"), read("a"), read("b"), read("d/c"), stat("b")];
    write_through_each: [append("a", "1"), append("b", "2"), append("d/c", "3"), read("a"), stat("d/c")];
    truncate_one: [truncate("b", 3), read("a"), read("d/c")];
    chmod_one: [chmod("d/c", 0o600), stat("a"), stat("b"), stat("d/c")];
    utimens_of_one: [utimens("a", 5), stat("b")];
    setxattr_on_one: [setxattr("a", "user.x", "1"), getxattr("b", "user.x"), getxattr("d/c", "user.x")];
    unlink_one: [unlink("a"), stat("b"), stat("d/c")];
    unlink_one_then_write: [unlink("a"), append("b", "!"), read("d/c"), stat("d/c")];
    write_then_unlink_one: [append("a", "!"), unlink("a"), read("b"), stat("b"), read("d/c")];
    unlink_all: [unlink("a"), unlink("b"), unlink("d/c"), list(""), stat("x")];
    write_then_unlink_all: [append("a", "!"), unlink("a"), unlink("b"), unlink("d/c"), put("a", "another"), stat("a")];
    unlink_then_create: [unlink("a"), put("a", "another"), read("b"), stat("a"), stat("b")];
    link_once_more: [link("a", "new"), stat("a"), stat("b"), stat("new"), append("new", "!"), read("d/c")];
    link_and_unlink_the_rest: [link("a", "new"), unlink("a"), unlink("b"), unlink("d/c"), stat("new"), read("new")];
    link_two_and_write: [link("x", "d/x1"), link("y", "d/y1"), append("y", "!"), read("d/x1"), stat("x"), stat("d/y1")];
    rename_one: [rename("a", "d/a"), stat("d/a"), append("d/a", "!"), read("b"), stat("b")];
    rename_one_over_another: [rename("a", "b"), stat("a"), stat("b"), rename("x", "a"), stat("a"), stat("y")];
    rename_over_the_last: [rename("x", "a"), rename("y", "b"), stat("a"), stat("d/c"), append("a", "!"), read("b")];
    of_new_files: [put("n", "new"), link("n", "n2"), append("n2", "er"), read("n"), unlink("n"), stat("n2"), link("n2", "n")];
    over_existing: [link("a", "b"), link("a", "x"), link("nothing", "n"), link("d", "n"), link("a", "d/c")];
    parent_renamed: [append("d/c", "!"), rename("d", "e"), stat("e/c"), append("a", "?"), read("e/c")];
    exchange_two_names: [exchange("a", "x"), stat("a"), stat("b"), append("b", "!"), read("x"), read("d/c")];
}

/// Attributes in the user namespace are for files and directories only (xattr(7)).
const NO_MARKS: &str =
    "without trusted attributes nothing can be noted on a symlink or FIFO, so its names part";

#[test]
fn of_symlinks() {
    let script = [link("s", "s3"), unlink("s"), stat("s2"), utimens("s2", 5), stat("s3")];
    case().lower(linked()).run(script).root_only(NO_MARKS).check();
}

#[test]
fn of_fifos() {
    let script = [chmod("p", 0o600), stat("p2"), link("p2", "p3"), unlink("p"), stat("p3")];
    case().lower(linked()).run(script).root_only(NO_MARKS).check();
}

#[test]
fn across_layers_are_not_one_file() {
    let top = layer().file("b", "b of the top").hard_link("b", "e");
    case()
        .lower(top)
        .lower(linked())
        .run([append("b", "!"), append("a", "?"), read("e"), read("d/c"), stat("a"), stat("b")])
        .kernel_only("hidden names still count as links")
        .check();
}

#[test]
fn some_names_hidden() {
    let top = layer().whiteout("a").opaque("d");
    case()
        .lower(top)
        .lower(linked())
        .run([stat("b"), append("b", "!"), put("a", "a"), link("b", "d/c"), stat("d/c")])
        .kernel_only("hidden names still count as links")
        .check();
}

#[test]
fn many_names_made_and_dropped() {
    let names: Vec<String> = (0..60).map(|i| format!("d/n{i}")).collect();
    let links = names.iter().map(|name| link("a", name));
    let unlinks = names.iter().step_by(2).map(unlink);
    let script = links.chain([append("d/n7", "!")]).chain(unlinks).chain([stat("a"), read("d/n59")]);
    case().lower(linked()).run(script).check();
}
