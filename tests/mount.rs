//! Mount tests: the same scripts on our mount and on the kernel's overlayfs over the same layers, complete trees compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[path = "mount/mod.rs"]
mod cases;
mod support;
