use std::path::Path;

use super::rig::{Observed, file, many_files, walk};
use super::{amount, can_run, report};

/// The budget of a live node, without its name, which the daemon keeps as `Arc<OsStr>`: two counters and the bytes.
const PER_NODE: u64 = 250;
const NAME: u64 = 16 + "file000000".len() as u64;
/// What malloc adds to the blocks a node is made of, and empty places in the tables.
const SLACK: u64 = 80;

/// Makes the kernel forget all that nobody uses; for one that is busy, more than once.
fn drop_caches() {
    std::fs::write("/proc/sys/vm/drop_caches", "2").unwrap();
}

#[test]
fn a_known_file_costs_little_and_is_given_back() {
    if !can_run() {
        return;
    }
    let files = amount(50_000, 100_000);
    let rig = Observed::new(None, |lower| {
        many_files(&lower.join("many"), files);
        many_files(&lower.join("few"), 5000);
    });
    // Buffers, caches of descriptors and the like are there from then on.
    assert_eq!(walk(&rig.root().join("few")), 5000);
    let before = rig.memory();
    assert_eq!(walk(&rig.root().join("many")), files);
    let grown = rig.memory() - before;
    let each = grown / files as u64;
    drop_caches();
    rig.await_that("memory of forgotten files is given back", |rig| {
        drop_caches();
        // The last few thousand nodes are freed, but not worth giving back to the system.
        rig.memory() < before + grown / 3
    });
    let left = rig.memory().saturating_sub(before) / files as u64;
    report(&format!("{each} bytes per known file of {files}, {left} of them kept after all is forgotten"));
    assert!(each <= PER_NODE + NAME + SLACK, "{each} bytes per known file");
    rig.finish();
}

/// Creates, writes and removes files, some in a directory of the lower, some by a rename over another.
fn churn(root: &Path, files: std::ops::Range<usize>) {
    for n in files {
        let path = root.join(file(n % 50_000).file_name().unwrap());
        std::fs::write(&path, "content").unwrap();
        if n % 8 == 0 {
            let other = root.join("other");
            std::fs::rename(&path, &other).unwrap();
            std::fs::remove_file(other).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

#[test]
fn making_and_removing_files_leaves_nothing() {
    if !can_run() {
        return;
    }
    let files = amount(10_000, 100_000);
    let rig = Observed::new(None, |lower| many_files(lower, 100));
    let dir = rig.root().join("d0000");
    churn(&dir, 0..2000);
    let (descriptors, memory) = (rig.descriptors(), rig.memory());
    churn(&dir, 2000..2000 + files);
    rig.await_that("descriptors are given back", |rig| rig.descriptors() <= descriptors + 8);
    let grown = rig.memory().saturating_sub(memory);
    report(&format!(
        "{files} files: {grown} bytes more, {descriptors} descriptors before and {} after",
        rig.descriptors()
    ));
    // Less than a block of malloc's, or a byte or two a file: nothing that grows with their number.
    assert!(grown <= (512 << 10).max(4 * files as u64), "{grown} bytes more after {files} files");
    rig.finish();
}
