//! Renames of files: every kind of source over every kind of target.

use super::scripts;
use crate::kit::op::*;

scripts! {
    lower_over_nothing: [rename("f", "new"), read("new"), read("f")];
    upper_over_nothing: [rename("u", "new")];
    copied_up_over_nothing: [rename("c", "new")];
    symlink_over_nothing: [rename("s", "d/s")];
    lower_over_whiteout: [rename("f", "gone"), read("gone")];
    upper_over_whiteout: [rename("u", "gone")];
    copied_up_over_whiteout: [rename("c", "gone")];
    lower_over_whiteout_of_directory: [rename("f", "gonedir")];
    upper_over_whiteout_of_directory: [rename("u", "gonedir"), unlink("gonedir"), mkdir("gonedir")];
    lower_over_lower: [rename("f", "g")];
    lower_over_upper: [rename("f", "u")];
    lower_over_copied_up: [rename("f", "c")];
    upper_over_lower: [rename("u", "f")];
    upper_over_upper: [rename("u", "v")];
    upper_over_copied_up: [rename("u", "c")];
    copied_up_over_lower: [rename("c", "f")];
    copied_up_over_upper: [rename("c", "u")];
    copied_up_over_copied_up: [rename("c", "c2")];
    file_over_symlink: [rename("f", "s")];
    symlink_over_file: [rename("s", "f")];
    file_over_directories: [rename("f", "d"), rename("u", "e"), rename("u", "ue"), rename("c", "m")];
    file_over_itself: [rename("f", "f"), rename("u", "u")];
    missing_sources: [rename("nothing", "new"), rename("gone", "new"), rename("nothing/x", "new"), rename("f/x", "new")];
    into_lower_directory: [rename("f", "d/sub/f"), rename("u", "d/sub/y")];
    into_merged_directory: [rename("f", "m/f"), rename("u", "m/both"), rename("c", "m/up")];
    into_opaque_directory: [rename("f", "o/hidden"), rename("u", "o/seen")];
    into_hollow_directory: [rename("f", "hollow/w")];
    out_of_lower_directory: [rename("d/sub/y", "y"), rename("d/x", "gone")];
    out_of_merged_directory: [rename("m/both", "both"), rename("m/up", "up"), rename("m/1", "f")];
    out_of_opaque_directory: [rename("o/seen", "gone")];
    there_and_back: [rename("f", "new"), rename("new", "f"), read("f")];
    there_and_back_upper: [rename("u", "new"), rename("new", "u")];
    away_and_create_again: [rename("f", "new"), put("f", "second"), read("new")];
    away_and_mkdir: [rename("f", "new"), mkdir("f"), put("f/x", "x")];
    chain: [rename("f", "1"), rename("1", "2"), rename("g", "1"), rename("2", "g"), rename("1", "f")];
    write_after_rename: [rename("f", "new"), write("new", 6, "new data"), rename("new", "d/new")];
    unlink_after_rename: [rename("f", "new"), unlink("new")];
    noreplace_over_nothing: [rename_noreplace("f", "new")];
    noreplace_over_whiteout: [rename_noreplace("f", "gone"), rename_noreplace("u", "gonedir")];
    noreplace_over_something: [
        rename_noreplace("f", "g"), rename_noreplace("f", "u"), rename_noreplace("u", "c"),
        rename_noreplace("u", "d"), rename_noreplace("f", "f"),
    ];
    exchange_lower_lower: [exchange("f", "g"), read("f")];
    exchange_lower_upper: [exchange("f", "u"), read("f")];
    exchange_upper_lower: [exchange("u", "f")];
    exchange_upper_upper: [exchange("u", "v")];
    exchange_copied_up_lower: [exchange("c", "f")];
    exchange_across_directories: [exchange("d/x", "m/both"), exchange("o/seen", "d/sub/y")];
    exchange_with_symlink: [exchange("f", "s")];
    exchange_with_missing: [exchange("f", "nothing"), exchange("f", "gone"), exchange("gone", "f")];
    exchange_twice: [exchange("f", "u"), exchange("f", "u")];
    exchange_and_unlink: [exchange("f", "u"), unlink("f"), unlink("u")];
    overwritten_then_removed: [rename("u", "f"), unlink("f"), list("")];
}
