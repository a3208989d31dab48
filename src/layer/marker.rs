//! Marks in layers: what they are called, how they are read and written, and what users of the union see of them.
//!
//! A union has one namespace for its marks. Beside those it understands AUFS/OCI names and fuse-overlayfs' opaque.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use super::store::Store;
use crate::config::XattrNamespace;
use crate::sys::{At, Result, creds};

/// Prefix of an AUFS whiteout: `.wh.NAME` hides `NAME` of the layers below (OCI image-spec, layer.md).
pub const AUFS_PREFIX: &[u8] = b".wh.";
/// The AUFS name that makes its directory opaque.
pub const AUFS_OPAQUE: &str = ".wh..wh..opq";
/// The attribute fuse-overlayfs marks opaque directories with.
pub const FUSE_OVERLAYFS_OPAQUE: &str = "user.fuseoverlayfs.opaque";

/// The mark on a directory in which names that begin with `.wh.` were made: they are ordinary ones, and no AUFS marks.
pub const PLAIN_NAMES: &str = "unionfuse.wh";

const ESCAPE: &[u8] = b"overlay.";
const FUSE_OVERLAYFS: &str = "user.fuseoverlayfs.";

/// The attributes in which a union has its marks. What looks like a mark in the other namespace is a user's attribute, as for the
/// kernel's overlayfs (`ovl_xattr_table`, `userxattr`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkNamespace {
    /// `trusted.overlay.*`, which the administrator alone can read and write.
    Trusted,
    /// `user.overlay.*`.
    User,
}

impl MarkNamespace {
    /// That of a union which writes none: the one that is asked for. Else what owners of files can set counts only where the process
    /// has no more rights than they.
    pub fn of_reader(wanted: XattrNamespace) -> Self {
        match wanted {
            XattrNamespace::Trusted => Self::Trusted,
            XattrNamespace::User => Self::User,
            XattrNamespace::Auto if creds::rules_files() && creds::in_initial_user_namespace() => {
                Self::Trusted
            }
            XattrNamespace::Auto => Self::User,
        }
    }

    /// What the names of its marks begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }

    /// The attribute that holds a mark such as `opaque`.
    pub fn attribute(self, mark: &str) -> OsString {
        OsString::from(format!("{}{mark}", self.prefix()))
    }

    /// The mark an attribute stands for, e.g. `opaque`; `None` for attributes of users.
    fn mark_of(self, name: &OsStr) -> Option<&[u8]> {
        let mark = name.as_bytes().strip_prefix(self.prefix().as_bytes())?;
        (!mark.starts_with(ESCAPE)).then_some(mark)
    }

    /// What of names would be taken for marks by this union, or by fuse-overlayfs when it is a layer of one.
    fn claimed(self) -> [&'static str; 2] {
        [self.prefix(), FUSE_OVERLAYFS]
    }

    /// Whether an attribute is a mark of a union filesystem rather than a user's.
    pub fn is_mark(self, on_disk: &OsStr) -> bool {
        self.name_in_union(on_disk).is_none()
    }

    /// The name of an attribute as users of the union see it; `None` when it is a mark and so hidden.
    pub fn name_in_union(self, on_disk: &OsStr) -> Option<Cow<'_, OsStr>> {
        for prefix in self.claimed() {
            if let Some(rest) = on_disk.as_bytes().strip_prefix(prefix.as_bytes()) {
                let own = rest.strip_prefix(ESCAPE)?;
                return Some(Cow::Owned(joined(&[prefix.as_bytes(), own])));
            }
        }
        Some(Cow::Borrowed(on_disk))
    }

    /// The name an attribute set by a user of the union gets in a layer; what looks like a mark is escaped, so that a union
    /// inside a union works (kernel: `ovl_own_xattr_handler`).
    pub fn name_on_disk(self, in_union: &OsStr) -> Cow<'_, OsStr> {
        for prefix in self.claimed() {
            if let Some(rest) = in_union.as_bytes().strip_prefix(prefix.as_bytes()) {
                return Cow::Owned(joined(&[prefix.as_bytes(), ESCAPE, rest]));
            }
        }
        Cow::Borrowed(in_union)
    }
}

