//! What the upperdir's filesystem can do, asked once per mount.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::RenameFlags;

use super::store::Store;
use crate::config::XattrNamespace;
use crate::sys::{At, Result};
use crate::types::Kind;

/// How whiteouts are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhiteoutStyle {
    /// Character device 0/0.
    Device,
    /// Zero-size file with `overlay.whiteout` in a directory whose `overlay.opaque` is `x` (Linux 6.7).
    Xattr,
}

/// How marks are written in the upperdir.
#[derive(Debug, Clone)]
pub struct Format {
    /// `trusted.overlay.` or `user.overlay.`; `None` where the filesystem stores no such attributes.
    prefix: Option<&'static str>,
    /// How whiteouts are written.
    pub whiteouts: WhiteoutStyle,
    /// Whether `O_TMPFILE` works.
    pub tmpfile: bool,
    /// Whether `RENAME_EXCHANGE` and `RENAME_WHITEOUT` work.
    pub rename_flags: bool,
}

impl Format {
    /// Asks the filesystem of the work directory, in which everything can be tried without being seen.
    pub fn probe(store: &dyn Store, work: BorrowedFd<'_>, namespace: XattrNamespace) -> Result<Self> {
        let prefix = probe_namespace(store, work, namespace);
        let device = At::new(work, OsStr::new("#probe"));
        let whiteouts = match store.mknod(device, Kind::CharDevice, 0, 0) {
            Ok(()) => {
                store.unlink(device)?;
                WhiteoutStyle::Device
            }
            Err(error) if prefix.is_some() => {
                log::info!(
                    "whiteouts are written as attributes, because device nodes cannot be made: {error}"
                );
                WhiteoutStyle::Xattr
            }
            Err(error) => return Err(error),
        };
        let tmpfile = store.tmpfile(work, 0o600).is_ok();
        let rename_flags = probe_exchange(store, work)?;
        Ok(Self { prefix, whiteouts, tmpfile, rename_flags })
    }

    /// The attribute that holds a mark such as `opaque`; `None` where attributes cannot be stored.
    pub fn mark(&self, mark: &str) -> Option<OsString> {
        self.prefix.map(|prefix| OsString::from(format!("{prefix}{mark}")))
    }

    /// Whether a file of this kind can have marks: attributes in the user namespace are for files and directories only
    /// (xattr(7)).
    pub fn can_mark(&self, kind: Kind) -> bool {
        match self.prefix {
            Some(prefix) => !prefix.starts_with("user.") || matches!(kind, Kind::File | Kind::Directory),
            None => false,
        }
    }

    /// Whether marks are where only the administrator can write them.
    pub fn is_trusted(&self) -> bool {
        self.prefix.is_some_and(|prefix| prefix.starts_with("trusted."))
    }

    /// Whether marks can be stored at all.
    pub fn has_xattrs(&self) -> bool {
        self.prefix.is_some()
    }
}

fn probe_namespace(store: &dyn Store, work: BorrowedFd<'_>, wanted: XattrNamespace) -> Option<&'static str> {
    let candidates: &[&'static str] = match wanted {
        XattrNamespace::Auto => &["trusted.overlay.", "user.overlay."],
        XattrNamespace::Trusted => &["trusted.overlay."],
        XattrNamespace::User => &["user.overlay."],
    };
    let at = At::this(work);
    for prefix in candidates {
        let name = OsString::from(format!("{prefix}opaque"));
        match store.set_xattr(at, &name, b"y", 0).and_then(|()| store.remove_xattr(at, &name)) {
            Ok(()) => return Some(prefix),
            Err(error) => log::info!("marks cannot be stored as {prefix}*: {error}"),
        }
    }
    log::warn!(
        "the upperdir's filesystem stores no extended attributes: opaque directories and renamed lower directories cannot be recorded"
    );
    None
}

fn probe_exchange(store: &dyn Store, work: BorrowedFd<'_>) -> Result<bool> {
    let (one, two) = (At::new(work, OsStr::new("#one")), At::new(work, OsStr::new("#two")));
    store.mkdir(one, 0o700)?;
    store.mkdir(two, 0o700)?;
    let works = store.rename(one, two, RenameFlags::EXCHANGE).is_ok();
    store.rmdir(one)?;
    store.rmdir(two)?;
    Ok(works)
}

/// Whether the work directory and the upperdir are on one mount, so that a rename from one to the other can work.
pub fn can_rename(store: &dyn Store, work: BorrowedFd<'_>, upper: BorrowedFd<'_>) -> Result<()> {
    let from = At::new(work, OsStr::new("#move"));
    store.mkdir(from, 0o700)?;
    // Renaming onto the root of the upperdir cannot succeed, but it fails with EXDEV before anything else is looked at.
    let outcome = store.rename(from, At::new(upper.as_fd(), OsStr::new(".")), RenameFlags::NOREPLACE);
    store.rmdir(from)?;
    match outcome {
        Err(error) if error.errno() == rustix::io::Errno::XDEV => Err(error),
        _ => Ok(()),
    }
}
