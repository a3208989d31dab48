//! Marks in layers: what they are called, how they are read and written, and what users of the union see of them.
//!
//! Reading understands everyone's marks: the kernel's in either namespace, AUFS/OCI names, fuse-overlayfs' opaque.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::store::Store;
use crate::sys::{At, Result};

/// Prefix of an AUFS whiteout: `.wh.NAME` hides `NAME` of the layers below (OCI image-spec, layer.md).
pub const AUFS_PREFIX: &[u8] = b".wh.";
/// The AUFS name that makes its directory opaque.
pub const AUFS_OPAQUE: &str = ".wh..wh..opq";
/// The attribute fuse-overlayfs marks opaque directories with.
pub const FUSE_OVERLAYFS_OPAQUE: &str = "user.fuseoverlayfs.opaque";

/// What the names of marks begin with.
pub(super) const MARK_PREFIXES: [&str; 2] = ["trusted.overlay.", "user.overlay."];
const ESCAPE: &str = "overlay.";
const FUSE_OVERLAYFS: &[u8] = b"user.fuseoverlayfs.";

/// Whether a name belongs to the AUFS marks and so is never visible in the union.
pub fn is_aufs_mark(name: &OsStr) -> bool {
    name.as_bytes().starts_with(AUFS_PREFIX)
}

/// The AUFS whiteout of a name; `None` when it would be longer than a name can be.
pub fn aufs_whiteout(name: &OsStr) -> Option<OsString> {
    let mut mark = OsString::with_capacity(AUFS_PREFIX.len() + name.len());
    mark.push(OsStr::from_bytes(AUFS_PREFIX));
    mark.push(name);
    (mark.len() <= 255).then_some(mark)
}

/// The marks on one file of a layer.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Marks {
    /// An opaque directory: it hides the layers below.
    pub opaque: bool,
    /// `overlay.opaque` is `x`: there may be attribute whiteouts in the directory.
    pub xattr_whiteouts: bool,
    /// A file marked as a whiteout.
    pub whiteout: bool,
    /// Where a renamed directory came from.
    pub redirect: Option<Vec<u8>>,
    /// The same, in an attribute that the directory's owner can set, see [`Marks::trust_owner`].
    pub user_redirect: Option<Vec<u8>>,
    /// Which lower file it was copied from.
    pub origin: Option<Vec<u8>>,
    /// The directory holds entries with an origin.
    pub impure: bool,
    /// Data is in a lower file.
    pub metacopy: bool,
    /// How the number of links in the union relates to that of the file.
    pub nlink: Option<Vec<u8>>,
}

