//! The ways people call us, each with the real caller: `unionfuse mount`, mount(8) with an fstab line, rootless Podman. Each
//! test is a shell script, `tests/callers/NAME.sh`, which also runs by itself.

mod script;

use std::ffi::OsStr;

#[test]
fn mount() {
    script::run("callers/mount.sh", 5);
}

#[test]
fn mount_as_a_plain_user() {
    script::run_with("callers/mount.sh", 5, &[("AS_USER", OsStr::new("nobody"))]);
}

#[test]
fn fstab() {
    script::run("callers/fstab.sh", 5);
}

#[test]
fn podman() {
    script::run("callers/podman.sh", 15);
}

#[test]
fn places() {
    script::run("callers/places.sh", 5);
}

#[test]
fn limits() {
    script::run("callers/limits.sh", 5);
}

#[test]
fn nested() {
    script::run("callers/nested.sh", 10);
}

#[test]
fn user_namespace() {
    script::run("callers/user-namespace.sh", 5);
}
