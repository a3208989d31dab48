//! Lookups that are overtaken by renames. Through a mount the kernel keeps them apart.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use unionfuse::types::{Kind, NodeId, RenameMode};

use crate::kit::bench::{Bench, ROOT, errno, name as as_name};
use crate::kit::faulty::{Fault, Faulty};
use crate::kit::layer::Layer;

/// The moments of two threads, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    Preparing,
    LookedAt,
    Renamed,
    Found,
    RenamedBack,
}

#[derive(Clone)]
struct Clock(Arc<(Mutex<Moment>, Condvar)>);

impl Clock {
    fn new() -> Self {
        Self(Arc::new((Mutex::new(Moment::Preparing), Condvar::new())))
    }

    fn reach(&self, moment: Moment) {
        *self.0.0.lock().unwrap() = moment;
        self.0.1.notify_all();
    }

    fn now(&self) -> Moment {
        *self.0.0.lock().unwrap()
    }

    fn wait_for(&self, moment: Moment) {
        let (now, changed) = &*self.0;
        let wait =
            changed.wait_timeout_while(now.lock().unwrap(), Duration::from_secs(20), |now| *now < moment);
        assert!(!wait.unwrap().1.timed_out(), "{moment:?} is never reached");
    }
}

fn root(bench: &Bench, name: &str) -> Option<NodeId> {
    errno(bench.raw().lookup(NodeId::ROOT, as_name(name))).unwrap().map(|entry| entry.give_to_kernel().node)
}

fn rename(bench: &Bench, from: &str, to: &str) {
    bench.raw().rename(NodeId::ROOT, as_name(from), NodeId::ROOT, as_name(to), RenameMode::Replace).unwrap();
}

/// A bench whose renaming thread stops after its first rename on the disk until a lookup of `name` has come to its end.
/// With `from_before`, that lookup saw the name before the rename.
fn overtaken(
    fill: impl FnOnce(&[Layer; 1], &Layer),
    prepare: impl FnOnce(&Bench),
    (from, to): (&str, &str),
    (name, from_before): (&str, bool),
) -> (Bench, Option<NodeId>) {
    let clock = Clock::new();
    let armed = Arc::new(AtomicBool::new(false));
    let watch = {
        let (clock, armed) = (clock.clone(), armed.clone());
        move |call: &'static str| {
            let thread = thread::current();
            match (armed.load(Ordering::Relaxed), thread.name(), call, clock.now()) {
                (true, Some("looks"), "stat", Moment::Preparing) => {
                    clock.reach(Moment::LookedAt);
                    clock.wait_for(Moment::Renamed);
                }
                (true, Some("renames"), "rename", Moment::LookedAt) => {
                    clock.reach(Moment::Renamed);
                    clock.wait_for(Moment::Found);
                }
                _ => {}
            }
        }
    };
    let mut bench = Bench::prepare(fill);
    bench.config.redirect_dir = Some(true);
    bench.open_on(Arc::new(Faulty::watched(watch)));
    prepare(&bench);
    bench.forget_all();
    armed.store(true, Ordering::Relaxed);
    if !from_before {
        clock.reach(Moment::LookedAt);
    }
    let found = thread::scope(|scope| {
        let renames = || {
            clock.wait_for(Moment::LookedAt);
            rename(&bench, from, to);
        };
        let looks = || {
            if !from_before {
                clock.wait_for(Moment::Renamed);
            }
            let found = root(&bench, name);
            clock.reach(Moment::Found);
            found
        };
        thread::Builder::new().name("renames".into()).spawn_scoped(scope, renames).unwrap();
        thread::Builder::new().name("looks".into()).spawn_scoped(scope, looks).unwrap().join().unwrap()
    });
    (bench, found)
}

#[test]
fn a_directory_is_not_merged_by_the_marks_of_what_took_its_place() {
    let (bench, found) = overtaken(
        |[lower], upper| {
            lower.file("x/low", "");
            upper.file("d/up", "");
        },
        |bench| {
            bench.unlink("x/low").unwrap();
            bench.rmdir("x").unwrap();
            bench.rename("d", "x").unwrap();
        },
        ("x", "moved"),
        ("x", true),
    );
    assert_eq!(bench.names("moved").unwrap(), ["up"]);
    if let Some(node) = found {
        assert_eq!(bench.node("moved"), Ok(node), "one directory, two nodes");
        bench.raw().forget(node, 1);
    }
}