fn joined(parts: &[&[u8]]) -> OsString {
    parts.iter().map(|part| OsStr::from_bytes(part)).collect()
}

/// Whether a name is an AUFS mark where it lies in a lowerdir, unless its directory says otherwise ([`Marks::plain_names`]).
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
    /// Which lower file it was copied from.
    pub origin: Option<Vec<u8>>,
    /// The directory holds entries with an origin.
    pub impure: bool,
    /// Names in the directory that begin with `.wh.` are ordinary ones.
    pub plain_names: bool,
    /// Data is in a lower file.
    pub metacopy: bool,
    /// How the number of links in the union relates to that of the file.
    pub nlink: Option<Vec<u8>>,
}

impl Marks {
    /// Reads the marks of a file in a namespace: one call where there are none.
    pub fn read(store: &dyn Store, namespace: MarkNamespace, at: At<'_>) -> Result<Self> {
        let names = match store.list_xattr(at) {
            Ok(names) => names,
            Err(error) if error.errno() == Errno::OPNOTSUPP => return Ok(Self::default()),
            Err(error) => return Err(error),
        };
        let mut marks = Self::default();
        for name in names.split(|&byte| byte == 0) {
            marks.take(store, namespace, at, OsStr::from_bytes(name))?;
        }
        Ok(marks)
    }

    fn take(&mut self, store: &dyn Store, namespace: MarkNamespace, at: At<'_>, name: &OsStr) -> Result<()> {
        let value = || Ok::<_, crate::sys::Error>(store.get_xattr(at, name)?.unwrap_or_default());
        if name == FUSE_OVERLAYFS_OPAQUE {
            self.opaque |= value()? == b"y";
            return Ok(());
        }
        match namespace.mark_of(name) {
            Some(b"opaque") => match value()?.as_slice() {
                b"y" => self.opaque = true,
                b"x" => self.xattr_whiteouts = true,
                _ => {}
            },
            Some(b"redirect") => self.redirect = Some(value()?),
            Some(b"origin") => self.origin = Some(value()?),
            Some(b"nlink") => self.nlink = Some(value()?),
            Some(b"impure") => self.impure = value()? == b"y",
            Some(b"whiteout") => self.whiteout = true,
            Some(mark) if mark == PLAIN_NAMES.as_bytes() => self.plain_names = value()? == b"y",
            Some(b"metacopy") => self.metacopy = true,
            _ => {}
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_hidden_and_users_names_escaped() {
        for namespace in [MarkNamespace::Trusted, MarkNamespace::User] {
            for prefix in namespace.claimed() {
                let mark = format!("{prefix}opaque");
                assert_eq!(namespace.name_in_union(OsStr::new(&mark)), None);
                let stored = namespace.name_on_disk(OsStr::new(&mark)).into_owned();
                assert_eq!(stored, OsString::from(format!("{prefix}overlay.opaque")));
                assert_eq!(namespace.name_in_union(&stored).unwrap(), OsStr::new(&mark));
                let twice = namespace.name_on_disk(&stored).into_owned();
                assert_eq!(namespace.name_in_union(&twice).unwrap(), stored);
            }
            assert_eq!(namespace.name_on_disk(OsStr::new("user.a")), OsStr::new("user.a"));
        }
    }

    #[test]
    fn marks_of_the_other_namespace_are_data() {
        for (namespace, other) in
            [(MarkNamespace::Trusted, "user.overlay.opaque"), (MarkNamespace::User, "trusted.overlay.opaque")]
        {
            assert!(!namespace.is_mark(OsStr::new(other)));
            assert_eq!(namespace.name_on_disk(OsStr::new(other)), OsStr::new(other));
        }
    }

    #[test]
    fn aufs_names() {
        assert!(is_aufs_mark(OsStr::new(".wh.x")) && is_aufs_mark(OsStr::new(AUFS_OPAQUE)));
        assert!(!is_aufs_mark(OsStr::new(".whx")));
        assert_eq!(aufs_whiteout(OsStr::new("a")).unwrap(), ".wh.a");
        assert_eq!(aufs_whiteout(OsStr::new(&"a".repeat(252))), None);
    }
}
