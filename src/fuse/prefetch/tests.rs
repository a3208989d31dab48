use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::Path;

use rustix::io::Errno;
use tempfile::TempDir;

use super::*;
use crate::config::UnionConfig;
use crate::types::{Attr, Kind, Name, NewTime, SetAttr, Time};

const ROOT: crate::types::Caller = crate::types::Caller { uid: 0, gid: 0, pid: 0, umask: 0 };

/// A union, and listings of it that are made ahead when the test says so.
struct Bench {
    ahead: Prefetch,
    dir: TempDir,
}

impl Bench {
    fn new(fill: impl FnOnce(&Path, &Path)) -> Self {
        let dir = TempDir::new().unwrap();
        let [lower, upper, work] = ["lower", "upper", "work"].map(|name| dir.path().join(name));
        for layer in [&lower, &upper, &work] {
            fs::create_dir(layer).unwrap();
        }
        fill(&lower, &upper);
        let config = UnionConfig::new([lower]).with_upper(upper, Some(work));
        Self { ahead: Prefetch::unchecked(Arc::new(Union::open(&config, None).unwrap())), dir }
    }

    fn union(&self) -> &Union {
        &self.ahead.0.union
    }

    /// What the thread does; returns whether there was anything to do.
    fn step(&self) -> bool {
        self.ahead.0.step(&mut self.ahead.0.state.lock())
    }

    fn plan<T>(&self, look: impl FnOnce(&mut Plan) -> T) -> T {
        look(&mut self.ahead.0.state.lock().plan)
    }

    fn node(&self, path: &str) -> NodeId {
        path.split('/').fold(NodeId::ROOT, |dir, name| {
            self.union().lookup(dir, Name::try_from(name).unwrap()).unwrap().unwrap().give_to_kernel().node
        })
    }

    /// One answer of at most `room` entries; where the next begins, `None` at the end.
    fn answer(&self, key: Key, room: usize, list: &mut Vec<DirEntry>) -> Option<Key> {
        let before = list.len();
        self.ahead
            .list(key.0, key.1, &mut |entry| {
                if list.len() - before == room {
                    return ControlFlow::Break(());
                }
                list.push(entry.clone());
                ControlFlow::Continue(())
            })
            .unwrap();
        (list.len() > before).then(|| (key.0, list.last().unwrap().cookie))
    }

    fn list(&self, dir: NodeId, room: usize, between: &mut impl FnMut()) -> Vec<DirEntry> {
        let mut list = Vec::new();
        let mut next = Some((dir, 0));
        while let Some(key) = next {
            next = self.answer(key, room, &mut list);
            between();
        }
        list
    }

    /// Walks the tree as `find` does.
    fn walk(&self, room: usize, between: &mut impl FnMut()) -> Tree {
        let mut tree = Tree::new();
        self.walk_below(NodeId::ROOT, &OsString::new(), room, between, &mut tree);
        tree
    }

    fn walk_below(
        &self,
        dir: NodeId,
        path: &OsStr,
        room: usize,
        between: &mut impl FnMut(),
        tree: &mut Tree,
    ) {
        for entry in self.list(dir, room, between) {
            let Some(attr) = entry.attr else { continue };
            let path = [path, OsStr::new("/"), &entry.name].into_iter().collect::<OsString>();
            if attr.kind == Kind::Directory {
                self.walk_below(entry.node, &path, room, between, tree);
            }
            // Listing an upper directory is what changes its access time.
            let attr = Attr { atime: Time { sec: 0, nsec: 0 }, ..attr };
            assert!(tree.insert(path, attr).is_none(), "listed twice: {:?}", entry.name);
            self.union().forget(entry.node, 1);
        }
    }

    fn forget_what_is_ahead(&self) {
        self.plan(Plan::upset);
        while self.step() {}
    }
}

type Tree = BTreeMap<OsString, Attr>;

fn assert_same(found: &Tree, expected: &Tree, what: &str) {
    let difference = found.iter().zip(expected).find(|(found, expected)| found != expected);
    assert_eq!((found.len(), difference), (expected.len(), None), "{what}");
}

fn fill_tree(lower: &Path, upper: &Path) {
    for i in 0..6 {
        for j in 0..i {
            let dir = format!("d{i}/e{j}/deep");
            fs::create_dir_all(lower.join(&dir)).unwrap();
            for k in 0..(i * j) {
                fs::write(lower.join(&dir).join(format!("f{k}")), "x".repeat(k)).unwrap();
            }
        }
    }
    fs::create_dir_all(upper.join("d3/e1")).unwrap();
    fs::write(upper.join("d3/e1/new"), "new").unwrap();
    fs::create_dir_all(lower.join("large")).unwrap();
    for k in 0..LARGE {
        fs::write(lower.join("large").join(format!("f{k}")), "").unwrap();
    }
}

