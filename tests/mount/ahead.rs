//! Directories are listed before the kernel asks. What it is told of them must be as new as if they were not.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::kit::alone::Alone;
use crate::kit::recipe::{Layer, layer};
use crate::kit::subject::ours_or_skip;

const DIRECTORIES: usize = 60;
const FILES: usize = 12;

fn tree() -> Layer {
    (0..DIRECTORIES)
        .fold(layer(), |layer, d| (0..FILES).fold(layer, |layer, f| layer.file(&path_of(d, f), "data")))
}

fn path_of(directory: usize, file: usize) -> String {
    format!("a{}/b{}/c{directory}/f{file}", directory / 20, directory / 5)
}

/// What `find -ls` does. `listed` is called for each directory that was listed, before what is in it is looked at.
fn walk(dir: &Path, listed: &mut dyn FnMut(), seen: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(dir) else { return };
    let entries: Vec<_> = entries.flatten().collect();
    listed();
    for entry in entries {
        if entry.metadata().is_ok_and(|meta| meta.is_dir()) {
            walk(&entry.path(), listed, seen);
        }
        seen.push(entry.path());
    }
}

fn append(path: &Path, data: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(data.as_bytes()).unwrap();
}

/// A walk stops after a few directories, until what comes next is listed ahead; then it changes, and the walk goes on.
#[test]
fn what_changes_when_it_is_listed_ahead_already() {
    if !ours_or_skip() {
        return;
    }
    let mut union = Alone::new(&[tree()], &layer());
    for (round, stop) in [3, 8, 13, 21].into_iter().enumerate() {
        let root = union.root().to_owned();
        let mut listed = 0;
        let mut go_on = || {
            listed += 1;
            if listed == stop {
                thread::sleep(Duration::from_millis(100));
                for directory in 0..DIRECTORIES {
                    append(&root.join(path_of(directory, 0)), "more");
                    fs::set_permissions(root.join(path_of(directory, 1)), mode_of(round)).unwrap();
                    let removed = root.join(path_of(directory, round + 2));
                    fs::remove_file(&removed).unwrap();
                }
            }
        };
        walk(&root, &mut go_on, &mut Vec::new());
        for directory in 0..DIRECTORIES {
            let path = root.join(path_of(directory, 0));
            let expected = 4 * (round as u64 + 2);
            assert_eq!(fs::metadata(&path).unwrap().size(), expected, "{}", path.display());
            assert_eq!(fs::read(&path).unwrap().len() as u64, expected, "{}", path.display());
            let path = root.join(path_of(directory, 1));
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, mode_of(round).mode());
            assert!(!root.join(path_of(directory, round + 2)).exists());
            let left = fs::read_dir(path.parent().unwrap()).unwrap().count();
            assert_eq!(left, FILES - round - 1, "{}", path.display());
        }
        union.remount();
    }
    union.unmount();
}

fn mode_of(round: usize) -> fs::Permissions {
    fs::Permissions::from_mode(0o600 + round as u32)
}

/// One walks the tree again and again, each time of a new mount, while another changes files in it.
fn walked_while(change: impl Fn(&Path, usize) + Sync, check: impl Fn(&Path, usize, usize)) {
    if !ours_or_skip() {
        return;
    }
    let mut union = Alone::new(&[tree()], &layer());
    for round in 0..6 {
        let root = union.root().to_owned();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    walk(&root, &mut || (), &mut Vec::new());
                }
            });
            let mut walked = Vec::new();
            // Beginning where the walk is not yet, and with pauses that let the listing ahead begin again.
            for directory in (round..DIRECTORIES).chain(0..round) {
                change(&root, directory);
                if directory % 7 == round {
                    walk(&root.join(format!("a{}", directory / 20)), &mut || (), &mut walked);
                }
            }
            done.store(true, Ordering::Relaxed);
        });
        for directory in 0..DIRECTORIES {
            check(&root, round, directory);
        }
        union.remount();
        for directory in 0..DIRECTORIES {
            check(union.root(), round, directory);
        }
    }
    union.unmount();
}

#[test]
fn sizes_of_files_that_grow_during_walks() {
    walked_while(
        |root, directory| {
            let path = root.join(path_of(directory, directory % FILES));
            let before = fs::metadata(&path).unwrap().size();
            append(&path, "more");
            assert_eq!(fs::metadata(&path).unwrap().size(), before + 4, "{}", path.display());
        },
        |root, round, directory| {
            let path = root.join(path_of(directory, directory % FILES));
            let expected = 4 * (round as u64 + 2);
            assert_eq!(fs::metadata(&path).unwrap().size(), expected, "{}", path.display());
            assert_eq!(fs::read(&path).unwrap().len() as u64, expected, "{}", path.display());
        },
    );
}

#[test]
fn names_that_come_and_go_during_walks() {
    walked_while(
        |root, directory| {
            let dir = root.join(path_of(directory, 0)).parent().unwrap().to_owned();
            let (from, to) = (dir.join("f1"), dir.join("moved"));
            let (from, to) = if from.exists() { (from, to) } else { (to, from) };
            fs::rename(&from, &to).unwrap();
            assert!(!from.exists() && to.exists(), "{}", dir.display());
            fs::write(dir.join("new"), "new").unwrap();
            fs::remove_file(dir.join("new")).unwrap();
            assert!(!dir.join("new").exists(), "{}", dir.display());
        },
        |root, round, directory| {
            let dir = root.join(path_of(directory, 0)).parent().unwrap().to_owned();
            let mut names: Vec<_> =
                fs::read_dir(&dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            assert_eq!(names.len(), FILES, "{}: {names:?}", dir.display());
            assert_eq!(dir.join("moved").exists(), round % 2 == 0, "{}: {names:?}", dir.display());
            assert_eq!(
                names.iter().any(|name| name == "moved"),
                round % 2 == 0,
                "{}: {names:?}",
                dir.display()
            );
        },
    );
}

#[test]
fn a_walk_of_a_new_mount_shows_everything_once() {
    if !ours_or_skip() {
        return;
    }
    let mut union = Alone::new(&[tree(), layer().file("a1/more", "").file("z", "")], &layer());
    for _ in 0..5 {
        let mut seen = Vec::new();
        walk(union.root(), &mut || (), &mut seen);
        let count = seen.len();
        seen.sort();
        seen.dedup();
        assert_eq!(seen.len(), count, "listed twice");
        // a0..a2, b0..b11, the directories and their files, and the two more.
        assert_eq!(count, 3 + 12 + DIRECTORIES + DIRECTORIES * FILES + 2);
        union.remount();
    }
    union.unmount();
}
