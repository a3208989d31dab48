//! The subcommands, as clap sees them. The forms without a subcommand are in [`super::bare`] and [`super::helper`].

use std::ffi::OsString;
use std::path::PathBuf;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Args, CommandFactory, Parser, Subcommand};

use super::error::UsageError;
use super::help;
use super::layers::parse_layers;
use super::mount_opts::MountOpts;
use super::request::{Form, Request};
use super::{Command, Invocation};

/// A union (overlay) filesystem in userspace: several directory trees shown as one, with all changes kept in a tree of
/// their own.
#[derive(Debug, Parser)]
#[command(name = "unionfuse", version, after_help = help::SEE_LONG, after_long_help = help::OVERVIEW)]
#[command(max_term_width = 100, arg_required_else_help = true)]
pub struct Arguments {
    #[command(subcommand)]
    command: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Mount a union of directories
    #[command(after_help = help::SEE_LONG, after_long_help = help::MOUNT)]
    Mount(MountArgs),
    /// Unmount a union
    #[command(visible_alias = "unmount", after_long_help = help::UMOUNT)]
    Umount(UmountArgs),
}

#[derive(Debug, Args)]
struct MountArgs {
    /// Read-only directories, top-most first, separated by ':'
    ///
    /// May be given several times; later ones go below. '\:' '\,' '\\' stand for a colon, a comma and a backslash that are
    /// part of a name.
    #[arg(short, long, value_name = "A[:B…]")]
    lower: Vec<OsString>,
    /// The directory that takes all changes
    ///
    /// Without it the union is read-only.
    #[arg(short, long, value_name = "DIR", value_parser = directory())]
    upper: Option<PathBuf>,
    /// Where changes are prepared: an empty directory on the filesystem of the upper one
    ///
    /// Without it one is made beside the upper directory, named '.NAME.unionfuse-work'.
    #[arg(short, long, value_name = "DIR", value_parser = directory())]
    work: Option<PathBuf>,
    /// Mount options, separated by ','; see below
    #[arg(short, value_name = "OPTS")]
    options: Vec<OsString>,
    /// Stay in the foreground and log to stderr
    #[arg(short, long)]
    foreground: bool,
    /// Log every request; implies --foreground
    #[arg(short, long)]
    debug: bool,
    /// Where to mount: an existing directory
    #[arg(value_name = "MNT", value_parser = directory())]
    mountpoint: PathBuf,
}

#[derive(Debug, Args)]
struct UmountArgs {
    /// Detach now, even if it is in use: open files stay usable until they are closed
    #[arg(short, long)]
    lazy: bool,
    /// Where the union is mounted
    #[arg(value_name = "MNT", value_parser = directory())]
    mountpoint: PathBuf,
}

/// Any bytes but none at all: clap's own parser for paths, with an error that says what is missing.
fn directory() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().try_map(|value| match value.is_empty() {
        true => Err("the name of a directory is missing"),
        false => Ok(PathBuf::from(value)),
    })
}

/// Reads a command line with a subcommand; `args` includes the name of the program.
///
/// # Errors
/// Whatever clap or the option grammar refuses.
pub fn parse(args: &[OsString]) -> Result<Invocation, UsageError> {
    match Arguments::try_parse_from(args) {
        Ok(Arguments { command: Verb::Mount(args) }) => mount(args),
        Ok(Arguments { command: Verb::Umount(args) }) => {
            Ok(Command::Umount { mountpoint: args.mountpoint, lazy: args.lazy }.into())
        }
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            Ok(Command::Say(error.render().to_string()).into())
        }
        Err(error) if error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => Err(
            UsageError::new(format!("the command is missing\n\n{}", error.render().to_string().trim_end())),
        ),
        Err(error) => {
            let text = error.render().to_string();
            Err(UsageError::new(text.strip_prefix("error: ").unwrap_or(&text).trim_end()))
        }
    }
}

fn mount(args: MountArgs) -> Result<Invocation, UsageError> {
    let mut opts = MountOpts::default();
    for options in &args.options {
        opts.apply(options.as_encoded_bytes())?;
    }
    twice("--lower", "lowerdir", !args.lower.is_empty(), !opts.lowers.is_empty())?;
    twice("--upper", "upperdir", args.upper.is_some(), opts.upper.is_some())?;
    twice("--work", "workdir", args.work.is_some(), opts.work.is_some())?;
    for list in &args.lower {
        let layers = parse_layers(list.as_encoded_bytes());
        opts.lowers.extend(
            layers.map_err(|e| UsageError::new(format!("option '--lower {}': {e}", list.display())))?,
        );
    }
    opts.upper = args.upper.or(opts.upper);
    opts.work = args.work.or(opts.work);
    let request = Request {
        form: Form::Subcommand,
        source: None,
        mountpoint: args.mountpoint,
        foreground: args.foreground,
        debug: args.debug,
        opts,
    };
    request.into_invocation()
}

fn twice(flag: &str, option: &str, by_flag: bool, by_option: bool) -> Result<(), UsageError> {
    if by_flag && by_option {
        return Err(UsageError::new(format!("both '{flag}' and '-o {option}=' are given; use one of them")));
    }
    Ok(())
}

/// The subcommands, for what describes them: `--help` and the manual pages.
pub fn command() -> clap::Command {
    Arguments::command()
}

/// The text of `--help`.
pub fn help() -> String {
    command().render_long_help().to_string()
}

/// The text of `--version`.
pub fn version() -> String {
    command().render_version()
}
