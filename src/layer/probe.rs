//! What the upperdir's filesystem can do, asked once per mount.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd};

use rustix::fs::{IFlags, OFlags, RenameFlags};
use rustix::io::Errno;

use super::staging::Staging;
use super::store::Store;
use crate::config::XattrNamespace;
use crate::format::marks::Mark;
use crate::format::namespace::MarkNamespace;
use crate::sys::{At, Result};
use crate::types::{Kind, NewTime};

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
    /// Where marks are written; `None` where the filesystem stores no such attributes.
    pub namespace: Option<MarkNamespace>,
    /// How whiteouts are written.
    pub whiteouts: WhiteoutStyle,
    /// Whether `O_TMPFILE` works.
    pub tmpfile: bool,
    /// What the filesystem cannot do and a union cannot do without.
    pub lacks: Option<&'static str>,
}

/// Whether something failed only because there is no room for it.
pub fn is_full(errno: Errno) -> bool {
    matches!(errno, Errno::NOSPC | Errno::DQUOT)
}

/// Whether something works; where there is no room to try it, it is taken to: the kernel asks for the right and the ability
/// first.
fn works<T>(outcome: &Result<T>) -> bool {
    outcome.as_ref().map_or_else(|error| is_full(error.errno()), |_| true)
}

impl Format {
    /// Asks the filesystem of the work directory, in which everything can be tried without being seen.
    pub fn probe(store: &dyn Store, staging: &Staging, wanted: XattrNamespace) -> Result<Self> {
        let namespace = probe_namespace(store, staging.dir()?, wanted);
        let device = staging.prepare()?;
        let made = store.mknod(device.at(), Kind::CharDevice, 0, 0);
        let whiteouts = if works(&made) {
            WhiteoutStyle::Device
        } else {
            if namespace.is_none() {
                made?;
            }
            log::info!("whiteouts are written as attributes, because device nodes cannot be made");
            WhiteoutStyle::Xattr
        };
        let tmpfile = works(&store.tmpfile(staging.dir()?, 0o600));
        let lacks = if !works(&probe_exchange(store, staging)) {
            Some("RENAME_EXCHANGE")
        } else if whiteouts == WhiteoutStyle::Device && !works(&probe_rename_whiteout(store, staging)) {
            Some("RENAME_WHITEOUT")
        } else {
            None
        };
        Ok(Self { namespace, whiteouts, tmpfile, lacks })
    }

    /// What to take for granted of a filesystem that has no room to try anything.
    pub fn assumed(wanted: XattrNamespace) -> Self {
        let trusted = match wanted {
            XattrNamespace::Auto => crate::sys::creds::administers_machine(),
            XattrNamespace::Trusted => true,
            XattrNamespace::User => false,
        };
        let namespace = Some(if trusted { MarkNamespace::Trusted } else { MarkNamespace::User });
        Self { namespace, whiteouts: WhiteoutStyle::Device, tmpfile: true, lacks: None }
    }

    /// That of a union that writes no marks, and looks for those that another one writes.
    pub fn unwritten(namespace: Option<MarkNamespace>) -> Self {
        Self { namespace, whiteouts: WhiteoutStyle::Xattr, tmpfile: false, lacks: None }
    }

    /// The attribute that holds a mark; `None` where attributes cannot be stored.
    pub fn mark(&self, mark: Mark) -> Option<OsString> {
        self.namespace.map(|namespace| namespace.attribute(mark))
    }

    /// Whether a file of this kind can have marks: attributes in the user namespace are for files and directories only
    /// (xattr(7)).
    pub fn can_mark(&self, kind: Kind) -> bool {
        match self.namespace {
            Some(MarkNamespace::Trusted) => true,
            Some(MarkNamespace::User) => matches!(kind, Kind::File | Kind::Directory),
            None => false,
        }
    }

    /// Whether marks are where only the administrator can write them.
    pub fn is_trusted(&self) -> bool {
        self.namespace == Some(MarkNamespace::Trusted)
    }

