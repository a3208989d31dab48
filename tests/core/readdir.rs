//! Listings: each entry once, whatever happens meanwhile.

use std::collections::BTreeMap;

use unionfuse::types::{DirEntry, Kind, NodeId};

use crate::kit::bench::{Bench, over, union};
use crate::kit::layer::Layer;

/// Lists by requests of `step` entries, doing something after the first request.
fn list_during(bench: &Bench, dir: NodeId, step: usize, meanwhile: impl FnOnce()) -> BTreeMap<String, usize> {
    let mut seen = BTreeMap::new();
    let mut count = |some: &[DirEntry]| {
        for entry in some {
            *seen.entry(entry.name.to_str().unwrap().to_owned()).or_default() += 1;
        }
    };
    let mut some = bench.list_some(dir, 0, false, step).unwrap();
    count(&some);
    meanwhile();
    while let Some(last) = some.last() {
        some = bench.list_some(dir, last.cookie, false, step).unwrap();
        count(&some);
    }
    seen
}

fn fill(layer: &Layer, dir: &str, names: std::ops::Range<usize>) {
    for n in names {
        layer.file(format!("{dir}/n{n}"), "");
    }
}

/// Directories with the names `n0` to `n99`: in one lowerdir, in the upperdir, in both, in several lowerdirs.
fn hundreds() -> Bench {
    union(|[top, bottom]: &[Layer; 2], upper| {
        fill(bottom, "lower", 0..100);
        fill(upper, "upper", 0..100);
        fill(upper, "both", 0..60);
        fill(bottom, "both", 40..100);
        fill(top, "lowers", 0..60);
        fill(bottom, "lowers", 40..100);
    })
}

const DIRS: [&str; 4] = ["lower", "upper", "both", "lowers"];

fn assert_each_once(seen: &BTreeMap<String, usize>, names: impl Iterator<Item = usize>, what: &str) {
    for n in names {
        assert_eq!(seen.get(&format!("n{n}")), Some(&1), "{what}: n{n}");
    }
}

#[test]
fn every_entry_once_by_requests_of_any_size() {
    let bench = hundreds();
    for dir in DIRS {
        let node = bench.node(dir).unwrap();
        for step in [1, 2, 3, 50, 1000] {
            let seen = list_during(&bench, node, step, || {});
            assert_eq!(seen.len(), 102, "{dir} by {step}");
            assert!(seen.values().all(|&times| times == 1), "{dir} by {step}: {seen:?}");
        }
    }
}

#[test]
fn while_entries_are_added_and_removed() {
    for dir in DIRS {
        for step in [3, 40] {
            let bench = hundreds();
            let seen = list_during(&bench, bench.node(dir).unwrap(), step, || {
                for n in 0..20 {
                    bench.create(format!("{dir}/new{n}")).unwrap();
                    bench.unlink(format!("{dir}/n{}", n * 5)).unwrap();
                }
            });
            assert_each_once(&seen, (0..100).filter(|n| n % 5 != 0), dir);
            assert!(seen.values().all(|&times| times == 1), "{dir}: {seen:?}");
        }
    }
}

#[test]
fn while_the_directory_is_copied_up() {
    for dir in ["lower", "lowers"] {
        for step in [3, 40] {
            let bench = hundreds();
            let seen = list_during(&bench, bench.node(dir).unwrap(), step, || {
                bench.chmod(format!("{dir}/n50"), 0o600).unwrap();
                bench.chmod(format!("{dir}/n7"), 0o600).unwrap();
            });
            assert_eq!(seen.len(), 102);
            assert_each_once(&seen, 0..100, dir);
        }
    }
}

#[test]
fn while_the_directory_is_renamed() {
    for dir in DIRS {
        let bench = hundreds();
        let seen =
            list_during(&bench, bench.node(dir).unwrap(), 10, || bench.rename(dir, "elsewhere").unwrap());
        assert_eq!(seen.len(), 102, "{dir}");
        assert_each_once(&seen, 0..100, dir);
    }
}

#[test]
fn after_the_nodes_were_forgotten() {
    for dir in DIRS {
        let bench = hundreds();
        let node = bench.node(dir).unwrap();
        let first = bench.list_some(node, 0, false, 30).unwrap();
        bench.forget_all();
        let rest = bench.list_some(bench.node(dir).unwrap(), first[29].cookie, false, 1000).unwrap();
        let mut names: Vec<_> = first.iter().chain(&rest).map(|entry| entry.name.clone()).collect();
        names.sort();
        names.dedup();
        assert_eq!((names.len(), first.len() + rest.len()), (102, 102), "{dir}");
    }
}

