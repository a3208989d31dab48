use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::test_runner::TestRunner;

use super::check::Pair;
use super::script::op;
use super::stack::stack;
use super::{config, report};

/// Runs `cases` random scripts; the smallest one that fails is shown.
fn run(cases: u32, length: usize) {
    let sequences = AtomicU64::new(0);
    let mut runner = TestRunner::new(config(cases));
    let outcome = runner.run(&(stack(), vec(op(), 1..length)), |(stack, script)| {
        sequences.fetch_add(1, Ordering::Relaxed);
        Pair::new(&stack).play(&script)
    });
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
    report("model sequences", sequences.into_inner());
}

#[test]
fn the_engine_does_what_the_model_does() {
    run(200, 40);
}

/// A second test, so that two processors have something to do.
#[test]
fn the_engine_does_what_the_model_does_at_length() {
    run(60, 200);
}
