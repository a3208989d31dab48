//! Renames of directories: pure, merged, opaque, over everything, and what is under them afterwards.

use super::scripts;
use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::layer;

scripts! {
    lower_over_nothing: [rename("d", "new"), list("new"), read("new/sub/y"), list("d")];
    upper_over_nothing: [rename("ud", "new")];
    merged_over_nothing: [rename("m", "new"), read("new/both"), read("new/1")];
    lower_merged_over_nothing: [rename("mm", "new"), read("new/both")];
    opaque_over_nothing: [rename("o", "new"), list("new")];
    hollow_over_nothing: [rename("hollow", "new"), list("new")];
    empty_over_nothing: [rename("e", "new"), rename("ue", "new2")];
    lower_over_whiteout: [rename("d", "gone"), list("gone")];
    lower_over_whiteout_of_directory: [rename("d", "gonedir"), list("gonedir")];
    upper_over_whiteout_of_directory: [rename("ud", "gonedir"), list("gonedir")];
    merged_over_whiteout_of_directory: [rename("m", "gonedir"), list("gonedir")];
    opaque_over_whiteout_of_directory: [rename("o", "gonedir"), list("gonedir")];
    empty_upper_over_whiteout_of_directory: [rename("ue", "gonedir"), list("gonedir")];
    lower_over_empty_lower: [rename("d", "e"), list("e")];
    lower_over_empty_upper: [rename("d", "ue"), list("ue")];
    lower_over_hollow: [rename("d", "hollow"), list("hollow")];
    upper_over_empty_lower: [rename("ud", "e"), list("e")];
    upper_over_empty_upper: [rename("ud", "ue"), list("ue")];
    upper_over_hollow: [rename("ud", "hollow"), list("hollow")];
    merged_over_empty_lower: [rename("m", "e"), list("e")];
    merged_over_hollow: [rename("m", "hollow"), list("hollow")];
    merged_over_empty_upper: [rename("m", "ue"), list("ue")];
    opaque_over_hollow: [rename("o", "hollow"), list("hollow")];
    hollow_over_empty: [rename("hollow", "e"), rename("e", "e2"), list("e2")];
    over_full_directories: [rename("d", "m"), rename("m", "d"), rename("ud", "o"), rename("e", "mm"), rename("o", "d")];
    over_files: [rename("d", "f"), rename("ud", "u"), rename("m", "c"), rename("e", "s")];
    over_itself: [rename("d", "d"), rename("m", "m"), rename("ud", "ud")];
    into_itself: [rename("d", "d/sub/d"), rename("m", "m/sub"), rename("ud", "ud/ud"), rename("d/sub", "d")];
    lower_into_lower: [rename("d", "e/d"), list("e/d"), read("e/d/sub/y")];
    lower_into_merged: [rename("d", "m/d"), read("m/d/sub/y")];
    lower_into_upper: [rename("d", "ud/d"), read("ud/d/x")];
    lower_into_opaque: [rename("d", "o/hidden"), list("o/hidden")];
    merged_into_lower: [rename("m", "d/m"), read("d/m/sub/deep"), read("d/m/up")];
    merged_into_merged: [rename("m", "m2/m"), read("m2/m/both")];
    upper_into_lower: [rename("ud", "d/sub/ud")];
    opaque_into_lower: [rename("o", "d/o"), list("d/o")];
    subdirectory_up: [rename("d/sub", "sub"), read("sub/y"), rename("d", "d2")];
    subdirectory_of_merged_up: [rename("m/sub", "sub"), read("sub/deep"), list("m")];
    there_and_back: [rename("d", "new"), rename("new", "d"), list("d")];
    merged_there_and_back: [rename("m", "new"), rename("new", "m"), list("m")];
    merged_twice: [rename("m", "new"), rename("new", "newer"), read("newer/1")];
    twice_then_parent: [rename("d/sub", "d/s1"), rename("d/s1", "d/s2"), rename("d", "dd"), read("dd/s2/y"), list("dd")];
    out_then_parent: [rename("m/sub", "d/m_sub"), rename("d", "m/d"), rename("m", "mx"), read("mx/d/m_sub/deep")];
    into_renamed: [rename("d", "new"), rename("m", "new/sub/m"), rename("new", "newer"), read("newer/sub/m/both")];
    away_and_mkdir: [rename("d", "new"), mkdir("d"), list("d"), put("d/x", "another"), list("new")];
    away_and_create: [rename("m", "new"), put("m", "a file now"), list("new")];
    away_and_another_here: [rename("d", "new"), rename("m", "d"), list("d"), rename("new", "m"), list("m")];
    swap_by_three: [rename("d", "t"), rename("m", "d"), rename("t", "m"), read("m/sub/y"), read("d/sub/deep")];
    change_inside_afterwards: [
        rename("d", "new"), put("new/x", "changed"), unlink("new/sub/y"), put("new/sub/z", "z"), rmdir("d"),
        rename("new/sub", "sub"), mkdir("new/sub"), list("new/sub"),
    ];
    change_inside_before: [
        unlink("d/x"), put("d/sub/z", "z"), chmod("d", 0o700), rename("d", "new"), list("new"), read("new/sub/y"),
    ];
    remove_afterwards: [rename("d", "new"), remove_tree("new"), list("new"), list("d"), mkdir("d"), list("d")];
    remove_merged_afterwards: [rename("m", "new"), remove_tree("new"), mkdir("m"), list("m"), mkdir("new"), list("new")];
    remove_old_children: [unlink("m/0"), unlink("m/1"), rename("m", "new"), list("new"), put("new/1", "again")];
    noreplace: [
        rename_noreplace("d", "new"), rename_noreplace("m", "gonedir"), rename_noreplace("o", "e"), rename_noreplace("ud", "f"),
    ];
    exchange_lower_lower: [exchange("d", "e"), list("d"), list("e")];
    exchange_lower_upper: [exchange("d", "ud"), list("d"), read("ud/sub/y")];
    exchange_merged_merged: [exchange("m", "m2"), list("m"), list("m2"), read("m/1")];
    exchange_merged_lower: [exchange("m", "d"), list("m"), list("d")];
    exchange_merged_upper: [exchange("m", "ud"), list("m"), list("ud")];
    exchange_opaque_merged: [exchange("o", "mm"), list("o"), list("mm")];
    exchange_file_with_directory: [exchange("f", "d"), read("d"), list("f"), read("f/sub/y")];
    exchange_file_with_merged: [exchange("u", "m"), list("u"), exchange("f", "u"), list("f")];
    exchange_directory_with_file: [exchange("ud", "f"), list("f"), exchange("o", "c"), list("c")];
    exchange_across: [exchange("d/sub", "m"), list("d/sub"), list("m"), exchange("m/y", "d/x")];
    exchange_with_parent: [exchange("d", "d/sub"), exchange("d/sub", "d"), exchange("m/sub", "m")];
    exchange_twice: [exchange("m", "d"), exchange("m", "d"), list("m"), list("d")];
    exchange_then_rename_parent: [mkdir("p"), rename("m", "p/m"), rename("d", "p/d"), exchange("p/m", "p/d"), rename("p", "q"), read("q/d/both")];
    open_directory_keeps_its_name: [rename("m", "new"), rename("new", "e/new"), put("e/new/x", "x"), list("e/new")];
}