/// More entries than are kept ready.
const LARGE: usize = 3000;

#[test]
fn a_walk_shows_the_same_whatever_is_ahead() {
    let bench = Bench::new(fill_tree);
    let expected = bench.walk(100, &mut || ());
    assert!(expected.len() > LARGE + 100);
    for room in [1, 3, 200] {
        for steps in [0, 1, 2, 1000] {
            let mut most_ready = 0;
            let found = bench.walk(room, &mut || {
                (0..steps).take_while(|_| bench.step()).for_each(drop);
                most_ready = most_ready.max(bench.plan(|plan| usize::from(plan.is_ahead())));
            });
            assert_same(&found, &expected, &format!("{room} entries at once, {steps} steps"));
            assert_eq!(most_ready > 0, steps > 0, "{room} entries at once, {steps} steps");
        }
    }
    bench.forget_what_is_ahead();
    assert_eq!(bench.union().live_nodes(), 1, "references are left");
}

#[test]
fn a_walk_beside_the_thread_shows_the_same() {
    let bench = Bench::new(fill_tree);
    let expected = bench.walk(100, &mut || ());
    bench.ahead.start();
    let mut was_ahead = 0;
    for room in (1..40).chain([200, 1000]) {
        let found = bench.walk(room, &mut || was_ahead += usize::from(bench.plan(|plan| plan.is_ahead())));
        assert_same(&found, &expected, &format!("{room} entries at once"));
    }
    assert!(was_ahead > 0);
    let Bench { ahead, dir } = bench;
    let union = ahead.0.union.clone();
    drop(ahead);
    let start = std::time::Instant::now();
    while union.live_nodes() > 1 {
        assert!(start.elapsed() < Duration::from_secs(20), "references are left");
        thread::sleep(Duration::from_millis(1));
    }
    drop(dir);
}

#[test]
fn what_is_listed_ahead_is_what_a_walk_asks_for_next() {
    let bench = Bench::new(fill_tree);
    let mut missing = 0;
    bench.walk(200, &mut || while bench.step() {});
    bench.walk(200, &mut || {
        missing += usize::from(!bench.plan(|plan| plan.is_ahead()));
        while bench.step() {}
    });
    // At the beginning, where nothing is foreseen, and at the end.
    assert!(missing < 10, "{missing}");
}

#[test]
fn a_change_makes_what_is_ahead_old() {
    let bench = Bench::new(fill_tree);
    let mut changed = false;
    let time = Time { sec: 77, nsec: 0 };
    let found = bench.walk(200, &mut || {
        while bench.step() {}
        if !changed && bench.plan(|plan| plan.is_ahead()) {
            changed = true;
            let file = bench.node("d5/e4/deep/f3");
            let _change = bench.union().changes().begin();
            assert!(!bench.plan(|plan| plan.is_ahead()), "kept while something is changed");
            let change = SetAttr { mtime: Some(NewTime::At(time)), ..SetAttr::default() };
            bench.union().setattr(ROOT, file, change).unwrap();
        }
    });
    assert!(changed);
    assert_eq!(found[OsStr::new("/d5/e4/deep/f3")].mtime, time);
}

#[test]
fn nothing_is_listed_ahead_during_a_change_and_for_a_while_after() {
    let bench = Bench::new(fill_tree);
    let mut worked = Vec::new();
    let mut changed = false;
    bench.walk(10, &mut || {
        if changed {
            return worked.push(bench.step());
        }
        while bench.step() {}
        changed = bench.plan(|plan| plan.is_ahead());
        drop(bench.union().changes().begin());
        // What was given up.
        while bench.step() {}
    });
    assert!(worked[..16].iter().all(|worked| !worked), "{worked:?}");
    assert!(worked.iter().any(|worked| *worked), "{worked:?}");
}

#[test]
fn a_change_begun_while_listing_ahead_is_noticed() {
    let bench = Bench::new(fill_tree);
    let large = bench.node("large");
    let change = bench.union().changes().begin();
    bench.ahead.plan(|plan| plan.foresee_for_test((large, 0)));
    bench.step();
    assert!(!bench.plan(|plan| plan.is_ahead()), "listed during a change");
    drop(change);
    bench.ahead.plan(|plan| plan.foresee_for_test((large, 0)));
    bench.step();
    assert!(bench.plan(|plan| plan.is_ahead()));
    // Without upsetting the plan, as if it came to that later.
    bench.ahead.0.is_ahead.store(false, Relaxed);
    drop(bench.union().changes().begin());
    let mut list = Vec::new();
    bench.answer((large, 0), 10, &mut list);
    let given_up = bench.plan(|plan| plan.take_given_up());
    assert_eq!(given_up.len(), PART, "a change since was not noticed");
    assert_eq!(list.len(), 10);
}

