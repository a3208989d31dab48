//! From the command line to the exit code.

use std::ffi::OsString;
use std::io::{self, Write};
use std::process::ExitCode;

use super::{Command, Invocation, parse};
use crate::daemon::{self, EXIT_SYSTEM, logging};
use crate::error::SetupError;
use crate::mount::{self, Failure};
use crate::sys::limits;

/// Exit code for a command line that makes no sense (mount(8), "EXIT STATUS").
const EXIT_USAGE: u8 = 1;

/// Does what `args` (the name of the program first) ask for. To be called while the process has one thread.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<OsString> = args.into_iter().collect();
    match parse(&args) {
        Ok(invocation) => execute(invocation),
        Err(error) => {
            logging::complain(error);
            ExitCode::from(EXIT_USAGE)
        }
    }
}

fn execute(Invocation { command, notes }: Invocation) -> ExitCode {
    limits::adopt_signals();
    let debug = matches!(&command, Command::Mount(config) if config.debug);
    logging::init(debug);
    for note in notes {
        log::log!(note.level, "{}", note.text);
    }
    match command {
        Command::Mount(config) => daemon::mount(&config).unwrap_or_else(|failure| failed(&failure)),
        Command::Remount { mountpoint, flags } => done(mount::remount(&mountpoint, flags)),
        Command::Umount { mountpoint, lazy } => done(mount::umount(&mountpoint, lazy)),
        Command::Say(text) => say(&text),
        Command::Nothing => ExitCode::SUCCESS,
    }
}

fn done(outcome: Result<(), SetupError>) -> ExitCode {
    outcome.map_or_else(|error| failed(&error.into()), |()| ExitCode::SUCCESS)
}

fn failed(failure: &Failure) -> ExitCode {
    logging::complain(failure);
    daemon::exit_code(failure)
}

fn say(text: &str) -> ExitCode {
    match writeln!(io::stdout(), "{}", text.trim_end()) {
        // `unionfuse --help | head` is not a failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            logging::complain(format_args!("stdout: {error}"));
            ExitCode::from(EXIT_SYSTEM)
        }
        _ => ExitCode::SUCCESS,
    }
}
