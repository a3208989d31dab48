//! `scripts/quickstart`, the first command in the README, as root and as a plain user. In a test binary of its own: it watches
//! /etc for changes, and other tests add users to the machine.

mod script;

use std::ffi::OsStr;

#[test]
fn as_whoever_runs_the_tests() {
    script::run("callers/quickstart.sh", 5);
}

#[test]
fn as_a_plain_user() {
    script::run_with("callers/quickstart.sh", 5, &[("AS_USER", OsStr::new("nobody"))]);
}
