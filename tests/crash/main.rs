//! The daemon is killed at random moments under real programs; the next mount must show what the programs were promised.
//! `UNIONFUSE_SOAK=1` kills it more often.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod git;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;
mod rig;
mod signals;
mod sqlite;
mod untar;

use std::process::{Command, Stdio};

use crate::kit::mode::{Mode, announce, skip, test_name};

/// How often the daemon is killed.
fn rounds(few: u32, many: u32) -> u32 {
    if std::env::var_os("UNIONFUSE_SOAK").is_some() { many } else { few }
}

/// Whether the test can run; says why not.
fn can_run(programs: &[&str]) -> bool {
    if Mode::current() != Mode::Root {
        skip(&test_name(), "needs root: the mount of a killed daemon is taken away by force");
        return false;
    }
    let device = std::fs::File::options().read(true).write(true).open("/dev/fuse");
    if let Err(error) = device {
        skip(&test_name(), &format!("/dev/fuse: {error}"));
        return false;
    }
    let is_missing = |program: &&&str| {
        let quiet =
            Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
        quiet.is_err()
    };
    match programs.iter().find(is_missing) {
        Some(program) => skip(&test_name(), &format!("{program} is not installed")),
        None => return true,
    }
    false
}

fn report(rounds: u32, what: &str) {
    announce(&format!("{}: {rounds} kills, {what}", test_name()));
}