#[test]
fn a_directory_that_is_about_to_be_replaced_is_the_one_it_was() {
    let (bench, found) = overtaken(
        |[lower], upper| {
            lower.file("target/x", "");
            upper.whiteout("target/x").dir("source");
        },
        |_| {},
        ("source", "target"),
        ("target", false),
    );
    let node = found.unwrap();
    assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0);
    let made = errno(bench.raw().mkdir(ROOT, node, as_name("new"), 0o755));
    assert_eq!(made.err(), Some(Errno::NOENT), "the directory was removed");
    bench.raw().forget(node, 1);
    assert_eq!(bench.names("target").unwrap(), [""; 0]);
}

#[test]
fn attributes_are_the_files_own_though_names_were_exchanged_and_back() {
    let clock = Clock::new();
    let watch = {
        let clock = clock.clone();
        move |call: &'static str| match (thread::current().name(), call, clock.now()) {
            (Some("reads"), "before get_xattr", Moment::Preparing) => {
                clock.reach(Moment::LookedAt);
                clock.wait_for(Moment::Renamed);
            }
            (Some("reads"), "get_xattr", Moment::Renamed) => {
                clock.reach(Moment::Found);
                clock.wait_for(Moment::RenamedBack);
            }
            _ => {}
        }
    };
    let mut bench = Bench::prepare(|_: &[Layer; 1], upper| {
        upper.file("a", "").set("a", "user.name", "a").file("b", "");
    });
    bench.open_on(Arc::new(Faulty::watched(watch)));
    let node = bench.node("a").unwrap();
    let exchange = || bench.rename_with("a", "b", RenameMode::Exchange).unwrap();
    let value = thread::scope(|scope| {
        let read = || errno(bench.raw().get_xattr(node, "user.name".as_ref()));
        let reads = thread::Builder::new().name("reads".into()).spawn_scoped(scope, read).unwrap();
        clock.wait_for(Moment::LookedAt);
        exchange();
        clock.reach(Moment::Renamed);
        clock.wait_for(Moment::Found);
        exchange();
        clock.reach(Moment::RenamedBack);
        reads.join().unwrap()
    });
    assert_eq!(value.as_deref(), Ok(&b"a"[..]));
}

/// A watch that stops a thread's first lookup when it has seen a directory of the upperdir and its marks, until the rename.
fn stop_after_marks(clock: &Clock) -> impl Fn(&'static str) + Send + Sync + 'static {
    let (clock, stats) = (clock.clone(), AtomicUsize::new(0));
    move |call| {
        let looks = thread::current().name() == Some("looks") && call == "stat";
        // The second look makes sure that the marks, read after the first, are the directory's.
        if looks && stats.fetch_add(1, Ordering::Relaxed) == 1 {
            clock.reach(Moment::LookedAt);
            clock.wait_for(Moment::Renamed);
        }
    }
}

/// What a lookup finds that is stopped by [`stop_after_marks`] while `change` is made and all is forgotten.
fn looked_up_during(bench: &Bench, clock: &Clock, name: &str, change: impl FnOnce()) -> NodeId {
    thread::scope(|scope| {
        let look = || root(bench, name).unwrap();
        let looks = thread::Builder::new().name("looks".into()).spawn_scoped(scope, look).unwrap();
        clock.wait_for(Moment::LookedAt);
        change();
        bench.forget_all();
        clock.reach(Moment::Renamed);
        looks.join().unwrap()
    })
}

#[test]
fn a_directory_that_is_marked_while_it_is_looked_up_shows_the_numbers_of_origins() {
    let clock = Clock::new();
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], upper| {
        lower.file("from/f", "");
        upper.dir("from").dir("into");
    });
    bench.open_on(Arc::new(Faulty::watched(stop_after_marks(&clock))));
    let into = looked_up_during(&bench, &clock, "into", || bench.rename("from/f", "into/f").unwrap());
    let found = errno(bench.raw().lookup(into, as_name("f"))).unwrap().unwrap().give_to_kernel().node;
    assert_eq!(found.0, bench.lower().ino("from/f"));
    bench.raw().forget(found, 1);
    bench.raw().forget(into, 1);
}

