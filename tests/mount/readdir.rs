//! Listing directories: large ones, merged ones, and while they change.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::Path;

use crate::kit::alone::Alone;
use crate::kit::case::case;
use crate::kit::mode::{skip, test_name};
use crate::kit::op::*;
use crate::kit::recipe::layer;
use crate::kit::subject::ours_or_skip;

/// How often each name is listed.
fn tally(dir: &Path) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        *seen.entry(entry.unwrap().file_name().into_string().unwrap()).or_insert(0) += 1;
    }
    seen
}

fn names(range: std::ops::Range<usize>) -> BTreeMap<String, usize> {
    range.map(|i| (format!("file{i:07}"), 1)).collect()
}

fn fill(dir: &Path, range: std::ops::Range<usize>) {
    fs::create_dir_all(dir).unwrap();
    range.for_each(|i| drop(File::create(dir.join(format!("file{i:07}"))).unwrap()));
}

#[test]
fn thousands_of_entries_in_every_layer() {
    let fill =
        |from: usize, to: usize| (from..to).fold(layer(), |layer, i| layer.file(&format!("d/f{i}"), ""));
    let top = fill(300, 700).whiteout("d/f1").whiteout("d/f2");
    case()
        .lower(top)
        .lower(fill(0, 500))
        .upper(fill(600, 800).whiteout("d/f650x"))
        .run([list("d"), remove_tree("d")])
        .check();
}

/// A directory of `each` entries in either of two layers, half of them in both, and some more above.
fn merged_directory_of(each: usize) {
    let mut union = Alone::new(&[layer().dir("d"), layer().dir("d")], &layer());
    union.remount_after(|stack| {
        fill(&stack.lowers[0].join("d"), 0..each);
        fill(&stack.lowers[1].join("d"), each / 2..each + each / 2);
    });
    let dir = union.root().join("d");
    assert!(tally(&dir) == names(0..each + each / 2), "first pass over {each} entries");
    fill(&dir, each + each / 2..each + each / 2 + 10);
    fs::remove_file(dir.join("file0000003")).unwrap();
    let mut expected = names(0..each + each / 2 + 10);
    expected.remove("file0000003");
    assert!(tally(&dir) == expected, "after changes");
    fs::remove_dir_all(&dir).unwrap();
    fs::create_dir(&dir).unwrap();
    assert_eq!(tally(&dir), BTreeMap::new());
    union.remount();
    assert_eq!(tally(&union.root().join("d")), BTreeMap::new());
    union.unmount();
}

#[test]
fn twenty_thousand_entries() {
    if ours_or_skip() {
        merged_directory_of(14_000);
    }
}

#[test]
fn a_million_entries() {
    match std::env::var_os("UNIONFUSE_TEST_LONG") {
        Some(_) if ours_or_skip() => merged_directory_of(700_000),
        Some(_) => {}
        None => {
            skip(&test_name(), "takes minutes; set UNIONFUSE_TEST_LONG=1 (and UNIONFUSE_TEST_TIMEOUT=1200)")
        }
    }
}

/// POSIX: what is neither added nor removed during a pass is listed exactly once.
#[test]
fn entries_that_stay_are_listed_once_while_others_come_and_go() {
    if !ours_or_skip() {
        return;
    }
    let lower = (0..3000).fold(layer(), |layer, i| layer.file(&format!("d/lower{i}"), "")).dir("pure");
    let top = layer().file("d/top", "");
    let union = Alone::new(&[top, lower], &layer());
    for dir in [union.root().join("d"), union.root().join("pure")] {
        (0..500).for_each(|i| drop(File::create(dir.join(format!("stays{i}"))).unwrap()));
        (0..500).for_each(|i| drop(File::create(dir.join(format!("goes{i}"))).unwrap()));
        let mut stayed = BTreeMap::new();
        for (step, entry) in fs::read_dir(&dir).unwrap().enumerate() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name.starts_with("stays") || name.starts_with("lower") {
                *stayed.entry(name).or_insert(0) += 1;
            }
            if step < 500 {
                fs::remove_file(dir.join(format!("goes{step}"))).unwrap();
                File::create(dir.join(format!("comes{step}"))).unwrap();
            }
        }
        let lower = if dir.ends_with("d") { 3000 } else { 0 };
        assert_eq!(stayed.len(), 500 + lower, "{}", dir.display());
        assert!(stayed.values().all(|times| *times == 1), "{}: listed twice: {stayed:?}", dir.display());
    }
    union.unmount();
}

#[test]
fn positions_survive_seeking() {
    if !ours_or_skip() {
        return;
    }
    let lower = (0..300).fold(layer(), |layer, i| layer.file(&format!("d/l{i}"), ""));
    let union = Alone::new(&[layer().file("d/top", ""), lower], &layer());
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    let fd = rustix::fs::open(union.root().join("d"), flags, rustix::fs::Mode::empty()).unwrap();
    let mut dir = rustix::fs::Dir::new(fd).unwrap();
    let mut order = Vec::new();
    while let Some(entry) = dir.read() {
        let entry = entry.unwrap();
        order.push((entry.file_name().to_owned(), entry.offset()));
    }
    assert_eq!(order.len(), 303);
    for at in [0, 1, 2, 150, 299, 301] {
        dir.seek(order[at].1).unwrap();
        let next = dir.read().unwrap().unwrap();
        assert_eq!(next.file_name(), &*order[at + 1].0, "after entry {at}");
    }
    dir.rewind();
    assert_eq!(dir.read().unwrap().unwrap().file_name(), &*order[0].0);
    drop(dir);
    union.unmount();
}

#[test]
fn a_removed_directory_that_is_still_open_is_empty() {
    let look = call("rmdir an open directory, list it, create in it", || {
        let io = crate::kit::run::errno;
        let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
        let fd = rustix::fs::open("e", flags, rustix::fs::Mode::empty())?;
        fs::remove_dir("e").map_err(io)?;
        let mut buffer = Vec::with_capacity(4096);
        let listed = rustix::fs::RawDir::new(&fd, buffer.spare_capacity_mut()).next().is_some();
        let created = rustix::fs::mkdirat(&fd, "x", rustix::fs::Mode::RWXU);
        Ok(format!("listed anything: {listed}; create: {created:?}"))
    });
    case().lower(layer().dir("e").file("f", "")).run([look, stat("e"), mkdir("e"), list("e")]).check();
}
