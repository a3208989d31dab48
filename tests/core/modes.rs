//! A plain user's daemon: modes that deny their owner, who it is, what has to be done for those who may.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{Gid, Uid};
use rustix::io::Errno;
use tempfile::TempDir;
use unionfuse::testing::release_all;
use unionfuse::types::Kind;

use crate::kit::bench::{Answer, Bench, ROOT, skip};
use crate::kit::faulty::{Fault, Faulty};
use crate::kit::layer::Layer;

/// Runs a test in a thread that is nobody's but a plain user's, with a place for what it makes and could not remove.
fn as_plain_user(test: impl FnOnce(&Path) + Send) {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, to become a plain user");
    }
    let place = TempDir::new().unwrap();
    std::fs::set_permissions(place.path(), PermissionsExt::from_mode(0o1777)).unwrap();
    std::thread::scope(|scope| {
        let body = || {
            let (user, group) = (Uid::from_raw(65534), Gid::from_raw(65534));
            rustix::thread::set_thread_res_gid(group, group, group).unwrap();
            rustix::thread::set_thread_res_uid(user, user, user).unwrap();
            test(place.path());
        };
        scope.spawn(body).join().unwrap();
    });
}

/// The modes of a tree.
type Modes = Vec<(PathBuf, u32)>;

/// What is done, and all modes below the upperdir after it.
struct Deed {
    name: &'static str,
    act: fn(&Bench) -> Answer<()>,
}

const DEEDS: [Deed; 9] = [
    Deed {
        name: "a write to a file in a closed directory",
        act: |bench| bench.write("ro/f", "new").map(drop),
    },
    Deed { name: "chmod of such a file", act: |bench| bench.chmod("ro/f", 0o600).map(drop) },
    Deed {
        name: "times of a symlink in a closed directory",
        act: |bench| bench.set_xattr("ro/s", "user.x", "").or(Ok(())),
    },
    Deed { name: "a write to a hard link", act: |bench| bench.write("ro/h", "new").map(drop) },
    Deed {
        name: "chmod of a closed directory in a closed one",
        act: |bench| bench.chmod("ro/sub", 0o511).map(drop),
    },
    Deed {
        name: "a write below two closed directories",
        act: |bench| bench.write("ro/sub/f", "new").map(drop),
    },
    Deed {
        name: "a write to a file that may not be written to",
        act: |bench| {
            let node = bench.node("up/r")?;
            bench.write_node(node, 0, "new")
        },
    },
    Deed {
        name: "a new file that may not be written to",
        act: |bench| {
            let node = bench.mknod(ROOT, "up/new", Kind::File, 0o444, 0)?.node;
            bench.write_node(node, 0, "new")
        },
    },
    Deed {
        name: "such a file in place of another one",
        act: |bench| {
            let node = bench.mknod(ROOT, "gone", Kind::File, 0o400, 0)?.node;
            bench.write_node(node, 0, "new")
        },
    },
];

fn prepare(place: &Path) -> Bench {
    Bench::prepare_in(TempDir::new_in(place).unwrap(), |[lower]: &[Layer; 1], upper| {
        lower
            .file("ro/f", "old")
            .symlink("ro/s", "f")
            .file("ro/h", "linked")
            .link("ro/h2", "ro/h")
            .link("h3", "ro/h");
        lower.file("ro/sub/f", "deep").file("gone", "").mode("ro/sub", 0o555).mode("ro", 0o555);
        upper.file("up/r", "old").mode("up/r", 0o444).whiteout("gone");
    })
}

