//! Several threads at once. Through a mount the kernel lets one change of a directory in at a time; here the
//! engine is alone.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use rustix::io::Errno;
use unionfuse::types::{NewTime, RenameMode, SetAttr, Time};

use crate::kit::bench::{Bench, over, union};
use crate::kit::layer::Layer;

/// Numbers that look random and are the same in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % sides
    }
}

fn on_threads(count: u64, work: impl Fn(u64) + Sync) {
    thread::scope(|scope| {
        for n in 0..count {
            let work = &work;
            scope.spawn(move || work(n));
        }
    });
}

#[test]
fn many_readers_while_a_file_is_copied_up() {
    const SIZE: usize = 1 << 20;
    let bench = over(|lower| {
        lower.file("d/f", vec![b'l'; SIZE]);
    });
    let node = bench.node("d/f").unwrap();
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                let mut data = vec![0; SIZE];
                while !done.load(Ordering::Relaxed) {
                    assert_eq!(bench.raw().read(node, 0, &mut data).unwrap(), SIZE);
                    // The last byte is written by nobody, the others only ever to `u`.
                    assert!(data.iter().all(|&byte| byte == b'l' || byte == b'u') && data[SIZE - 1] == b'l');
                    let attr = bench.raw().getattr(node).unwrap();
                    assert_eq!((attr.node, attr.size), (node, SIZE as u64));
                }
            });
        }
        for n in 0..100 {
            bench.write_node(node, n * 1000, "u").unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(std::fs::metadata(bench.upper().path("d/f")).unwrap().len(), SIZE as u64);
}

#[test]
fn one_file_is_copied_up_once() {
    for _ in 0..20 {
        let bench = over(|lower| {
            lower.file("a/b/c/f", vec![b'.'; 100_000]);
        });
        let node = bench.node("a/b/c/f").unwrap();
        on_threads(8, |n| bench.write_node(node, n, n.to_string()).unwrap());
        let text = std::fs::read(bench.upper().path("a/b/c/f")).unwrap();
        assert_eq!((&text[..8], text.len()), (&b"01234567"[..], 100_000));
        assert_eq!(bench.node("a/b/c/f").unwrap(), node);
    }
}

#[test]
fn all_files_of_a_tree_at_once() {
    let bench = over(|lower| {
        for n in 0..64 {
            lower.file(format!("a/b{}/c{}/f{n}", n % 2, n % 4), n.to_string());
        }
    });
    let path = |n: u64| format!("a/b{}/c{}/f{n}", n % 2, n % 4);
    on_threads(8, |thread| {
        for n in (0..64).filter(|n| n % 8 == thread) {
            bench.write_node(bench.node(path(n)).unwrap(), 3, "!").unwrap();
        }
    });
    bench.forget_all();
    for n in 0..64 {
        let text = bench.text(path(n)).unwrap();
        assert!(text.starts_with(&n.to_string()) && text.ends_with('!'), "{text:?}");
    }
}

#[test]
fn hard_links_are_copied_up_once() {
    for _ in 0..20 {
        let mut bench = over(|lower| {
            lower.file("f0", "........");
            for n in 1..8 {
                lower.link(format!("d{n}/f{n}"), "f0");
            }
        });
        let path = |n: u64| if n == 0 { "f0".to_owned() } else { format!("d{n}/f{n}") };
        on_threads(8, |n| bench.write_node(bench.node(path(n)).unwrap(), n, n.to_string()).unwrap());
        for _ in 0..2 {
            for n in 0..8 {
                assert_eq!(bench.text(path(n)).unwrap(), "01234567");
                assert_eq!(bench.stat(path(n)).unwrap().nlink, 8);
            }
            bench.reopen();
        }
    }
}

#[test]
fn one_thread_gets_each_name() {
    let bench = over(|lower| {
        lower.dir("d");
        for n in (0..100).step_by(2) {
            lower.file(format!("d/{n}"), "");
        }
    });
    let removed: Vec<_> = count_successes(&bench, |bench, n| bench.unlink(format!("d/{n}")));
    assert!(removed.iter().enumerate().all(|(n, &times)| times == usize::from(n % 2 == 0)), "{removed:?}");
    let made = count_successes(&bench, |bench, n| bench.mkdir(format!("d/{n}")).map(drop));
    assert!(made.iter().all(|&times| times == 1), "{made:?}");
    let moved = count_successes(&bench, |bench, n| bench.rename(format!("d/{n}"), format!("m{n}")));
    assert!(moved.iter().all(|&times| times == 1), "{moved:?}");
    let removed = count_successes(&bench, |bench, n| bench.rmdir(format!("m{n}")));
    assert!(removed.iter().all(|&times| times == 1), "{removed:?}");
    assert_eq!(bench.names("").unwrap(), ["d"]);
}

/// Four threads try each of a hundred things; how many succeeded in each.
fn count_successes(bench: &Bench, attempt: impl Fn(&Bench, usize) -> Result<(), Errno> + Sync) -> Vec<usize> {
    let wins = std::sync::Mutex::new(vec![0; 100]);
    on_threads(4, |_| {
        for n in 0..100 {
            if attempt(bench, n).is_ok() {
                wins.lock().unwrap()[n] += 1;
            }
        }
    });
    wins.into_inner().unwrap()
}