#[test]
fn redirect_through_a_stack_of_merged_directories() {
    let bottom = layer().file("a/b/c/deep", "bottom").file("a/b/c/both", "bottom").file("x/y", "y");
    let middle = layer().file("a/b/c/both", "middle").file("a/b/middle", "middle");
    let top = layer().file("a/top", "top").whiteout("a/b/middle");
    case()
        .lower(top)
        .lower(middle)
        .lower(bottom)
        .run([
            rename("a/b/c", "x/c"),
            rename("a", "x/a"),
            rename("x", "z"),
            mkdir("a"),
            mkdir("a/b"),
            list("a/b"),
            rename("z/c", "a/b/c"),
            read("a/b/c/both"),
            put("z/a/b/middle", "again"),
        ])
        .check();
}

#[test]
fn redirects_in_lower_layers_are_followed() {
    let redirect = "trusted.overlay.redirect";
    let bottom = layer().file("old/data", "data").file("old/sub/more", "more").file("p/q/r", "r");
    let top = layer()
        .dir("renamed")
        .xattr("renamed", redirect, "old")
        .file("renamed/added", "added")
        .whiteout("old")
        .dir("elsewhere/q2")
        .xattr("elsewhere/q2", redirect, "/p/q")
        .whiteout("p/q");
    case()
        .lower(top)
        .lower(bottom)
        .run([
            list("renamed"),
            read("renamed/sub/more"),
            read("elsewhere/q2/r"),
            rename("renamed", "again"),
            append("again/data", " appended"),
            rename("elsewhere/q2", "old"),
            list("old"),
        ])
        .root_only("trusted xattrs")
        .kernel_only("redirects")
        .check();
}
