//! Deletions, and what they hide.

use super::scripts;
use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::layer;

scripts! {
    unlink_lower: [unlink("f"), stat("f"), list("")];
    unlink_upper: [unlink("u"), stat("u")];
    unlink_copied_up: [unlink("c"), stat("c")];
    unlink_symlink: [unlink("s"), stat("f")];
    unlink_in_lower_directory: [unlink("d/x"), unlink("d/sub/y"), list("d/sub")];
    unlink_in_merged_directory: [unlink("m/0"), unlink("m/1"), unlink("m/both"), unlink("m/up"), list("m")];
    unlink_in_opaque_directory: [unlink("o/seen"), list("o")];
    unlink_twice: [unlink("f"), unlink("f"), unlink("gone"), unlink("nothing")];
    unlink_directories: [unlink("d"), unlink("m"), unlink("ud")];
    rmdir_files: [rmdir("f"), rmdir("u"), rmdir("s"), rmdir("gone")];
    rmdir_full: [rmdir("d"), rmdir("m"), rmdir("ud"), rmdir("o"), rmdir("mm")];
    rmdir_empty_lower: [rmdir("e"), list("")];
    rmdir_empty_upper: [rmdir("ue")];
    rmdir_hollow: [rmdir("hollow"), mkdir("hollow"), list("hollow")];
    rmdir_merged_once_emptied: [
        unlink("mm/0"), unlink("mm/1"), rmdir("mm"), unlink("mm/both"), rmdir("mm"), mkdir("mm"), list("mm"),
    ];
    rmdir_opaque_once_emptied: [unlink("o/seen"), rmdir("o"), mkdir("o"), list("o")];
    rmdir_lower_once_emptied: [unlink("d/x"), unlink("d/sub/y"), rmdir("d/sub"), rmdir("d"), mkdir("d"), list("d")];
    remove_whole_trees: [remove_tree("d"), remove_tree("m"), remove_tree("o"), remove_tree("ud"), list("")];
    remove_everything_and_make_again: [
        remove_tree("m"), mkdir("m"), put("m/both", "third"), mkdir("m/sub"), list("m/sub"), list("m"),
    ];
    remove_under_a_removed_directory: [remove_tree("d"), unlink("d/x"), rmdir("d/sub"), put("d/x", "no")];
}

#[test]
fn whiteouts_never_show() {
    let bottom = layer().file("a", "a").file("d/b", "b").file("d/c", "c");
    let top = layer().whiteout("a").whiteout("d/b").whiteout("never_was").whiteout("d/never_was");
    case()
        .lower(top)
        .lower(bottom)
        .run([
            list(""),
            list("d"),
            stat("a"),
            stat("never_was"),
            unlink("never_was"),
            put("never_was", "now it is"),
            unlink("never_was"),
        ])
        .check();
}

#[test]
fn rmdir_of_a_lower_directory_that_holds_only_whiteouts() {
    let bottom = layer().file("d/a", "a").file("d/b", "b");
    let top = layer().whiteout("d/a").whiteout("d/b");
    case().lower(top).lower(bottom).run([list("d"), rmdir("d"), stat("d"), mkdir("d"), list("d")]).check();
}

#[test]
fn thousands_of_deletions() {
    let lower = (0..2000).fold(layer(), |layer, i| layer.file(&format!("d/{i}"), ""));
    case().lower(lower).run([remove_tree("d"), stat("d"), mkdir("d"), list("d")]).check();
}
