//! Which rights this run of the suite has, and how a case that lacks them is skipped.

use std::io::Write;
use std::sync::OnceLock;

/// Where the suite runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Root of the initial user namespace.
    Root,
    /// A plain user, mounting through fusermount3.
    User,
    /// Root of a user namespace (`unshare -Urm --map-root-user`): may mount, may not make devices or change owners.
    UserNs,
}

impl Mode {
    /// `UNIONFUSE_TEST_MODE`, else what the process can see of its own rights.
    pub fn current() -> Mode {
        static MODE: OnceLock<Mode> = OnceLock::new();
        *MODE.get_or_init(|| match std::env::var("UNIONFUSE_TEST_MODE").as_deref() {
            Ok("root") => Mode::Root,
            Ok("user") => Mode::User,
            Ok("userns") => Mode::UserNs,
            Ok(other) => panic!("UNIONFUSE_TEST_MODE={other}: expected root, user or userns"),
            Err(_) => detect(),
        })
    }
}

fn detect() -> Mode {
    if !rustix::process::geteuid().is_root() {
        return Mode::User;
    }
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    if map.split_whitespace().eq(["0", "0", "4294967295"]) { Mode::Root } else { Mode::UserNs }
}

/// Says that `test` did not run.
pub fn skip(test: &str, reason: &str) {
    announce(&format!("SKIPPED: {test}: {reason}"));
}

/// A line on the real stderr: libtest captures what the macros print in passing tests.
pub fn announce(line: &str) {
    std::io::stderr().write_all(format!("{line}\n").as_bytes()).expect("stderr is writable");
}

/// The running test's name, as libtest names its thread.
pub fn test_name() -> String {
    std::thread::current().name().unwrap_or("main").to_owned()
}