/// The modes of all that both trees have, whatever else happened to be done.
fn modes(dir: &Path) -> Modes {
    let mut found = Vec::new();
    let mut pending = vec![dir.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = std::fs::symlink_metadata(&path).unwrap();
        found.push((path.strip_prefix(dir).unwrap().to_owned(), meta.permissions().mode() & 0o7777));
        if meta.is_dir() {
            pending.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
    }
    found
}

fn assert_modes(bench: &Bench, allowed: &[Modes], context: &str) {
    for (path, mode) in modes(&bench.upper().root) {
        let mut known = allowed.iter().flatten().filter(|(one, _)| *one == path).peekable();
        // A directory that is copied up for its entry has the lower one's mode.
        let lower = std::fs::symlink_metadata(bench.lower().path(&path))
            .map(|meta| meta.permissions().mode() & 0o7777);
        assert!(
            known.any(|(_, one)| *one == mode) || lower.is_ok_and(|lower| lower == mode),
            "{context}: {path:?} has {mode:o}"
        );
    }
}

#[test]
fn what_others_may_do_is_done() {
    as_plain_user(|place| {
        for Deed { name, act } in DEEDS {
            let mut bench = prepare(place);
            bench.open();
            act(&bench).unwrap_or_else(|errno| panic!("{name}: {errno}"));
            assert_eq!(bench.stat("ro").unwrap().perm, 0o555, "{name}");
            assert_eq!(bench.stat("up/r").unwrap().perm, 0o444, "{name}");
            let wanted = modes(&bench.upper().root);
            // Opening again what is not open any more.
            release_all();
            bench.forget_all();
            act(&bench).or_else(|errno| if errno == Errno::EXIST { Ok(()) } else { Err(errno) }).unwrap();
            assert_eq!(modes(&bench.upper().root), wanted, "{name}");
            bench.close();
        }
    });
}

#[test]
fn a_file_in_a_directory_that_was_closed_is_written_by_who_has_it_open() {
    as_plain_user(|place| {
        let mut bench = prepare(place);
        bench.open();
        let node = bench.node("up/r").unwrap();
        bench.chmod("up", 0).unwrap();
        for text in ["one", "two"] {
            release_all();
            bench.write_node(node, 0, text).unwrap();
            assert_eq!(bench.raw().getattr(node).unwrap().perm, 0o444);
        }
        assert_eq!(bench.upper().stat("up").permissions().mode() & 0o7777, 0);
        bench.chmod("up", 0o755).unwrap();
        assert_eq!(bench.upper().stat("up/r").permissions().mode() & 0o7777, 0o444);
        assert_eq!(bench.text("up/r").unwrap(), "two");
    });
}

#[test]
fn stopped_anywhere_a_mode_is_the_old_or_the_new_one() {
    as_plain_user(|place| {
        let mut points = 0;
        for Deed { name, act } in DEEDS {
            let (before, after, calls) = outcome(place, act);
            assert!(!calls.is_empty(), "{name}");
            for at in 0..=calls.len() {
                let mut bench = prepare(place);
                let store = Arc::new(Faulty::new());
                bench.open_on(store.clone());
                store.arm(Fault::Stop(at));
                // Whatever it answers: it is not there any more.
                act(&bench).ok();
                bench.abandon();
                store.disarm();
                bench.reopen_on(Arc::new(Faulty::new()));
                assert_modes(&bench, &[before.clone(), after.clone()], &format!("{name}: {at} of {calls:?}"));
                bench.close();
                points += 1;
            }
        }
        assert!(points > 200, "{points}");
    });
}

#[test]
fn failing_anywhere_no_mode_is_a_third_one() {
    as_plain_user(|place| {
        for Deed { name, act } in DEEDS {
            let (before, after, calls) = outcome(place, act);
            for at in 0..calls.len() {
                let mut bench = prepare(place);
                let store = Arc::new(Faulty::new());
                bench.open_on(store.clone());
                store.arm(Fault::Fail(at, Errno::IO));
                let answer = act(&bench);
                store.disarm();
                let context = format!("{name}: {at} of {calls:?}: {answer:?}");
                assert_modes(&bench, &[before.clone(), after.clone()], &context);
                bench.forget_all();
                bench.abandon();
                bench.reopen();
                assert_modes(&bench, &[before.clone(), after.clone()], &context);
            }
        }
    });
}

fn outcome(place: &Path, act: fn(&Bench) -> Answer<()>) -> (Modes, Modes, Vec<&'static str>) {
    let mut bench = prepare(place);
    let store = Arc::new(Faulty::new());
    bench.open_on(store.clone());
    let before = modes(&bench.upper().root);
    store.arm(Fault::None);
    act(&bench).unwrap();
    let calls = store.disarm();
    (before, modes(&bench.upper().root), calls)
}

#[test]
fn nobody_sees_a_mode_that_is_widened_for_a_moment() {
    as_plain_user(|place| {
        let mut bench = prepare(place);
        bench.open();
        let file = bench.node("up/r").unwrap();
        let dir = bench.node("ro").unwrap();
        let ended = AtomicBool::new(false);
        let seen = AtomicU32::new(0);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !ended.load(Ordering::Relaxed) {
                    for (node, perm) in [(file, 0o444), (dir, 0o555)] {
                        assert_eq!(bench.raw().getattr(node).unwrap().perm, perm);
                    }
                    seen.fetch_add(1, Ordering::Relaxed);
                }
            });
            for round in 0..400 {
                release_all();
                bench.write_node(file, 0, format!("{round}")).unwrap();
            }
            for path in ["ro/f", "ro/h", "ro/sub/f"] {
                bench.write(path, "new").unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
        assert!(seen.load(Ordering::Relaxed) > 400);
        // What is really changed is seen at once.
        bench.write_node(file, 0, "x").unwrap();
        assert_eq!(bench.chmod("up/r", 0o644).unwrap().perm, 0o644);
        assert_eq!(bench.stat("up/r").unwrap().perm, 0o644);
    });
}

