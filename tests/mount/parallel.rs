//! Many threads at once.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Barrier;

use crate::kit::alone::Alone;
use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::layer;
use crate::kit::run::errno;
use crate::kit::subject::ours_or_skip;

const THREADS: usize = 8;

/// Runs `work` in threads that start together.
fn together(work: impl Fn(usize) + Sync) {
    let start = Barrier::new(THREADS);
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let (start, work) = (&start, &work);
            scope.spawn(move || {
                start.wait();
                work(thread);
            });
        }
    });
}

#[test]
fn a_file_is_copied_up_once() {
    if !ours_or_skip() {
        return;
    }
    let lower = (0..40).fold(layer(), |layer, i| layer.file(&format!("d/f{i}"), "x".repeat(200_000)));
    let mut union = Alone::new(&[lower], &layer());
    let root = union.root().to_owned();
    for i in 0..40 {
        let path = root.join(format!("d/f{i}"));
        together(|thread| {
            let mut file = OpenOptions::new().append(true).open(&path).unwrap();
            file.write_all(&[b'0' + thread as u8; 10]).unwrap();
        });
    }
    for _ in 0..2 {
        for i in 0..40 {
            let data = fs::read(root.join(format!("d/f{i}"))).unwrap();
            assert_eq!(data.len(), 200_000 + 10 * THREADS, "f{i}: an append was lost");
            let mut tails: Vec<&[u8]> = data[200_000..].chunks(10).collect();
            tails.sort();
            let whole: Vec<Vec<u8>> = (0..THREADS).map(|thread| vec![b'0' + thread as u8; 10]).collect();
            assert_eq!(tails, whole, "f{i}");
        }
        union.remount();
    }
    union.unmount();
}

#[test]
fn one_creation_wins() {
    if !ours_or_skip() {
        return;
    }
    let union = Alone::new(&[layer().dir("d").file("d/f", "")], &layer());
    let root = union.root();
    for round in 0..50 {
        let wins = std::sync::atomic::AtomicUsize::new(0);
        together(|thread| {
            let path = root.join(format!("d/new{round}"));
            let won = match thread % 3 {
                0 => fs::create_dir(&path).is_ok(),
                1 => OpenOptions::new().write(true).create_new(true).open(&path).is_ok(),
                _ => std::os::unix::fs::symlink("x", &path).is_ok(),
            };
            wins.fetch_add(usize::from(won), std::sync::atomic::Ordering::SeqCst);
        });
        assert_eq!(wins.into_inner(), 1, "round {round}");
    }
    union.unmount();
}

/// What one thread does under a directory of its own, in a tree that the layers share.
fn busy(thread: usize) -> std::io::Result<()> {
    let lower = |i: usize| format!("t{thread}/sub/f{i}");
    let home = format!("t{thread}");
    for i in 0..25 {
        fs::write(lower(i), format!("changed by {thread}"))?;
        fs::rename(lower(i), format!("{home}/moved{i}"))?;
        fs::create_dir(lower(i))?;
        fs::write(format!("{}/x", lower(i)), "x")?;
        if i % 3 == 0 {
            fs::remove_dir_all(lower(i))?;
        }
        if i % 4 == 0 {
            fs::rename(format!("{home}/sub"), format!("{home}/sub2"))?;
            fs::rename(format!("{home}/sub2"), format!("{home}/sub"))?;
        }
        if Path::new("shared/f").exists() {
            fs::hard_link(format!("{home}/moved{i}"), format!("shared/{thread}_{i}"))?;
        }
    }
    fs::rename(format!("{home}/sub"), format!("shared/sub{thread}"))
}

#[test]
fn threads_in_their_own_directories_leave_what_one_would() {
    let fill = |from: usize, to: usize| {
        let each = move |layer: crate::kit::recipe::Layer, thread: usize| {
            (from..to).fold(layer, |layer, i| layer.file(&format!("t{thread}/sub/f{i}"), format!("{i}")))
        };
        (0..THREADS).fold(layer().file("shared/f", ""), each)
    };
    // The threads are children of the script's thread and share its working directory.
    let all = call("everybody at once", || {
        std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS).map(|thread| scope.spawn(move || busy(thread))).collect();
            threads.into_iter().try_for_each(|thread| thread.join().expect("no panic").map_err(errno))
        })?;
        Ok("done".into())
    });
    // The kernel's overlayfs puts the times of a parent back after a copy-up, and loses to itself when two copy up at once.
    let mut lines = case().lower(fill(0, 15)).lower(fill(10, 25)).run([all, list("shared")]).differences();
    lines.retain(|line| !line.contains(r#": mtime "touched by the script" (kernel), "1000000000"#));
    assert!(lines.is_empty(), "{lines:#?}");
}

/// An answer about a directory that arrives after another client's change must not count as new. Without a notification that
/// happens once in some ten thousand rounds, so this is as much of it as there is time for.
#[test]
fn times_of_a_directory_are_never_those_of_before_a_change() {
    if !ours_or_skip() {
        return;
    }
    let union = Alone::new(&[layer()], &layer().file("d/f0", ""));
    let dir = union.root().join("d");
    let upper = union.stack.upper.as_ref().unwrap().0.join("d");
    let (begin, end) = (Barrier::new(2), Barrier::new(2));
    const ROUNDS: usize = 4000;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for _ in 0..ROUNDS {
                begin.wait();
                fs::metadata(&dir).unwrap();
                end.wait();
            }
        });
        for round in 0..ROUNDS {
            // What is known of the directory is out of date, so that both clients ask.
            fs::write(dir.join("new"), "").unwrap();
            begin.wait();
            fs::rename(dir.join("new"), dir.join("old")).unwrap();
            end.wait();
            let times = [&dir, &upper].map(|dir| fs::metadata(dir).unwrap().modified().unwrap());
            assert_eq!(times[0], times[1], "round {round}");
        }
    });
    union.unmount();
}