#[test]
fn what_fails_ahead_fails_when_it_is_asked_for() {
    let bench = Bench::new(fill_tree);
    let file = bench.node("d5/e4/deep/f3");
    bench.ahead.plan(|plan| plan.foresee_for_test((file, 0)));
    while bench.step() {}
    let errno = bench.ahead.list(file, 0, &mut |_| ControlFlow::Continue(())).map_err(|error| error.errno());
    assert_eq!(errno, Err(Errno::NOTDIR));
    assert!(bench.dir.path().exists());
}

#[test]
fn two_who_walk_at_once_see_everything() {
    let bench = Bench::new(fill_tree);
    let expected = bench.walk(100, &mut || ());
    let mut second = Vec::new();
    let mut next = Some((NodeId::ROOT, 0));
    let first = bench.walk(7, &mut || {
        bench.step();
        next = next.and_then(|key| bench.answer(key, 1, &mut second));
    });
    assert_same(&first, &expected, "the first");
    assert_eq!(second.len(), bench.list(NodeId::ROOT, 100, &mut || ()).len());
}

#[test]
fn one_listing_alone_makes_nothing_ahead() {
    let bench = Bench::new(fill_tree);
    bench.list(NodeId::ROOT, 200, &mut || assert!(!bench.step()));
    bench.list(bench.node("d5"), 200, &mut || assert!(!bench.step()));
}

#[test]
fn a_long_walk_stays_behind_what_is_listed_ahead() {
    let bench = Bench::new(|lower, _| {
        for dir in 0..400 {
            let dir = lower.join(format!("a{}/d{dir}", dir / 50));
            fs::create_dir_all(&dir).unwrap();
            (0..16).for_each(|file| fs::write(dir.join(format!("f{file}")), "").unwrap());
        }
    });
    let mut missing = Vec::new();
    let mut count = 0;
    bench.walk(200, &mut || {
        count += 1;
        if !bench.plan(|plan| plan.is_ahead()) {
            missing.push(count);
        }
        while bench.step() {}
    });
    assert!(missing.len() < 20, "{missing:?} of {count}");
}

#[test]
fn one_who_looks_elsewhere_does_not_stop_a_walk() {
    let bench = Bench::new(|lower, _| {
        for dir in 0..300 {
            fs::create_dir_all(lower.join(format!("flat/d{dir}"))).unwrap();
            fs::write(lower.join(format!("flat/d{dir}/f")), "").unwrap();
        }
        fs::create_dir(lower.join("elsewhere")).unwrap();
    });
    let elsewhere = bench.node("elsewhere");
    let (mut count, mut missing) = (0, 0);
    bench.walk(200, &mut || {
        count += 1;
        missing += usize::from(!bench.plan(|plan| plan.is_ahead()));
        if count % 10 == 0 {
            bench.answer((elsewhere, 0), 10, &mut Vec::new());
        }
        while bench.step() {}
    });
    assert!(missing * 5 < count, "{missing} of {count}");
}

#[test]
fn who_has_waited_too_long_lists_himself_and_what_was_foreseen_stays() {
    let bench = Bench::new(fill_tree);
    let [first, second] = ["d5/e3/deep", "d5/e4/deep"].map(|path| bench.node(path));
    bench.plan(|plan| {
        plan.foresee_for_test((second, 0));
        plan.foresee_for_test((first, 0));
        assert_eq!(plan.begin(), Some((first, 0)));
        assert!(matches!(plan.ask((first, 0), |_| true), Asked::Underway));
        plan.make_instead((first, 0));
        assert!(matches!(plan.ask((first, 0), |_| true), Asked::Missing));
        let entries = VecDeque::new();
        let stamp = bench.union().changes().stamp().unwrap();
        assert!(!plan.progress(Part { entries, is_last: false, stamp }), "made for nobody");
        plan.stop();
        assert_eq!(plan.begin(), Some((second, 0)));
        plan.stop();
    });
}

#[test]
fn what_a_slow_walk_leaves_is_given_up_and_made_again() {
    let bench = Bench::new(fill_tree);
    let mut expired = 0;
    let expected = bench.walk(200, &mut || ());
    let found = bench.walk(200, &mut || {
        while bench.step() {}
        if expired < 3 && bench.plan(|plan| plan.is_ahead()) {
            expired += 1;
            bench.plan(|plan| {
                plan.watch_taking();
                plan.expire();
                assert!(!plan.is_ahead());
            });
        }
    });
    assert_eq!(expired, 3);
    assert_same(&found, &expected, "after all was given up");
}

#[test]
fn changes_while_nothing_is_ahead_cost_nothing() {
    let bench = Bench::new(fill_tree);
    (0..1000).for_each(|_| drop(bench.union().changes().begin()));
    let mut worked = 0;
    bench.walk(10, &mut || worked += usize::from(bench.step()));
    assert!(worked > 10, "{worked}");
}
