//! What the daemon takes of the machine: descriptors and memory, at much use and over time. `UNIONFUSE_SOAK=1` uses more.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod descriptors;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;
mod memory;
mod rig;

use crate::kit::mode::{Mode, announce, skip, test_name};

/// How much of something.
fn amount(few: usize, many: usize) -> usize {
    if std::env::var_os("UNIONFUSE_SOAK").is_some() { many } else { few }
}

/// Whether the test can run; says why not.
fn can_run() -> bool {
    if Mode::current() != Mode::Root {
        skip(&test_name(), "needs root: limits are raised and the kernel's caches dropped");
        return false;
    }
    if let Err(error) = std::fs::File::options().read(true).write(true).open("/dev/fuse") {
        skip(&test_name(), &format!("/dev/fuse: {error}"));
        return false;
    }
    true
}

fn report(figure: &str) {
    announce(&format!("{}: {figure}", test_name()));
}
