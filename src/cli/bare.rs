//! The forms without a subcommand: `unionfuse [-f] [-d] -o OPTS MNT` (container engines) and `unionfuse SOURCE MNT -o OPTS`
//! (mount.fuse3).

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::UsageError;
use super::mount_opts::MountOpts;
use super::request::{Form, Request};
use super::words::{Letters, Words};
use super::{Command, Invocation, args};

/// `-s` is "single-threaded", as in every FUSE program.
const LETTERS: Letters = Letters {
    plain: b"fdshV",
    valued: b"o",
    long: &[(b"foreground", b'f'), (b"debug", b'd'), (b"help", b'h'), (b"version", b'V')],
};

/// Reads a command line without a subcommand; `args` excludes the name of the program, `by_engine` says whether that is one
/// that only container engines use.
///
/// # Errors
/// See [`UsageError`].
pub fn parse(args: &[OsString], by_engine: bool) -> Result<Invocation, UsageError> {
    let words = Words::parse(args, LETTERS)?;
    if words.has(b'h') {
        return Ok(Command::Say(args::help()).into());
    }
    if words.has(b'V') {
        return Ok(Command::Say(args::version()).into());
    }
    let mut opts = MountOpts::default();
    for text in words.values(b'o') {
        opts.apply(text.as_encoded_bytes())?;
    }
    if words.has(b's') {
        opts.session.threads = 1;
    }
    let (source, mountpoint) = source_and_mountpoint(&words)?;
    let form = if source.is_some() && !by_engine { Form::MountHelper } else { Form::MountProgram };
    let (foreground, debug) = (words.has(b'f'), words.has(b'd'));
    Request { form, source, mountpoint, foreground, debug, opts }.into_invocation()
}

fn source_and_mountpoint(words: &Words<'_>) -> Result<(Option<OsString>, PathBuf), UsageError> {
    let (source, mountpoint) = match words.arguments[..] {
        [mountpoint] => (None, mountpoint),
        [source, mountpoint] => (Some(source.to_owned()), mountpoint),
        [] => {
            return Err(UsageError::new("the mountpoint is missing (see 'unionfuse --help')"));
        }
        [_, _, extra, ..] => {
            let problem = format!("argument '{}' is one too many: expected [SOURCE] MNT", extra.display());
            return Err(UsageError::new(problem));
        }
    };
    if mountpoint.is_empty() {
        return Err(UsageError::new("the mountpoint is an empty name"));
    }
    Ok((source, PathBuf::from(mountpoint)))
}
