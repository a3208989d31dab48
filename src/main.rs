//! The command `unionfuse`.

use std::process::ExitCode;

fn main() -> ExitCode {
    unionfuse::cli::run(std::env::args_os())
}
