//! Faults: each operation is stopped before, and failed at, every single call it makes on a layer.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "core/harness.rs"]
#[allow(dead_code, reason = "shared with the engine tests")]
mod harness;
#[path = "core/layer.rs"]
#[allow(dead_code, reason = "shared with the engine tests")]
mod layer;
#[path = "faults/mod.rs"]
mod runs;
#[path = "faults/scenario.rs"]
mod scenario;
#[path = "faults/store.rs"]
#[allow(dead_code, reason = "shared with the engine tests")]
mod store;