impl Marks {
    /// Reads the marks of a file: one call where there are none.
    pub fn read(store: &dyn Store, at: At<'_>) -> Result<Self> {
        let names = match store.list_xattr(at) {
            Ok(names) => names,
            Err(error) if error.errno() == Errno::OPNOTSUPP => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut marks = Self::default();
        for name in names.split(|&byte| byte == 0) {
            marks.take(store, at, OsStr::from_bytes(name))?;
        }
        Ok(marks)
    }

    /// Takes the owner of a directory at his word about where it came from. Where the union has more rights than he, that would
    /// show everyone what lies in directories that are closed to him.
    pub fn trust_owner(&mut self) {
        self.redirect = self.redirect.take().or_else(|| self.user_redirect.take());
    }

    fn take(&mut self, store: &dyn Store, at: At<'_>, name: &OsStr) -> Result<()> {
        let value = || Ok::<_, crate::sys::Error>(store.get_xattr(at, name)?.unwrap_or_default());
        if name == FUSE_OVERLAYFS_OPAQUE {
            self.opaque |= value()? == b"y";
            return Ok(());
        }
        match mark_of(name) {
            Some(b"opaque") => match value()?.as_slice() {
                b"y" => self.opaque = true,
                b"x" => self.xattr_whiteouts = true,
                _ => {}
            },
            Some(b"redirect") if name.as_bytes().starts_with(b"user.") => self.user_redirect = Some(value()?),
            Some(b"redirect") => self.redirect = Some(value()?),
            Some(b"origin") => self.origin = Some(value()?),
            Some(b"nlink") => self.nlink = Some(value()?),
            Some(b"impure") => self.impure = value()? == b"y",
            Some(b"whiteout") => self.whiteout = true,
            Some(b"metacopy") => self.metacopy = true,
            _ => {}
        }
        Ok(())
    }
}

/// The mark an attribute stands for, e.g. `opaque`; `None` for attributes of users.
fn mark_of(name: &OsStr) -> Option<&[u8]> {
    let mark = MARK_PREFIXES.iter().find_map(|prefix| name.as_bytes().strip_prefix(prefix.as_bytes()))?;
    (!mark.starts_with(ESCAPE.as_bytes())).then_some(mark)
}

/// Whether an attribute is a mark of a union filesystem rather than a user's.
pub fn is_mark(name: &OsStr) -> bool {
    mark_of(name).is_some() || name.as_bytes().starts_with(FUSE_OVERLAYFS)
}

/// The name of an attribute as users of the union see it; `None` when it is a mark and so hidden.
pub fn name_in_union(on_disk: &OsStr) -> Option<Cow<'_, OsStr>> {
    if on_disk.as_bytes().starts_with(FUSE_OVERLAYFS) {
        return None;
    }
    for prefix in MARK_PREFIXES {
        if let Some(rest) = on_disk.as_bytes().strip_prefix(prefix.as_bytes()) {
            let own = rest.strip_prefix(ESCAPE.as_bytes())?;
            return Some(Cow::Owned(joined(prefix, own)));
        }
    }
    Some(Cow::Borrowed(on_disk))
}

/// The name an attribute set by a user of the union gets in a layer; what looks like a mark is escaped, so that a union
/// inside a union works (kernel: `ovl_own_xattr_handler`).
///
/// # Errors
/// `None` for names that can neither be stored nor escaped.
pub fn name_on_disk(in_union: &OsStr) -> Option<Cow<'_, OsStr>> {
    if in_union.as_bytes().starts_with(FUSE_OVERLAYFS) {
        return None;
    }
    for prefix in MARK_PREFIXES {
        if let Some(rest) = in_union.as_bytes().strip_prefix(prefix.as_bytes()) {
            let mut escaped = String::from(prefix);
            escaped.push_str(ESCAPE);
            return Some(Cow::Owned(joined(&escaped, rest)));
        }
    }
    Some(Cow::Borrowed(in_union))
}

fn joined(prefix: &str, rest: &[u8]) -> OsString {
    let mut name = OsString::from(prefix);
    name.push(OsStr::from_bytes(rest));
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_hidden_and_users_names_escaped() {
        for prefix in MARK_PREFIXES {
            let mark = format!("{prefix}opaque");
            assert_eq!(name_in_union(OsStr::new(&mark)), None);
            let stored = name_on_disk(OsStr::new(&mark)).unwrap().into_owned();
            assert_eq!(stored, OsString::from(format!("{prefix}overlay.opaque")));
            assert_eq!(name_in_union(&stored).unwrap(), OsStr::new(&mark));
            let twice = name_on_disk(&stored).unwrap().into_owned();
            assert_eq!(name_in_union(&twice).unwrap(), stored);
        }
        assert_eq!(name_on_disk(OsStr::new("user.a")).unwrap(), OsStr::new("user.a"));
        assert_eq!(name_in_union(OsStr::new("user.fuseoverlayfs.opaque")), None);
        assert_eq!(name_on_disk(OsStr::new("user.fuseoverlayfs.x")), None);
    }

    #[test]
    fn aufs_names() {
        assert!(is_aufs_mark(OsStr::new(".wh.x")) && is_aufs_mark(OsStr::new(AUFS_OPAQUE)));
        assert!(!is_aufs_mark(OsStr::new(".whx")));
        assert_eq!(aufs_whiteout(OsStr::new("a")).unwrap(), ".wh.a");
        assert_eq!(aufs_whiteout(OsStr::new(&"a".repeat(252))), None);
    }
}
