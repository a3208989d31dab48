//! Faults: each operation is stopped before, and failed at, every single call it makes on a layer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;
mod scenario;

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::XattrFlags;
use rustix::io::Errno;
use tempfile::TempDir;
use unionfuse::types::Kind;

use crate::kit::bench::{Answer, Bench};
use crate::kit::faulty::{Calls, Fault, Faulty};
use crate::scenario::Scenario;

/// What users see of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Fact {
    kind: Kind,
    perm: u16,
    owner: (u32, u32),
    links: u32,
    modified: Option<(i64, u32)>,
    content: String,
    attributes: Vec<(String, Vec<u8>)>,
}

type Tree = BTreeMap<PathBuf, Fact>;

/// Everything the union shows. Times only of what no scenario makes or writes, which would be another second's.
fn tree(bench: &Bench) -> Answer<Tree> {
    let mut all = Tree::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let attr = bench.stat(&path)?;
        if attr.kind == Kind::Directory {
            pending.extend(bench.names(&path)?.iter().map(|name| path.join(name)));
        }
        all.insert(path.clone(), fact(bench, &path)?);
    }
    Ok(all)
}

fn fact(bench: &Bench, path: &Path) -> Answer<Fact> {
    let attr = bench.stat(path)?;
    let content = match attr.kind {
        Kind::File => bench.text(path)?,
        Kind::Symlink => bench.target(path)?.to_string_lossy().into_owned(),
        _ => String::new(),
    };
    let old = attr.mtime.sec < 1_000_000_000;
    let attributes =
        bench.xattrs(path)?.into_iter().map(|name| Ok((name.clone(), bench.get_xattr(path, &name)?)));
    Ok(Fact {
        kind: attr.kind,
        perm: attr.perm,
        owner: (attr.uid, attr.gid),
        links: if attr.kind == Kind::Directory { 0 } else { attr.nlink },
        modified: old.then_some((attr.mtime.sec, attr.mtime.nsec)),
        content,
        attributes: attributes.collect::<Answer<_>>()?,
    })
}

const ERRNOS: [Errno; 7] =
    [Errno::IO, Errno::NOSPC, Errno::DQUOT, Errno::MFILE, Errno::ACCESS, Errno::NOMEM, Errno::INTR];

fn prepare(scenario: &Scenario) -> (Bench, Arc<Faulty>) {
    let mut bench = Bench::prepare_in(place(), scenario::fill);
    bench.config.redirect_dir = Some(scenario.redirects);
    let store = fresh_store(scenario);
    bench.open_on(store.clone());
    (bench, store)
}

/// In memory, where that stores marks: thousands of layers are made and removed.
fn place() -> TempDir {
    let in_memory = || {
        let dir = TempDir::new_in("/dev/shm").ok()?;
        let marked = rustix::fs::setxattr(dir.path(), "trusted.overlay.x", b"y", XattrFlags::empty());
        let trusted_and_plain =
            marked.and_then(|()| rustix::fs::setxattr(dir.path(), "user.x", b"y", XattrFlags::empty()));
        trusted_and_plain.ok().map(|()| dir)
    };
    in_memory().unwrap_or_else(|| TempDir::new().unwrap())
}

fn fresh_store(scenario: &Scenario) -> Arc<Faulty> {
    let lacking: Calls = if scenario.devices { &[] } else { &[("mknod device", Errno::PERM)] };
    Arc::new(Faulty::lacking(lacking))
}

fn expected(scenario: &Scenario) -> (Tree, Tree, Vec<&'static str>) {
    let (bench, store) = prepare(scenario);
    let before = tree(&bench).unwrap();
    bench.forget_all();
    store.arm(Fault::None);
    (scenario.act)(&bench).unwrap_or_else(|errno| panic!("{}: {errno}", scenario.name));
    let calls = store.disarm();
    let after = tree(&bench).unwrap();
    assert_ne!(before, after, "{} changes nothing", scenario.name);
    (before, after, calls)
}

fn difference(left: &Tree, right: &Tree) -> String {
    let paths: std::collections::BTreeSet<_> = left.keys().chain(right.keys()).collect();
    let differing = paths.into_iter().filter(|path| left.get(*path) != right.get(*path));
    differing.map(|path| format!("{path:?}: {:?} / {:?}\n", left.get(path), right.get(path))).collect()
}

fn assert_either(found: &Tree, before: &Tree, after: &Tree, context: &str) {
    assert!(
        found == before || found == after,
        "{context}: neither old nor new\nagainst the old:\n{}against the new:\n{}",
        difference(found, before),
        difference(found, after)
    );
}

