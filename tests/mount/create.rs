//! New names, most of all where something was deleted before.

use super::scripts;
use crate::kit::op::*;

scripts! {
    files: [create("new", 0o640), put("d/new", "data"), put("m/new", "data"), put("o/hidden", "data"), put("ud/x", "data")];
    files_over_whiteouts: [create("gone", 0o600), put("gonedir", "a file now"), put("hollow/w", "again"), read("gone")];
    files_over_existing: [create("f", 0o644), create("u", 0o644), create("d", 0o644), create("s", 0o644), create("m/1", 0o644)];
    directories: [mkdir("new"), mkdir("d/new"), mkdir("m/new"), mkdir("d/sub/1"), mkdir("d/sub/1/2")];
    directories_over_existing: [mkdir("f"), mkdir("d"), mkdir("m"), mkdir("u"), mkdir("s"), mkdir("e")];
    directory_over_whiteout_of_file: [mkdir("gone"), list("gone"), put("gone/x", "x")];
    directory_over_whiteout_of_directory: [mkdir("gonedir"), list("gonedir"), stat("gonedir/old"), put("gonedir/old", "new")];
    directory_over_deleted_lower: [
        remove_tree("d"), mkdir_mode("d", 0o700), list("d"), mkdir("d/sub"), list("d/sub"), stat("d/sub/y"), put("d/sub/y", "new"),
    ];
    directory_over_deleted_merged: [remove_tree("m"), mkdir("m"), list("m"), mkdir("m/sub"), list("m/sub")];
    directory_made_and_removed_again: [
        remove_tree("d"), mkdir("d"), rmdir("d"), mkdir("d"), put("d/x", "1"), unlink("d/x"), rmdir("d"), put("d", "file"), unlink("d"),
    ];
    file_over_deleted_file: [unlink("f"), put("f", "again"), unlink("f"), put("f", "and again"), read("f")];
    file_over_deleted_directory: [remove_tree("d"), put("d", "a file now"), unlink("d"), mkdir("d"), list("d")];
    new_symlinks: [
        symlink("f", "new"), symlink("nowhere", "gone"), symlink("../f", "d/l"), symlink("x", "f"), read("d/l"), read("gone"),
        unlink("f"), symlink("g", "f"), read("f"),
    ];
    special_files_over_whiteouts: [fifo("gone"), fifo("gonedir"), unlink("f"), fifo("f"), unlink("u"), fifo("u")];
    hard_links_over_whiteouts: [link("u", "gone"), link("f", "gonedir"), unlink("g"), link("c", "g"), stat("g")];
    in_missing_directories: [put("nothing/x", ""), mkdir("nothing/x"), put("gonedir/x", ""), put("f/x", ""), mkdir("gone/x")];
    through_symlinks: [append("s", " by its symlink"), read("f"), chmod("s", 0o600), stat("s"), stat("f")];
    deep_below_lower_directories: [mkdir("d/sub/a"), mkdir("d/sub/a/b"), put("d/sub/a/b/c", "c"), rename("d/sub/a", "d/a")];
}
