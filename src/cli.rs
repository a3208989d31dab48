//! The command line: every way the program is called, turned into one [`Command`].
//!
//! Parsing is pure: it opens nothing and prints nothing, so every form and every error can be tested as a function.

mod args;
mod bare;
mod error;
mod help;
mod helper;
mod layers;
mod mount_opts;
mod request;
mod run;
mod split;
#[cfg(test)]
mod tests;
mod words;

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};

pub use args::command;
pub use error::UsageError;
pub use layers::parse_layers;
pub use mount_opts::Note;
pub use run::run;

use crate::config::{MountConfig, MountFlags};

/// What to do.
#[derive(Debug)]
pub enum Command {
    /// Mount a union.
    Mount(Box<MountConfig>),
    /// Change the flags of a mount (`mount -o remount,ro MNT`).
    Remount {
        /// Where the union is mounted.
        mountpoint: PathBuf,
        /// The flags it should have.
        flags: MountFlags,
    },
    /// Unmount one.
    Umount {
        /// Where it is mounted.
        mountpoint: PathBuf,
        /// Whether to detach it even if it is busy.
        lazy: bool,
    },
    /// Print a text (`--help`, `--version`).
    Say(String),
    /// Succeed (`mount -f`: check the command line only).
    Nothing,
}

/// A command, and what to tell the user about the way it was asked for.
#[derive(Debug)]
pub struct Invocation {
    /// What to do.
    pub command: Command,
    /// What to log before.
    pub notes: Vec<Note>,
}

impl From<Command> for Invocation {
    fn from(command: Command) -> Self {
        Self { command, notes: Vec::new() }
    }
}

/// Reads a command line, the name of the program first: that name and the first word decide which form it is.
///
/// # Errors
/// See `UsageError`.
pub fn parse(args: &[OsString]) -> Result<Invocation, UsageError> {
    let (program, rest) =
        args.split_first().map_or((OsStr::new(""), args), |(p, rest)| (p.as_os_str(), rest));
    let program = Path::new(program).file_name().unwrap_or_default();
    if helper::is_helper_name(program) {
        return helper::parse(rest);
    }
    let by_engine = program == "fuse-overlayfs";
    if by_engine || !is_subcommand(rest.first()) {
        return bare::parse(rest, by_engine);
    }
    args::parse(args)
}

/// Whether the first word after the program's name is clap's. `unionfuse` alone is: clap then explains itself.
fn is_subcommand(first: Option<&OsString>) -> bool {
    let words = ["mount", "umount", "unmount", "help", "-h", "--help", "-V", "--version"];
    first.is_none_or(|first| words.iter().any(|word| first == *word))
}