#[test]
fn stopped_anywhere_a_mount_shows_the_old_or_the_new_state() {
    let mut points = 0;
    for scenario in scenario::all().into_iter().filter(|scenario| !scenario.in_parts) {
        let (before, after, calls) = expected(&scenario);
        for at in 0..=calls.len() {
            let (mut bench, store) = prepare(&scenario);
            store.arm(Fault::Stop(at));
            let outcome = (scenario.act)(&bench);
            bench.abandon();
            store.disarm();
            let context = format!("{} stopped before call {at} of {calls:?}", scenario.name);
            bench.reopen_on(fresh_store(&scenario));
            let found = tree(&bench).unwrap_or_else(|errno| panic!("{context}: {errno}"));
            assert_either(&found, &before, &after, &context);
            if outcome.is_ok() {
                assert_eq!(found, after, "{context}: what was answered is lost");
            }
            // Closing checks that the work directory was swept.
            bench.reopen();
            assert_eq!(tree(&bench).unwrap(), found, "{context}: a second mount shows something else");
            assert_lasts_below(&scenario, bench, &found, &context);
            points += 1;
        }
    }
    report("crash points", points);
}

#[test]
fn failing_anywhere_the_errno_arrives_and_nothing_is_half_done() {
    fail_with(0..3);
}

/// A second test, so that two processors have something to do.
#[test]
fn failing_anywhere_with_other_errnos() {
    fail_with(3..ERRNOS.len());
}

fn fail_with(turns: Range<usize>) {
    // EIO at each call, the others by turns; all at each in the long run.
    let each = std::env::var_os("UNIONFUSE_SOAK").is_some();
    let mut faults = 0;
    for scenario in scenario::all() {
        let (before, after, calls) = expected(&scenario);
        for turn in turns.clone() {
            let now = |at: &usize| each || turn == 0 || at % (ERRNOS.len() - 1) == turn - 1;
            for at in (0..calls.len()).filter(now) {
                fail(&scenario, (&before, &after, &calls), at, ERRNOS[turn]);
                faults += 1;
            }
        }
    }
    // One left open by each fault would be thousands; the other tests here have some dozens open at a time.
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    assert!(open < 300, "{open} descriptors are open at the end");
    report("faults", faults);
}

fn fail(scenario: &Scenario, (before, after, calls): (&Tree, &Tree, &[&str]), at: usize, errno: Errno) {
    let context = format!("{}: {errno} at call {at} of {calls:?}", scenario.name);
    let (mut bench, store) = prepare(scenario);
    store.arm(Fault::Fail(at, errno));
    let outcome = (scenario.act)(&bench);
    store.disarm();
    let found = tree(&bench).unwrap_or_else(|errno| panic!("{context}: {errno}"));
    match outcome {
        Ok(()) => assert_eq!(difference(&found, after), "", "{context}: answered, but not done"),
        Err(answer) => {
            assert_eq!(answer, errno, "{context}");
            assert_eq!(difference(&found, before), "", "{context}: an error, and yet something has changed");
        }
    }
    bench.forget_all();
    if !bench.garbage().is_empty() {
        // Only a clean-up that itself fails may leave something, which the next mount sweeps.
        let published = calls[..at].iter().any(|call| ["rename", "link"].contains(call));
        let cleaning = ["unlink", "rmdir", "chmod"].contains(&calls[at]) || published;
        assert!(cleaning, "{context}: {:?}", bench.garbage());
        bench.abandon();
    }
    bench.reopen();
    assert_eq!(difference(&tree(&bench).unwrap(), &found), "", "{context}: another state after a remount");
    assert_lasts_below(scenario, bench, &found, &context);
}

/// Names that may be marks in a lowerdir have to be told from those when the upperdir has become one.
fn assert_lasts_below(scenario: &Scenario, mut bench: Bench, found: &Tree, context: &str) {
    if scenario.name.contains(".wh.") {
        bench.reopen_above();
        // Without its index, a hard link that was copied up is several files.
        let unlinked = |tree: &Tree| -> Tree {
            tree.iter().map(|(path, fact)| (path.clone(), Fact { links: 0, ..fact.clone() })).collect()
        };
        let (shown, found) = (unlinked(&tree(&bench).unwrap()), unlinked(found));
        assert_eq!(difference(&shown, &found), "", "{context}: another state below another union");
    }
}

fn report(what: &str, count: usize) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{what}: {count}\n").as_bytes()).unwrap();
}
