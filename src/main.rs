//! The command `unionfuse`.

use std::process::ExitCode;

fn main() -> ExitCode {
    unionfuse::main(std::env::args_os())
}
