//! What an unprivileged daemon writes, read by the kernel's overlayfs of a user namespace (`userxattr`).

use crate::kit::alone::Alone;
use crate::kit::kernel::Kernel;
use crate::kit::mode::{Mode, skip, test_name};
use crate::kit::op::*;
use crate::kit::recipe::layer;
use crate::kit::run::run_script;
use crate::kit::subject::{Subject, ours_or_skip};
use crate::kit::tree::{Comparison, snapshot};

/// No directory renames and no hard links: with `userxattr` the kernel has neither redirects nor an index.
#[test]
fn the_kernel_of_a_user_namespace_reads_our_upper() {
    if Mode::current() != Mode::UserNs {
        return skip(&test_name(), "about user namespaces");
    }
    if !ours_or_skip() {
        return;
    }
    let bottom = layer()
        .file("f", "f")
        .file("g", "g")
        .file("d/x", "x")
        .file("d/y", "y")
        .file("m/1", "1")
        .file("gone/old", "old");
    let middle = layer().file("m/0", "0").opaque("o").file("o/seen", "seen");
    let mut union = Alone::new(&[middle, bottom], &layer().file("u", "u"));
    let script = [
        append("f", "!"),
        unlink("g"),
        rename("d/x", "m/x"),
        remove_tree("gone"),
        mkdir("gone"),
        put("gone/new", "new"),
        unlink("m/1"),
        rename("u", "g"),
        put("o/new", "new"),
        setxattr("d/y", "user.note", "kept"),
        chmod("m", 0o700),
        symlink("f", "s"),
        fifo("p"),
    ];
    for (step, outcome) in run_script(union.root(), &script) {
        outcome.unwrap_or_else(|error| panic!("{step}: {error}"));
    }
    let live = snapshot(union.root());
    let mut seen = None;
    union.remount_after(|stack| {
        let mount = Kernel.mount(stack).unwrap_or_else(|error| panic!("{error}"));
        seen = Some(snapshot(mount.root()));
        mount.unmount();
    });
    union.unmount();
    let seen = seen.expect("the kernel mounted it");
    let comparison =
        Comparison { left: ("ours", &live), right: ("kernel", &seen), origins: None, same_subject: false };
    assert_eq!(comparison.differences(), Vec::<String>::new());
}