const NO_RENAMES: Fault = Fault::Lack(&[("rename", Errno::NOSPC)]);

/// A bench with a directory `target` that has to be emptied before `source` can replace it. `watch` may let that fail.
fn over_whiteouts(watch: impl Fn(&'static str, &Faulty) + Send + Sync + 'static) -> (Bench, Arc<Faulty>) {
    let known: Arc<OnceLock<Arc<Faulty>>> = Arc::default();
    let own = known.clone();
    let store = Arc::new(Faulty::watched(move |call| {
        if let Some(store) = own.get() {
            watch(call, store);
        }
    }));
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], upper| {
        lower.file("target/x", "");
        upper.whiteout("target/x").dir("source");
    });
    bench.open_on(store.clone());
    known.set(store.clone()).unwrap();
    (bench, store)
}

#[test]
fn a_directory_that_is_emptied_while_it_is_looked_up_is_the_emptied_one() {
    let clock = Clock::new();
    let stop = stop_after_marks(&clock);
    let (bench, store) = over_whiteouts(move |call, store| match call {
        "rename" => store.arm(NO_RENAMES),
        _ => stop(call),
    });
    let target = looked_up_during(&bench, &clock, "target", || {
        assert_eq!(bench.rename("source", "target"), Err(Errno::NOSPC));
        store.disarm();
    });
    let made = errno(bench.raw().mknod(ROOT, target, as_name("new"), Kind::File, 0o644, 0));
    drop(made.unwrap());
    bench.raw().forget(target, 1);
    assert_eq!(bench.names("target").unwrap(), ["new"]);
}

/// Who waits for a directory that is emptied to be replaced finds it as it is when that fails.
#[test]
fn a_file_is_made_in_a_directory_that_is_not_replaced_after_all() {
    let clock = Clock::new();
    let (bench, store) = {
        let clock = clock.clone();
        over_whiteouts(move |call, store| {
            if (thread::current().name(), call) == (Some("renames"), "rename") {
                store.arm(NO_RENAMES);
                clock.reach(Moment::Renamed);
                // Long enough for the other thread to come to the directory's gate.
                thread::sleep(Duration::from_millis(100));
            }
        })
    };
    let target = bench.node("target").unwrap();
    let (renamed, made) = thread::scope(|scope| {
        let rename = || bench.rename("source", "target");
        let renames = thread::Builder::new().name("renames".into()).spawn_scoped(scope, rename).unwrap();
        clock.wait_for(Moment::Renamed);
        let made = errno(bench.raw().mknod(ROOT, target, as_name("new"), Kind::File, 0o644, 0));
        (renames.join().unwrap(), made)
    });
    store.disarm();
    assert_eq!(renamed, Err(Errno::NOSPC));
    drop(made.unwrap());
    assert_eq!(bench.names("target").unwrap(), ["new"]);
}

/// A node that is made of what a rename has moved must not be found by others.
#[test]
fn a_directory_that_nobody_knows_is_found_while_it_is_renamed() {
    let mut bench = Bench::prepare(|_: &[Layer; 1], upper| {
        upper.dir("here/x");
    });
    bench.open_on(Arc::new(Faulty::watched(|_| {
        if thread::current().name() == Some("late") {
            thread::sleep(Duration::from_micros(20));
        }
    })));
    let until = Instant::now() + Duration::from_secs(2);
    let look = &|name| {
        while Instant::now() < until {
            let Some(node) = root(&bench, name) else { continue };
            let inside = errno(bench.raw().lookup(node, as_name("x")));
            bench.raw().forget(node, 1);
            drop(inside.unwrap().expect("the directory is never empty"));
        }
    };
    thread::scope(|scope| {
        for (thread, name) in [("late", "here"), ("late", "there"), ("", "here"), ("", "there")] {
            let look = move || look(name);
            thread::Builder::new().name(thread.into()).spawn_scoped(scope, look).unwrap();
        }
        while Instant::now() < until {
            rename(&bench, "here", "there");
            rename(&bench, "there", "here");
        }
    });
}

