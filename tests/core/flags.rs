//! Inode flags: what they forbid is forbidden through the union.

use rustix::fs::IFlags;
use rustix::io::Errno;
use unionfuse::types::NodeId;

use crate::kit::bench::{Bench, done, errno, over, skip};

/// A union with an append-only file in its upperdir; taken back by [`release`], or it could not be removed.
fn with_append_only() -> Option<(Bench, NodeId)> {
    let bench = over(|lower| {
        lower.file("log", "");
    });
    let node = bench.write("log", "one").unwrap();
    match done(bench.raw().set_flags(node, IFlags::APPEND.bits())) {
        Ok(()) => Some((bench, node)),
        Err(error) => {
            skip(&format!("append-only files cannot be made: {error}"));
            None
        }
    }
}

fn release(bench: &Bench) {
    let node = bench.node("log").unwrap();
    bench.raw().set_flags(node, 0).unwrap();
}

fn only_appends(bench: &Bench, node: NodeId, end: u64) {
    assert_eq!(bench.write_node(node, 0, "XX"), Err(Errno::PERM));
    assert_eq!(bench.write_node(node, end + 1, "XX"), Err(Errno::PERM));
    assert_eq!(bench.truncate("log", 0).map(drop), Err(Errno::PERM));
    bench.write_node(node, end, "+").unwrap();
}

#[test]
fn an_append_only_file_takes_what_comes_at_its_end() {
    let Some((mut bench, node)) = with_append_only() else { return };
    // It was open for writing when it became one.
    only_appends(&bench, node, 3);
    assert_eq!(bench.text("log").unwrap(), "one+");
    bench.reopen();
    let node = bench.node("log").unwrap();
    only_appends(&bench, node, 4);
    assert_eq!(bench.text("log").unwrap(), "one++");
    release(&bench);
    bench.write("log", "ONE").unwrap();
}

#[test]
fn an_immutable_file_cannot_be_written_to() {
    let bench = over(|lower| {
        lower.file("f", "");
    });
    let node = bench.write("f", "one").unwrap();
    if let Err(error) = errno(bench.raw().set_flags(node, IFlags::IMMUTABLE.bits())) {
        return skip(&format!("immutable files cannot be made: {error}"));
    }
    let outcome = bench.write_node(node, 3, "two");
    bench.raw().set_flags(node, 0).unwrap();
    assert_eq!(outcome, Err(Errno::PERM));
}
