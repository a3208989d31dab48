//! What the daemon takes of the machine: descriptors and memory, at much use and over time. `UNIONFUSE_SOAK=1` uses more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "resources/mod.rs"]
mod cases;
#[allow(dead_code, reason = "shared with the mount tests")]
mod support;