#[test]
fn records_of_others_change_nothing() {
    let mut bench = prepare(&std::env::temp_dir());
    bench.open();
    bench.create("mine").unwrap();
    bench.chmod("mine", 0o644).unwrap();
    let upper = bench.upper();
    let ino = upper.ino("mine");
    bench.close();
    let work = Layer { root: bench.dir().join("work/work") };
    let record = |name: &str, target: &str| {
        work.symlink(name, target);
        // Not the file's owner's.
        std::os::unix::fs::lchown(work.path(name), Some(1), Some(1))
    };
    if record(&format!("#mode.{ino:x}.444.644"), "mine").is_err() {
        return skip("needs root, to be somebody else");
    }
    work.symlink(format!("#mode.{ino:x}.40.640"), "mine")
        .symlink(format!("#mode.{ino:x}.244.644"), "../upper/mine");
    bench.reopen();
    assert_eq!(upper.stat("mine").permissions().mode() & 0o7777, 0o644);
    bench.close();
    work.symlink(format!("#mode.{ino:x}.444.644"), "mine");
    bench.reopen();
    assert_eq!(upper.stat("mine").permissions().mode() & 0o7777, 0o444, "its owner's counts");
}

/// Descriptors of this process that are open for writing below a directory.
fn open_for_writing(dir: &Path) -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    let is_writable = |fd: &std::ffi::OsStr| {
        let info = std::fs::read_to_string(Path::new("/proc/self/fdinfo").join(fd)).unwrap_or_default();
        let flags = info.lines().find_map(|line| line.strip_prefix("flags:\t")).unwrap_or("0");
        let flags = i32::from_str_radix(flags, 8).unwrap();
        flags & libc::O_PATH == 0 && flags & libc::O_ACCMODE != libc::O_RDONLY
    };
    open.filter(|entry| {
        std::fs::read_link(entry.path()).is_ok_and(|path| path.starts_with(dir))
            && is_writable(&entry.file_name())
    })
    .count()
}

#[test]
fn what_is_not_used_is_not_kept_open_for_writing() {
    let mut bench = prepare(&std::env::temp_dir());
    bench.open();
    bench.raw().close_idle_files().unwrap();
    let upper = bench.upper().root;
    let [used, idle] = ["used", "idle"].map(|name| bench.write(name, "text").unwrap().0);
    let node = |name: &str| bench.node(name).unwrap();
    let (used_node, idle_node) = (node("used"), node("idle"));
    assert_ne!(used, idle);
    // Another test may close what is open of all unions, so what is used is opened again now and then.
    let begun = Instant::now();
    let left = |node| {
        bench.write_node(node, 0, "!").unwrap();
        open_for_writing(&upper)
    };
    while left(used_node) > 1 {
        assert!(begun.elapsed() < Duration::from_secs(20), "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
    bench.write_node(idle_node, 0, "again").unwrap();
    assert_eq!(bench.text("idle").unwrap(), "again");
    let begun = Instant::now();
    while open_for_writing(&upper) > 0 {
        assert!(begun.elapsed() < Duration::from_secs(20), "still open");
        std::thread::sleep(Duration::from_millis(50));
    }
}
