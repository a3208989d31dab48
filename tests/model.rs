//! The model: random scripts on random stacks of layers, on the engine and on a tree in memory. `PROPTEST_CASES=10000` runs
//! more of them, `PROPTEST_RNG_SEED=7` others.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "core/harness.rs"]
#[allow(dead_code, reason = "shared with the engine tests")]
mod harness;
#[path = "core/layer.rs"]
#[allow(dead_code, reason = "shared with the engine tests")]
mod layer;
#[path = "model/mod.rs"]
mod model;
#[path = "faults/store.rs"]
#[allow(dead_code, reason = "shared with the tests of faults")]
mod store;
