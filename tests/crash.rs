//! The daemon is killed at random moments under real programs; the next mount must show what the programs were promised.
//! `UNIONFUSE_SOAK=1` kills it more often.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "crash/mod.rs"]
mod cases;
#[allow(dead_code, reason = "shared with the mount tests")]
mod support;