#[test]
fn a_file_is_written_while_its_directories_are_renamed() {
    let mut bench = over(|lower| {
        lower.file("a/b/f", vec![b'.'; 1000]).dir("other");
    });
    let node = bench.node("a/b/f").unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for n in 0..1000 {
                bench.write_node(node, n, "w").unwrap();
                assert_eq!(bench.raw().getattr(node).unwrap().size, 1000);
            }
        });
        let mut here = true;
        while !writer.is_finished() {
            let (from, to) = if here { ("a/b", "other/b") } else { ("other/b", "a/b") };
            bench.rename(from, to).unwrap();
            bench.rename("a", "a2").unwrap();
            bench.rename("a2", "a").unwrap();
            here = !here;
        }
    });
    bench.reopen();
    let path = if bench.has("a/b/f") { "a/b/f" } else { "other/b/f" };
    assert_eq!(bench.text(path).unwrap(), "w".repeat(1000));
}

#[test]
fn a_directory_is_listed_while_it_changes() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        for n in 0..100 {
            lower.file(format!("d/stays{n}"), "");
            upper.file(format!("d/upper{n}"), "");
        }
    });
    let done = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let names: Vec<_> =
                        bench.list("d").unwrap().into_iter().map(|entry| entry.name).collect();
                    let stays = names.iter().filter(|name| name.to_str().unwrap().starts_with("stays"));
                    assert_eq!(stays.count(), 100);
                    assert_eq!(names.iter().collect::<HashSet<_>>().len(), names.len());
                }
            });
        }
        for n in 0..100 {
            bench.unlink(format!("d/upper{n}")).unwrap();
            bench.create(format!("d/new{n}")).unwrap();
            bench.chmod(format!("d/stays{n}"), 0o600).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
    assert_eq!(bench.names("d").unwrap().len(), 200);
}

/// Anything may fail for lack of a name, but nothing may panic, hang, leak, or leave what a new mount shows
/// otherwise.
fn storm(bench: &mut Bench, threads: u64, steps: u64) {
    let path = |dice: &mut Dice| {
        let dir = ["", "a/", "b/", "a/sub/"][dice.roll(4) as usize];
        format!("{dir}{}", ["f", "g", "h", "a", "b", "sub"][dice.roll(6) as usize])
    };
    on_threads(threads, |thread| {
        let mut dice = Dice(thread + 1);
        for _ in 0..steps {
            let (one, two) = (path(&mut dice), path(&mut dice));
            let outcome = match dice.roll(12) {
                0 => bench.create(&one).map(drop),
                1 => bench.mkdir(&one).map(drop),
                2 => bench.unlink(&one),
                3 => bench.rmdir(&one),
                4 | 5 => bench.rename(&one, &two),
                6 => bench.rename_with(&one, &two, RenameMode::Exchange),
                7 => bench.link(&one, &two).map(drop),
                8 => bench.chmod(&one, 0o700).map(drop),
                9 => bench.list(&one).map(drop),
                10 => bench.text(&one).map(drop),
                _ => bench.stat(&one).map(drop),
            };
            assert_ne!(outcome, Err(Errno::IO));
        }
    });
    let live = tree(bench);
    bench.forget_all();
    assert_eq!(tree(bench), live, "what lookups find is what was there");
    bench.reopen();
    assert_eq!(tree(bench), live, "the next mount shows the same");
}

/// All paths with their numbers and links.
fn tree(bench: &Bench) -> Vec<(String, u64, u32)> {
    let mut all = Vec::new();
    let mut pending = vec![String::new()];
    while let Some(dir) = pending.pop() {
        for name in bench.names(&dir).unwrap() {
            let path = if dir.is_empty() { name } else { format!("{dir}/{name}") };
            let attr = bench.stat(&path).unwrap();
            if attr.kind == unionfuse::types::Kind::Directory {
                pending.push(path.clone());
            }
            all.push((path, attr.node.0, attr.nlink));
        }
    }
    all.sort();
    all
}

fn storm_layers([lower]: &[Layer; 1], upper: &Layer) {
    lower.file("a/f", "1").file("a/sub/g", "2").file("b/h", "3").link("b/f", "a/f").file("f", "4");
    upper.file("a/g", "5").whiteout("g").dir("b").file("h", "6").link("b/g", "h");
}

#[test]
fn a_storm_of_one_thread() {
    let mut bench = union(storm_layers);
    storm(&mut bench, 1, 3000);
}

#[test]
fn a_storm_of_four_threads() {
    let mut bench = union(storm_layers);
    storm(&mut bench, 4, 800);
}

/// A copy-up puts back the times that its directory had before; not those from before somebody set them.
#[test]
fn times_set_on_a_directory_stay_while_something_in_it_is_copied_up() {
    const FILES: u32 = 1500;
    let bench = over(|lower| {
        for n in 0..FILES {
            lower.file(format!("d/{n}"), "");
        }
    });
    bench.chmod("d", 0o755).unwrap();
    let upper = bench.upper();
    let ended = AtomicBool::new(false);
    let mut set: i64 = 1_000_000;
    thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..FILES {
                bench.chmod(format!("d/{n}"), 0o600).unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
        while !ended.load(Ordering::Relaxed) {
            set += 1;
            let mtime = Some(NewTime::At(Time { sec: set, nsec: 0 }));
            bench.setattr("d", SetAttr { mtime, ..SetAttr::default() }).unwrap();
            // Nobody else sets it; copies that are being published may show the present for a moment.
            for _ in 0..3 {
                let found = upper.stat("d").mtime();
                assert!(found >= set, "{found} after {set} was set");
            }
        }
    });
    assert_eq!(bench.stat("d").unwrap().mtime.sec, set);
    assert!(set > 1_000_010, "too few were set meanwhile");
}
