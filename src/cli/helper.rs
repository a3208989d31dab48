//! The interface mount(8) has with its helpers: `mount.unionfuse SPEC DIR [-sfnv] [-o OPTS] [-t TYPE]`.
//!
//! The letters mean other things than in a FUSE program: see mount(8), "EXTERNAL HELPERS".

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::error::UsageError;
use super::mount_opts::MountOpts;
use super::request::{Form, Request};
use super::words::{Letters, Words};
use super::{Command, Invocation, args};

const NAMES: [&str; 2] = ["mount.unionfuse", "mount.fuse.unionfuse"];

const LETTERS: Letters =
    Letters { plain: b"sfnvhV", valued: b"otN", long: &[(b"help", b'h'), (b"version", b'V')] };

/// Whether `program` is a name by which mount(8) calls its helpers.
pub fn is_helper_name(program: &OsStr) -> bool {
    NAMES.iter().any(|name| program == *name)
}

/// Reads the command line of a mount helper; `args` excludes the name of the program.
///
/// # Errors
/// See [`UsageError`].
pub fn parse(args: &[OsString]) -> Result<Invocation, UsageError> {
    let words = Words::parse(args, LETTERS)?;
    if words.has(b'h') {
        return Ok(Command::Say(args::help()).into());
    }
    if words.has(b'V') {
        return Ok(Command::Say(args::version()).into());
    }
    if words.values(b'N').next().is_some() {
        return Err(UsageError::new("option '-N': other mount namespaces are not supported; use nsenter(1)"));
    }
    let [source, mountpoint] = words.arguments[..] else {
        return Err(UsageError::new(
            "expected SOURCE and MNT (mount helper: SOURCE MNT [-sfnv] [-o OPTS] [-t TYPE])",
        ));
    };
    let mut opts = MountOpts::default();
    for text in words.values(b'o') {
        opts.apply(text.as_encoded_bytes())?;
    }
    let request = Request {
        form: Form::MountHelper,
        source: Some(source.to_owned()),
        mountpoint: PathBuf::from(mountpoint),
        foreground: false,
        debug: false,
        opts,
    };
    let mut invocation = request.into_invocation()?;
    // -f is "fake": everything but the mount itself. -s is "sloppy", which we always are; -n and -v change nothing.
    if words.has(b'f') {
        invocation.command = Command::Nothing;
    }
    Ok(invocation)
}