    /// Whether marks can be stored at all.
    pub fn has_xattrs(&self) -> bool {
        self.namespace.is_some()
    }
}

fn probe_namespace(store: &dyn Store, work: BorrowedFd<'_>, wanted: XattrNamespace) -> Option<MarkNamespace> {
    let candidates: &[MarkNamespace] = match wanted {
        XattrNamespace::Auto => &[MarkNamespace::Trusted, MarkNamespace::User],
        XattrNamespace::Trusted => &[MarkNamespace::Trusted],
        XattrNamespace::User => &[MarkNamespace::User],
    };
    let at = At::this(work);
    for namespace in candidates {
        let name = namespace.attribute(Mark::Opaque);
        match store.set_xattr(at, &name, b"y", 0).and_then(|()| store.remove_xattr(at, &name)) {
            Err(error) if !is_full(error.errno()) => {
                log::info!("marks cannot be stored as {}*: {error}", namespace.prefix())
            }
            _ => return Some(*namespace),
        }
    }
    log::warn!(
        "the upperdir's filesystem stores no extended attributes: opaque directories and renamed lower directories cannot be recorded"
    );
    None
}

fn probe_exchange(store: &dyn Store, staging: &Staging) -> Result<()> {
    let (one, two) = (staging.prepare()?, staging.prepare()?);
    store.mkdir(one.at(), 0o700)?;
    store.mkdir(two.at(), 0o700)?;
    store.rename(one.at(), two.at(), RenameFlags::EXCHANGE)
}

fn probe_rename_whiteout(store: &dyn Store, staging: &Staging) -> Result<()> {
    let (from, to) = (staging.prepare()?, staging.prepare()?);
    store.mkdir(from.at(), 0o700)?;
    store.rename(from.at(), to.at(), RenameFlags::WHITEOUT)
}

/// Whether files and directories can be renamed from the work directory into the upperdir, and out of it. They are on one mount,
/// but that is not all that counts: projects (xfs, ext4), encryption policies (fscrypt) and subvolumes (btrfs) have borders, too.
///
/// # Errors
/// That of the rename: `EXDEV` at a border. Where there is no room to try it, it is taken to work.
pub fn can_rename(store: &dyn Store, staging: &Staging, upper: BorrowedFd<'_>) -> Result<()> {
    let readable = store.open(At::new(upper, OsStr::new(".")), OFlags::RDONLY | OFlags::DIRECTORY, 0)?;
    if store.flags(readable.as_fd()).is_ok_and(|flags| flags.contains(IFlags::APPEND)) {
        // What is tried could not be removed again.
        return Ok(());
    }
    let before = store.stat_fd(readable.as_fd())?;
    let outcome = [Kind::File, Kind::Directory].into_iter().try_for_each(|kind| {
        let prepared = staging.prepare()?;
        match kind {
            Kind::Directory => store.mkdir(prepared.at(), 0o700)?,
            _ => {
                store.open(prepared.at(), OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, 0o600).map(drop)?
            }
        }
        let mut name = OsString::from(".unionfuse-probe");
        name.push(prepared.name());
        let there = At::new(upper, &name);
        store.rename(prepared.at(), there, RenameFlags::NOREPLACE)?;
        store.rename(there, prepared.at(), RenameFlags::NOREPLACE).inspect_err(|_| {
            let removed = if kind == Kind::Directory { store.rmdir(there) } else { store.unlink(there) };
            if let Err(error) = removed {
                log::warn!("cannot remove what was tried in the upperdir: {error}");
            }
        })
    });
    let mtime = Some(NewTime::At(before.mtime));
    if let Err(error) = store.set_times(At::this(upper), None, mtime) {
        log::debug!("the upperdir's time: {error}");
    }
    match outcome {
        Err(error) if !is_full(error.errno()) => Err(error),
        _ => Ok(()),
    }
}
