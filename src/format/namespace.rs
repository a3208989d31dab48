//! Where marks are: in which attributes, and what users of the union see of them.
//!
//! A union has one namespace for its marks. Beside those it understands AUFS/OCI names and fuse-overlayfs' opaque.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use super::marks::Mark;

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
    /// What the names of its marks begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.",
            Self::User => "user.overlay.",
        }
    }

    /// The attribute that holds a mark.
    pub fn attribute(self, mark: Mark) -> OsString {
        OsString::from(format!("{}{}", self.prefix(), mark.name()))
    }

    /// The mark that an attribute holds; `None` for attributes of users, and for marks that mean nothing here.
    pub fn mark_of(self, attribute: &OsStr) -> Option<Mark> {
        Mark::named(attribute.as_bytes().strip_prefix(self.prefix().as_bytes())?)
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
    fn each_mark_has_its_attribute() {
        for namespace in [MarkNamespace::Trusted, MarkNamespace::User] {
            for mark in Mark::ALL {
                assert_eq!(namespace.mark_of(&namespace.attribute(mark)), Some(mark));
            }
            let escaped = format!("{}overlay.opaque", namespace.prefix());
            assert_eq!(namespace.mark_of(OsStr::new(&escaped)), None);
        }
    }
}
