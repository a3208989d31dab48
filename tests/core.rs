//! Engine tests: unions of temporary directories, no mount. One file per operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "core/mod.rs"]
mod cases;
