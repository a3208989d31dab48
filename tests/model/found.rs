//! Scripts that once failed, as shrinking left them.

use super::check::Pair;
use super::name::Name;
use super::script::Op;
use super::stack::{Item, Plan, Stack};

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