#[test]
fn removing_all_while_listing() {
    // What `rm -r` does: it removes what each request gave before the next one.
    for dir in DIRS {
        let bench = hundreds();
        let node = bench.node(dir).unwrap();
        let mut cookie = 0;
        loop {
            let some = bench.list_some(node, cookie, false, 10).unwrap();
            let Some(last) = some.last() else { break };
            cookie = last.cookie;
            for entry in some.iter().filter(|entry| entry.name != "." && entry.name != "..") {
                bench.unlink(std::path::Path::new(dir).join(&entry.name)).unwrap();
            }
        }
        bench.rmdir(dir).unwrap();
    }
}

#[test]
fn a_new_listing_sees_every_change() {
    for dir in DIRS {
        let bench = hundreds();
        assert_eq!(bench.names(dir).unwrap().len(), 100);
        bench.create(format!("{dir}/new")).unwrap();
        assert_eq!(bench.names(dir).unwrap().len(), 101);
        bench.unlink(format!("{dir}/n3")).unwrap();
        bench.rename(format!("{dir}/n4"), "away").unwrap();
        bench.link(format!("{dir}/n5"), format!("{dir}/link")).unwrap();
        let names = bench.names(dir).unwrap();
        assert_eq!(names.len(), 100);
        assert!(names.contains(&"link".to_owned()) && !names.contains(&"n4".to_owned()));
    }
}

#[test]
fn attributes_reference_their_nodes() {
    let bench = hundreds();
    for dir in DIRS {
        let node = bench.node(dir).unwrap();
        let before = bench.raw().live_nodes();
        bench.list_some(node, 0, false, 1000).unwrap();
        assert_eq!(bench.raw().live_nodes(), before);
        let entries = bench.list_some(node, 0, true, 1000).unwrap();
        assert_eq!(bench.raw().live_nodes(), before + 100);
        for entry in entries {
            let dots = entry.name == "." || entry.name == "..";
            assert_eq!(
                entry.attr.map(|attr| (attr.node, attr.kind)),
                (!dots).then_some((entry.node, entry.kind))
            );
        }
    }
}

#[test]
fn an_entry_that_was_not_taken_is_not_referenced() {
    let bench = hundreds();
    let node = bench.node("both").unwrap();
    let before = bench.raw().live_nodes();
    assert_eq!(bench.list_some(node, 0, true, 12).unwrap().len(), 12);
    assert_eq!(bench.raw().live_nodes(), before + 10);
}

#[test]
fn kinds_and_dots() {
    let bench = over(|lower| {
        lower.file("d/f", "").dir("d/d").symlink("d/s", "x").node(
            "d/p",
            rustix::fs::FileType::Fifo,
            0o600,
            0,
        );
    });
    let node = bench.node("d").unwrap();
    let entries = bench.list_some(node, 0, false, 100).unwrap();
    let kind = |name: &str| entries.iter().find(|entry| entry.name == name).unwrap().kind;
    assert_eq!([kind("f"), kind("d"), kind("s")], [Kind::File, Kind::Directory, Kind::Symlink]);
    assert_eq!([kind("p"), kind("."), kind("..")], [Kind::Fifo, Kind::Directory, Kind::Directory]);
}

#[test]
fn cookies_are_positive_and_all_different() {
    let bench = hundreds();
    for dir in DIRS {
        let entries = bench.list_some(bench.node(dir).unwrap(), 0, false, 1000).unwrap();
        let cookies: std::collections::HashSet<u64> = entries.iter().map(|entry| entry.cookie).collect();
        assert_eq!(cookies.len(), 102, "{dir}");
        assert!(cookies.iter().all(|&cookie| cookie > 0 && cookie < 1 << 31), "{dir}");
    }
}

#[test]
fn listing_a_file_fails() {
    let bench = hundreds();
    let node = bench.node("both/n1").unwrap();
    assert_eq!(bench.list_some(node, 0, false, 1).unwrap_err(), rustix::io::Errno::NOTDIR);
}

#[test]
fn twenty_thousand_entries() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        fill(lower, "merged", 0..10_000);
        fill(upper, "merged", 10_000..20_000);
        fill(lower, "pure", 0..20_000);
    });
    for dir in ["merged", "pure"] {
        let seen = list_during(&bench, bench.node(dir).unwrap(), 500, || {
            for n in 0..100 {
                bench.unlink(format!("{dir}/n{}", n * 200)).unwrap();
            }
        });
        assert_each_once(&seen, (0..20_000).filter(|n| n % 200 != 0), dir);
    }
}

#[test]
fn whiteouts_and_doubles_are_not_listed() {
    let bench = union(|[top, bottom]: &[Layer; 2], upper| {
        bottom.file("a", "").file("b", "").file("c", "");
        top.whiteout("b").file("c", "");
        upper.file("c", "").whiteout("a").whiteout("nothing");
    });
    assert_eq!(bench.names("").unwrap(), ["c"]);
}
