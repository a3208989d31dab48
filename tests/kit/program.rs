//! Running programs that a test has just written.

use std::io::{Error, ErrorKind};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

const PATIENCE: Duration = Duration::from_secs(20);

/// Runs a program to its end. A process forked by a test beside us has the file open for writing, as we had, until it execs: that
/// is waited for.
pub fn output_of(command: &mut Command) -> Result<Output, Error> {
    let start = Instant::now();
    loop {
        match command.output() {
            Err(error) if error.kind() == ErrorKind::ExecutableFileBusy && start.elapsed() < PATIENCE => {
                std::thread::sleep(Duration::from_millis(5));
            }
            other => return other,
        }
    }
}
