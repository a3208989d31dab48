//! The kernel's caches are our cache: what was seen once costs no request again.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::kit::alone::Alone;
use crate::kit::mode::{Mode, skip, test_name};
use crate::kit::recipe::layer;
use crate::kit::subject::ours_or_skip;
use crate::kit::trace::Trace;

/// What `tar` does: list every directory, stat every entry, read every file and symlink, and look at each once more afterwards
/// ("file changed as we read it").
fn tar(dir: &Path) -> u64 {
    let mut total = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let meta = fs::symlink_metadata(&path).unwrap();
        total += meta.size() + 1;
        if meta.is_dir() {
            total += tar(&path);
        } else if meta.is_symlink() {
            total += fs::read_link(&path).unwrap().as_os_str().len() as u64;
        } else if meta.is_file() {
            total += fs::read(&path).unwrap().len() as u64;
        }
        assert_eq!(fs::symlink_metadata(&path).unwrap().mtime_nsec(), meta.mtime_nsec());
    }
    total
}

/// What `find` does: list every directory, stat every entry.
fn find(dir: &Path) -> usize {
    let mut total = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        total += 1 + if fs::symlink_metadata(&path).unwrap().is_dir() { find(&path) } else { 0 };
    }
    total
}

fn union_and_trace() -> Option<(Alone, Trace)> {
    if !ours_or_skip() {
        return None;
    }
    if Mode::current() != Mode::Root {
        skip(&test_name(), "tracing needs root");
        return None;
    }
    if std::env::var("UNIONFUSE_TEST_OPTIONS").is_ok_and(|options| options.contains("writeback=on")) {
        skip(&test_name(), "with a writeback cache each close makes the kernel ask for the number of blocks");
        return None;
    }
    let fill = |name: &str| {
        (0..40).fold(layer(), |layer, i| {
            layer
                .file(&format!("{name}/{}/f{i}", i % 5), format!("content {i}").repeat(i * 30))
                .file(&format!("merged/{}/{name}{i}", i % 3), "m")
                .symlink("target", &format!("{name}/s{i}"))
        })
    };
    let upper = layer().file("merged/1/up", "up").file("up/u", "u").whiteout("merged/0/top0");
    let union = Alone::new(&[fill("top"), fill("bottom")], &upper);
    match Trace::of(union.root()) {
        Ok(trace) => Some((union, trace)),
        Err(reason) => {
            skip(&test_name(), &format!("tracing is not available: {reason}"));
            union.unmount();
            None
        }
    }
}

/// Whether opening files sends requests in this run, in which case the running test is skipped.
fn opens_are_requests() -> bool {
    let asked = std::env::var("UNIONFUSE_TEST_OPTIONS").is_ok_and(|options| options.contains("passthrough"));
    if asked {
        skip(&test_name(), "with passthrough every open is a request");
    }
    asked
}

fn counts(trace: &Trace) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for request in trace.requests() {
        *counts.entry(request).or_insert(0) += 1;
    }
    counts
}

/// The kernel forgets a directory's access time when it was listed on a writable mount, so the second `find` may ask for the
/// attributes of directories, and for nothing else.
#[test]
fn a_second_find_asks_for_nothing_but_directories_attributes() {
    let Some((union, trace)) = union_and_trace() else {
        return;
    };
    let entries = find(union.root());
    trace.clear();
    assert_eq!(find(union.root()), entries);
    let mut second = counts(&trace);
    // The root, top, bottom, merged, up, and 5 + 5 + 3 directories in them.
    let attributes = second.remove("FUSE_GETATTR").unwrap_or(0);
    assert!(attributes <= 18, "{attributes} requests for attributes");
    assert_eq!(second, BTreeMap::new(), "requests of the second find");
    trace.clear();
    assert_eq!(find(union.root()), entries);
    assert_eq!(counts(&trace), BTreeMap::new(), "requests of the third find");
    drop(trace);
    union.unmount();
}

#[test]
fn a_second_walk_sends_no_request() {
    if opens_are_requests() {
        return;
    }
    let Some((union, trace)) = union_and_trace() else {
        return;
    };
    let first = tar(union.root());
    fs::metadata(union.root()).unwrap();
    let cold = counts(&trace);
    assert!(cold.contains_key("FUSE_READ"), "the tracer sees requests: {cold:?}");
    trace.clear();
    assert_eq!(tar(union.root()), first);
    assert_eq!(counts(&trace), BTreeMap::new(), "requests of the second walk");
    drop(trace);
    union.unmount();
}

#[test]
fn a_walk_after_changes_sends_requests_only_for_what_changed() {
    if opens_are_requests() {
        return;
    }
    let Some((union, trace)) = union_and_trace() else {
        return;
    };
    tar(union.root());
    fs::write(union.root().join("top/1/f1"), "changed").unwrap();
    fs::rename(union.root().join("bottom/2"), union.root().join("moved")).unwrap();
    tar(union.root());
    tar(union.root());
    fs::metadata(union.root()).unwrap();
    trace.clear();
    tar(union.root());
    assert_eq!(counts(&trace), BTreeMap::new());
    drop(trace);
    union.unmount();
}

#[test]
fn missing_names_are_asked_for_once() {
    let Some((union, trace)) = union_and_trace() else {
        return;
    };
    let missing = ["nothing", "top/nothing", "merged/0/top0", "merged/nothing", "up/nothing"];
    let look = || missing.iter().filter(|name| union.root().join(name).exists()).count();
    assert_eq!(look(), 0);
    assert!(counts(&trace).contains_key("FUSE_LOOKUP"), "the tracer sees requests: {:?}", counts(&trace));
    trace.clear();
    assert_eq!(look(), 0);
    assert_eq!(counts(&trace), BTreeMap::new());
    fs::write(union.root().join("nothing"), "now it is there").unwrap();
    assert_eq!(look(), 1);
    drop(trace);
    union.unmount();
}

#[test]
fn reading_a_file_again_costs_nothing_after_it_was_written() {
    if opens_are_requests() {
        return;
    }
    let Some((union, trace)) = union_and_trace() else {
        return;
    };
    let path = union.root().join("top/3/f3");
    let data = "written through the mount ".repeat(1000);
    fs::write(&path, &data).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), data);
    fs::metadata(&path).unwrap();
    trace.clear();
    assert_eq!(fs::read_to_string(&path).unwrap(), data);
    fs::metadata(&path).unwrap();
    assert_eq!(counts(&trace), BTreeMap::new());
    drop(trace);
    union.unmount();
}
