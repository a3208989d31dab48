//! Directories nested deeper than a stack is high: every user can make them, by `mkdir d; cd d` again and again.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, Mode, OFlags};
use unionfuse::types::NodeId;

use crate::kit::bench::{Bench, ROOT, name};

/// A thread has two megabytes of stack: 105 bytes for each.
const DEPTH: usize = 20_000;

fn open_dir(at: impl AsFd) -> OwnedFd {
    rustix::fs::openat(at, "d", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty()).unwrap()
}

/// Nests directories in `top`; each gets the mark, if one is given.
fn nest(top: &Path, depth: usize) {
    let mut at = OwnedFd::from(File::open(top).unwrap());
    for _ in 0..depth {
        rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
        at = open_dir(&at);
    }
}

/// `remove_dir_all` of the standard library needs a descriptor for each level.
fn remove(top: &Path) {
    loop {
        let mut at = OwnedFd::from(File::open(top).unwrap());
        let mut above = Vec::new();
        while let Ok(next) =
            rustix::fs::openat(&at, "d", OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW, Mode::empty())
        {
            above.push(std::mem::replace(&mut at, next));
            if above.len() > 500 {
                above.remove(0);
            }
        }
        if above.is_empty() {
            return;
        }
        for dir in above.iter().rev() {
            rustix::fs::unlinkat(dir, "d", AtFlags::REMOVEDIR).unwrap();
        }
    }
}

fn descend(bench: &Bench, depth: usize) -> NodeId {
    let mut at = NodeId::ROOT;
    for _ in 0..depth {
        at = bench.look(at, "d").unwrap().unwrap().node;
    }
    at
}

#[test]
fn a_lower_directory() {
    let dir = tempfile::tempdir_in("/dev/shm").unwrap();
    let lower = dir.path().join("lower");
    std::fs::create_dir(&lower).unwrap();
    nest(&lower, DEPTH);
    let config = unionfuse::UnionConfig::new([&lower]);
    let union = unionfuse::Union::open(&config, None).unwrap();
    let mut path = vec![NodeId::ROOT];
    for _ in 0..DEPTH {
        let entry = union.lookup(*path.last().unwrap(), name("d")).unwrap().unwrap();
        path.push(entry.give_to_kernel().node);
    }
    // Those in between are no longer open; the last one's descriptors have to be found anew.
    for node in path.iter().take(10_000) {
        union.getattr(*node).unwrap();
    }
    for node in path.iter().rev().take(10) {
        union.getattr(*node).unwrap();
        assert!(union.lookup(*node, name("x")).unwrap().is_none());
    }
    // Parents first: each lives on for its child.
    for node in &path[1..DEPTH] {
        union.forget(*node, 1);
    }
    assert_eq!(union.live_nodes(), DEPTH + 1);
    union.forget(path[DEPTH], 1);
    assert_eq!(union.live_nodes(), 1);
    // Unmounting forgets nothing: the union goes with all its nodes.
    path.truncate(1);
    for _ in 0..DEPTH {
        path.push(union.lookup(*path.last().unwrap(), name("d")).unwrap().unwrap().give_to_kernel().node);
    }
    drop(union);
    remove(&lower);
}

#[test]
fn a_directory_made_and_copied_up() {
    let bench = crate::kit::bench::over(|lower| nest(&lower.root, 1500));
    let last = descend(&bench, 1500);
    drop(bench.raw().mkdir(ROOT, last, name("new"), 0o755).unwrap());
    bench.rename("d", "d2").unwrap();
    bench.rename("d2", "d").unwrap();
    assert!(bench.raw().lookup(last, name("x")).unwrap().is_none());
    bench.forget_all();
    drop(bench);
}

/// A redirect down a tree of which every directory is opaque.
#[test]
fn a_redirect() {
    let levels = 1900;
    let mut bench = Bench::prepare(|[top, bottom]: &[_; 2], _| {
        top.dir("r");
        let path = "/d".repeat(levels);
        if let Err(error) = rustix::fs::setxattr(
            top.path("r"),
            "trusted.overlay.redirect",
            path.as_bytes(),
            rustix::fs::XattrFlags::empty(),
        ) {
            crate::kit::bench::skip(&format!("a redirect of {} bytes: {error}", path.len()));
        }
        let mut at = OwnedFd::from(File::open(&bottom.root).unwrap());
        for _ in 0..levels {
            rustix::fs::mkdirat(&at, "d", Mode::RWXU).unwrap();
            at = open_dir(&at);
            let dir = rustix::fs::openat(at.as_fd(), ".", OFlags::RDONLY, Mode::empty()).unwrap();
            rustix::fs::fsetxattr(&dir, super::mark("opaque"), b"y", rustix::fs::XattrFlags::empty())
                .unwrap();
        }
        rustix::fs::mkdirat(&at, "found", Mode::RWXU).unwrap();
    });
    bench.open();
    let _ = bench.list("r");
    bench.forget_all();
}

/// What a crash has left in the work directory, or hides in a removed directory, is removed however deep it is.
#[test]
fn a_work_directory_is_swept() {
    let mut bench = crate::kit::bench::over(|lower| {
        lower.file("f", "");
    });
    bench.close();
    let left = bench.config.work.as_ref().unwrap().join("work/#left");
    std::fs::create_dir(&left).unwrap();
    nest(&left, 20_000);
    bench.reopen();
    assert_eq!(bench.garbage(), Vec::<std::path::PathBuf>::new());
}
