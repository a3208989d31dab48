//! From parsed words to a [`MountConfig`]: the defaults, which depend on how the program was called.

use std::ffi::OsString;
use std::path::PathBuf;

use super::error::UsageError;
use super::mount_opts::MountOpts;
use super::{Command, Invocation};
use crate::config::{MountConfig, UnionConfig, XattrNamespace};

const DEFAULT_SOURCE: &str = "unionfuse";

/// How the program was called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `unionfuse mount …`
    Subcommand,
    /// `unionfuse -o … MNT`, as container engines call a mount program.
    MountProgram,
    /// `unionfuse SOURCE MNT -o …` or `mount.unionfuse`, as mount(8) calls a helper. By the name `fuse-overlayfs`, which only
    /// container engines know, it is a [`Form::MountProgram`] all the same (containerd's snapshotter goes through mount.fuse3).
    MountHelper,
}

impl Form {
    /// Container engines archive the upper directory as it is, and an archive cannot follow redirects.
    fn redirects_by_default(self) -> Option<bool> {
        (self == Self::MountProgram).then_some(false)
    }

    /// Container engines mount a running container's layers once more to look at what it has changed (commit, diff), not all of
    /// them with `ro`.
    fn yields(self) -> bool {
        self == Self::MountProgram
    }
}

/// A mount as it was asked for.
#[derive(Debug)]
pub struct Request {
    /// How the program was called.
    pub form: Form,
    /// The SOURCE argument, if there was one.
    pub source: Option<OsString>,
    /// The MNT argument.
    pub mountpoint: PathBuf,
    /// `-f`
    pub foreground: bool,
    /// `-d`
    pub debug: bool,
    /// `-o` and its equivalents.
    pub opts: MountOpts,
}

impl Request {
    /// Fills in the defaults.
    ///
    /// # Errors
    /// Without a lower layer, and for options that exclude each other.
    pub fn into_invocation(mut self) -> Result<Invocation, UsageError> {
        if self.opts.remount {
            let command = Command::Remount { mountpoint: self.mountpoint, flags: self.opts.flags };
            return Ok(Invocation { command, notes: self.opts.notes });
        }
        if let Some(option) = self.opts.privileges_to_drop {
            return Err(UsageError::new(format!(
                "option '{option}': only mount.fuse3 can mount with more rights than the daemon has; run unionfuse as that user"
            )));
        }
        if self.opts.lowers.is_empty() {
            let remedy = match (self.form, &self.source) {
                (Form::Subcommand, _) => "add '--lower DIR'".to_owned(),
                (Form::MountHelper, Some(word)) => format!(
                    "add '-o lowerdir=DIR', or correct '{}' if it is to be a command (see 'unionfuse --help')",
                    word.display()
                ),
                _ => "add '-o lowerdir=DIR' (see 'unionfuse --help')".to_owned(),
            };
            return Err(UsageError::new(format!("no lower directory: {remedy}")));
        }
        if self.opts.session.passthrough && self.opts.session.writeback {
            return Err(UsageError::new(
                "options 'passthrough' and 'writeback' exclude each other: what is passed through is not gathered",
            ));
        }
        if self.opts.upper.is_none() && self.opts.work.take().is_some() {
            self.opts
                .warn("a work directory is of no use without an upper directory and is ignored".to_owned());
        }
        let notes = std::mem::take(&mut self.opts.notes);
        let config = Box::new(self.into_config());
        Ok(Invocation { command: Command::Mount(config), notes })
    }

    fn into_config(self) -> MountConfig {
        let opts = self.opts;
        let mut flags = opts.flags;
        flags.read_only |= opts.upper.is_none();
        let named = |source: &OsString| !source.is_empty();
        let source = self.source.filter(named).or(opts.source.filter(named));
        MountConfig {
            union: UnionConfig {
                redirect_dir: opts.redirect_dir.or(self.form.redirects_by_default()),
                index: opts.index.unwrap_or(true),
                xattr_namespace: if opts.user_xattr { XattrNamespace::User } else { XattrNamespace::Auto },
                durability: opts.durability,
                id_map: opts.id_map,
                read_only: flags.read_only,
                yields: self.form.yields(),
                no_atime: flags.no_atime,
                upper: opts.upper,
                work: opts.work,
                lowers: opts.lowers,
            },
            mountpoint: self.mountpoint,
            source: source.unwrap_or_else(|| DEFAULT_SOURCE.into()),
            foreground: self.foreground || self.debug,
            debug: self.debug,
            flags,
            session: opts.session,
            sandbox: opts.sandbox,
        }
    }
}