/// A reader that opens a lower file while it is copied up must not leave it behind as the node's file: changes would then reach
/// the lower layer, which every bench compares at its end.
#[test]
fn a_reader_overtaken_by_a_copy_up() {
    let clock = Clock::new();
    let watch = {
        let clock = clock.clone();
        move |call: &'static str| {
            if thread::current().name() == Some("reads") && call == "before open" {
                clock.reach(Moment::LookedAt);
                clock.wait_for(Moment::Renamed);
            }
        }
    };
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.file("d/f", "old").mode("d/f", 0o644);
    });
    bench.open_on(Arc::new(Faulty::watched(watch)));
    let node = bench.node("d/f").unwrap();
    thread::scope(|scope| {
        let read = || bench.raw().read(node, 0, &mut [0; 8]).unwrap();
        let reader = thread::Builder::new().name("reads".into()).spawn_scoped(scope, read).unwrap();
        clock.wait_for(Moment::LookedAt);
        bench.write_node(node, 0, "new").unwrap();
        clock.reach(Moment::Renamed);
        reader.join().unwrap();
    });
    assert_eq!(bench.text("d/f").unwrap(), "new");
    bench.chmod("d/f", 0o600).unwrap();
    bench.set_xattr("d/f", "user.a", "b").unwrap();
    bench.write_node(node, 0, "newer").unwrap();
    assert_eq!(bench.text("d/f").unwrap(), "newer");
    assert_eq!(bench.upper().text("d/f"), "newer");
}

/// As a listing ahead may be overtaken: nothing but the operation keeps its directory.
#[test]
fn what_is_found_in_a_directory_keeps_it_though_it_is_forgotten_meanwhile() {
    let forgotten: Arc<OnceLock<(Arc<Bench>, NodeId)>> = Arc::default();
    let (meanwhile, once) = (forgotten.clone(), std::sync::Once::new());
    let store = Arc::new(Faulty::watched(move |call| {
        if let ("stat", Some((bench, node))) = (call, meanwhile.get()) {
            once.call_once(|| bench.raw().forget(*node, 1));
        }
    }));
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.file("d/f", "");
    });
    bench.open_on(store);
    let node = root(&bench, "d").unwrap();
    let bench = Arc::new(bench);
    forgotten.set((bench.clone(), node)).unwrap_or_else(|_| panic!("set once"));
    let found = errno(bench.raw().lookup(node, as_name("f"))).unwrap().unwrap();
    assert_eq!((bench.raw().live_nodes(), bench.raw().getattr(node).is_ok()), (3, true));
    drop(found);
    assert_eq!((bench.raw().live_nodes(), bench.raw().getattr(node).is_ok()), (1, false));
}

/// What is found in a directory that is in no table would be given to the kernel as if it were in the one of the same number that is
/// looked up next. So it is when a kernel gives more back than it was given.
#[test]
fn nothing_is_found_in_a_directory_that_is_forgotten_too_often() {
    let forgotten: Arc<OnceLock<(Arc<Bench>, NodeId)>> = Arc::default();
    let meanwhile = forgotten.clone();
    let store = Arc::new(Faulty::watched(move |call| {
        if let ("stat", Some((bench, node))) = (call, meanwhile.get()) {
            bench.raw().forget(*node, 9);
        }
    }));
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.file("d/f", "");
    });
    bench.open_on(store);
    let node = root(&bench, "d").unwrap();
    let bench = Arc::new(bench);
    forgotten.set((bench.clone(), node)).unwrap_or_else(|_| panic!("set once"));
    let found = errno(bench.raw().lookup(node, as_name("f")));
    assert_eq!(found.map(|entry| entry.map(|entry| entry.node.id())), Err(Errno::STALE));
    let listed = errno(bench.raw().read_dir(node, 0, true, &mut |_, _| std::ops::ControlFlow::Continue(())));
    assert_eq!(listed, Err(Errno::STALE));
    assert_eq!(bench.raw().live_nodes(), 1);
    // The store holds the bench, which holds the store: the test ends with the process of both.
    std::mem::forget(bench);
}
