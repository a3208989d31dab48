//! Several threads on the same few names. What each finds depends on the others, but what is left must be a filesystem.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use proptest::collection::vec;
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::TestRunner;
use rustix::io::Errno;
use unionfuse::types::NodeId;

use super::script::{HELD, Op, concurrent_op};
use super::seen::{Fact, Facts, difference, everything};
use super::stack::stack;
use super::{config, report};
use crate::kit::bench::Bench;
use crate::kit::faulty::{Fault, Faulty};

const THREADS: usize = 4;

#[test]
fn threads_leave_a_filesystem() {
    let mut runner = TestRunner::new(config(20));
    let scripts = (stack(), vec(vec(concurrent_op(), 60..120), THREADS));
    let cases = runner.config().cases;
    for case in 0..cases {
        let (stack, scripts) = scripts.new_tree(&mut runner).unwrap().current();
        let described = format!("{stack:?}{scripts:?}");
        let _watchdog = Watchdog::new(described.clone());
        let store = Faulty::new();
        // Without pauses threads meet more often, with pauses where they otherwise hardly ever do.
        store.arm(if case % 2 == 0 { Fault::Pauses } else { Fault::None });
        let mut bench = stack.open_on(Arc::new(store));
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| storm(&mut bench, &scripts)));
        if let Err(panic) = outcome {
            eprintln!("{described}");
            // What is left may not even close.
            std::mem::forget(bench);
            std::panic::resume_unwind(panic);
        }
    }
    report("concurrent sequences", u64::from(cases) * THREADS as u64);
}

fn storm(bench: &mut Bench, scripts: &[Vec<Op>]) {
    thread::scope(|scope| {
        for script in scripts {
            let bench = &*bench;
            scope.spawn(move || script.iter().for_each(|op| step(bench, op)));
        }
    });
    let live = everything(bench);
    check_links(&live);
    bench.forget_all();
    assert_same(&live, &everything(bench), "with all forgotten");
    bench.reopen();
    assert_same(&live, &everything(bench), "after another mount");
}

/// A step may fail for what other threads did, but not for what the engine did to itself.
fn step(bench: &Bench, op: &Op) {
    let answer = op.on_engine(bench, &[None; HELD]);
    let blamed = [Errno::IO, Errno::BADF, Errno::MFILE, Errno::NODEV, Errno::XDEV, Errno::STALE];
    assert!(!answer.is_err_and(|errno| blamed.contains(&errno)), "{op:?}: {answer:?}");
}

/// Names of one file show one file, and there are no more of them than it says.
fn check_links(all: &Facts) {
    let mut files: BTreeMap<NodeId, (&Fact, u32)> = BTreeMap::new();
    for (path, (fact, node)) in all {
        let (first, names) = files.entry(*node).or_insert((fact, 0));
        assert_eq!(*first, fact, "{}: one file, two looks", path.escape_ascii());
        *names += 1;
        assert!(*names <= fact.links.unwrap_or(1), "{}: more names than links", path.escape_ascii());
    }
}

fn assert_same(before: &Facts, after: &Facts, when: &str) {
    for path in before.keys().chain(after.keys()) {
        let (left, right) = (before.get(path), after.get(path));
        let line = difference(left.map(|(fact, _)| fact), right.map(|(fact, _)| fact));
        assert_eq!(line, None, "{} {when}", path.escape_ascii());
        let number = |seen: Option<&(Fact, NodeId)>| seen.map(|(_, node)| node.0);
        // A file met while its number was still another's has a counted one for as long as it is known.
        if number(left).is_some_and(|number| number >> 63 == 0) {
            assert_eq!(number(left), number(right), "{} {when}", path.escape_ascii());
        }
    }
}

/// Ends the process when something hangs: threads that wait for each other cannot be ended otherwise.
struct Watchdog {
    _alive: std::sync::mpsc::Sender<()>,
}

impl Watchdog {
    fn new(about: String) -> Self {
        let (alive, ended) = channel();
        thread::spawn(move || {
            if ended.recv_timeout(Duration::from_secs(60)) == Err(RecvTimeoutError::Timeout) {
                use std::io::Write;
                let _ = writeln!(std::io::stderr(), "HANGS: {about}");
                std::process::abort();
            }
        });
        Self { _alive: alive }
    }
}
