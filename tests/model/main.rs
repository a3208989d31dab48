//! The model: random scripts on random stacks of layers, on the engine and on a tree in memory. `PROPTEST_CASES=10000` runs
//! more of them, `PROPTEST_RNG_SEED=7` others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod check;
mod concurrent;
mod found;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;
mod name;
mod script;
mod seen;
mod sequential;
mod stack;
mod tree;

use proptest::test_runner::{Config, RngSeed};

/// The same scripts in every run of the tests, so that a change cannot be blamed for what it did not do; others when asked for.
fn config(cases: u32) -> Config {
    let mut config = Config { failure_persistence: None, max_shrink_time: 120_000, ..Config::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if config.rng_seed == RngSeed::Random && std::env::var_os("UNIONFUSE_SOAK").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    config
}

/// A figure for the record. Not through the macros, whose output libtest captures.
fn report(what: &str, count: u64) {
    use std::io::Write;
    std::io::stderr().write_all(format!("{what}: {count}\n").as_bytes()).unwrap();
}
