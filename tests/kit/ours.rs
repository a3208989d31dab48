//! unionfuse, run as users run it.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use super::mount::{Backing, MARK, Mount, adopt_daemons};
use super::subject::{Stack, Subject};

/// The binary under test.
pub struct Ours;

impl Subject for Ours {
    fn name(&self) -> &'static str {
        "ours"
    }

    fn readdir_is_exact(&self) -> bool {
        true
    }

    fn mount(&self, stack: &Stack) -> Result<Mount, String> {
        adopt_daemons();
        let said = stack.point.with_extension("stderr");
        // A file and not a pipe: a daemon that keeps its stderr must not keep us waiting.
        let log = File::create(&said).map_err(|e| e.to_string())?;
        let status = command(stack).stderr(log).status().map_err(|e| e.to_string())?;
        let message = std::fs::read_to_string(&said).unwrap_or_default();
        // Held from here on, so that a daemon behind a failed mount command does not outlive the test either.
        let mount = Mount::new(&stack.point, Backing::Daemon);
        match status.success() {
            true => Ok(mount),
            false => Err(format!("unionfuse mount: {status}: {message}")),
        }
    }
}

/// `unionfuse mount …` for `stack`, marked so that its daemon can be found.
pub fn command(stack: &Stack) -> Command {
    // The built binary may lie where a plain user cannot reach it; scripts/test-rootless then points to a copy.
    let built = || env!("CARGO_BIN_EXE_unionfuse").into();
    let program = std::env::var_os("UNIONFUSE_TEST_BINARY").unwrap_or_else(built);
    let mut command = match stack.descriptors {
        None => Command::new(program),
        Some(limit) => {
            let mut limited = Command::new("prlimit");
            limited.arg(format!("--nofile={limit}:{limit}")).arg(program);
            limited
        }
    };
    command.arg("mount").arg("--lower").arg(joined(&stack.lowers));
    if let Some((upper, work)) = &stack.upper {
        command.arg("--upper").arg(upper).arg("--work").arg(work);
    }
    if let Ok(options) = std::env::var("UNIONFUSE_TEST_OPTIONS") {
        command.arg("-o").arg(options);
    }
    if let Some(options) = stack.options {
        command.arg("-o").arg(options);
    }
    command.arg(&stack.point).env(MARK, &stack.point).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

fn joined(lowers: &[PathBuf]) -> OsString {
    let parts: Vec<&[u8]> = lowers.iter().map(|path| OsStr::as_bytes(path.as_os_str())).collect();
    OsString::from_vec(parts.join(&b':'))
}
