//! Scripts that once failed, as shrinking left them.

use std::ffi::OsStr;

use rustix::io::Errno;
use unionfuse::types::RenameMode;

use super::check::Pair;
use super::name::Name;
use super::script::Op;
use super::stack::{Item, Plan, Stack};
use crate::kit::bench::errno;

const FILE: Item = Item::File { byte: b'a', len: 0, mode: 0o644 };

fn play(upper: Plan, lower: Plan, script: &[Op]) {
    let stack = Stack { upper, lowers: vec![lower], redirect_dir: false };
    Pair::new(&stack).play(script).unwrap();
}

/// Copying a tree up left directories that both layers had without an origin: the next mount gave them other numbers.
#[test]
fn a_merged_directory_keeps_its_number_when_its_tree_is_copied_up() {
    let both = vec![(Name(b"a/s/x"), FILE)];
    play(both.clone(), both, &[Op::Rename(Name(b"a/s"), Name(b"c"))]);
}

/// It also left the parents of such directories unmarked. We look for origins of directories anyhow, but the kernel's overlayfs
/// lists them under other numbers then.
#[test]
fn a_parent_is_marked_when_a_tree_copied_up_moves_in() {
    let both = vec![(Name(b"a/s/x"), FILE)];
    let bench = Stack { upper: both.clone(), lowers: vec![both], redirect_dir: false }.open();
    bench.rename("a/s", "b").unwrap();
    bench.mkdir("c").unwrap();
    bench.rename("b", "c/x").unwrap();
    for parent in ["", "a", "c"] {
        let mark = bench.upper().get(parent, "trusted.overlay.impure");
        assert_eq!(mark.as_deref(), Some(&b"y"[..]), "{parent:?}");
    }
}

/// Removing whiteouts that had lost their sense changed the time of the directory.
#[test]
fn whiteouts_leave_a_tree_copied_up_without_a_trace() {
    let upper = vec![(Name(b"b/x"), Item::Whiteout)];
    let lower = vec![(Name(b"b/x"), FILE), (Name(b"b/y"), FILE)];
    play(upper, lower, &[Op::Rename(Name(b"b"), Name(b"c"))]);
}

/// The attributes were read by name, and not looked at whose they were: an ACL of another file could be believed.
#[test]
fn attributes_are_the_files_own_while_names_are_exchanged() {
    let upper = vec![(Name(b"a"), FILE), (Name(b"b"), FILE)];
    let bench = Stack { upper, lowers: vec![Vec::new()], redirect_dir: true }.open();
    bench.set_xattr("a", "user.name", "a").unwrap();
    bench.set_xattr("b", "user.other", "b").unwrap();
    let node = bench.node("a").unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            for _ in 0..2000 {
                let value = errno(bench.raw().get_xattr(node, OsStr::new("user.name")));
                assert_eq!(value.as_deref(), Ok(&b"a"[..]));
                let other = errno(bench.raw().get_xattr(node, OsStr::new("user.other")));
                assert_eq!(other, Err(Errno::NODATA));
            }
        });
        while !reader.is_finished() {
            bench.rename_with("a", "b", RenameMode::Exchange).unwrap();
        }
    });
}
