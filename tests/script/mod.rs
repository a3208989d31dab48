//! Runs a shell script as a test: in a directory of its own, against the binary this build made, with a time limit. Exit code
//! 77 means that the script cannot run here; it says why.

#![allow(clippy::unwrap_used, reason = "test code, which clippy only recognises inside #[test] functions")]

use std::ffi::OsStr;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What autotools and others use for "cannot be tested here".
const SKIPPED: i32 = 77;

/// Runs `tests/SCRIPT`; it may take `minutes`.
pub fn run(script: &str, minutes: u32) {
    run_with(script, minutes, &[]);
}

/// Runs `tests/SCRIPT` with further variables in its environment.
pub fn run_with(script: &str, minutes: u32, variables: &[(&str, &OsStr)]) {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(script);
    let name = script.file_stem().unwrap().to_string_lossy().into_owned();
    // On a disk: /tmp may be a tmpfs, which is no place for a Debian tree, nor (on older kernels) for user xattrs.
    let parent = std::env::var_os("TMPDIR").map_or_else(|| PathBuf::from("/var/tmp"), PathBuf::from);
    let scratch = tempfile::Builder::new().prefix("unionfuse-").tempdir_in(parent).unwrap();
    // Scripts run programs as other users.
    fs::set_permissions(scratch.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let directory = scratch.path().join(&name);
    fs::create_dir(&directory).unwrap();

    let output = Command::new("timeout")
        .args(["--kill-after=30", &(minutes * 60).to_string()])
        .arg("bash")
        .arg(&script)
        .env("BOX", &directory)
        .env("UNIONFUSE_BIN", env!("CARGO_BIN_EXE_unionfuse"))
        .envs(variables.iter().copied())
        .stdin(Stdio::null())
        .output()
        .unwrap();
    remove(scratch);

    let said = String::from_utf8_lossy(&output.stderr);
    // Straight to stderr: the test runner hides what a passing test prints, and a skipped test must not look like a
    // passed one.
    let mut stderr = std::io::stderr();
    for line in said.lines().filter(|line| line.starts_with("SKIPPED: ")) {
        writeln!(stderr, "{line}").unwrap();
    }
    assert!(
        output.status.success() || output.status.code() == Some(SKIPPED),
        "{name}: {}\n{}\n{said}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
}

/// Removes what `TempDir` itself cannot: directories without permissions. Never enters a filesystem that is still mounted.
fn remove(scratch: tempfile::TempDir) {
    let path = scratch.keep();
    for command in [["chmod", "-R", "u+rwX"], ["rm", "-rf", "--one-file-system"]] {
        let _ = Command::new(command[0]).args(&command[1..]).arg(&path).stderr(Stdio::null()).status();
    }
}
