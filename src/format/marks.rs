//! Marks that are attributes: what each says.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;

use super::namespace::MarkNamespace;

/// The attribute fuse-overlayfs marks opaque directories with.
pub const FUSE_OVERLAYFS_OPAQUE: &str = "user.fuseoverlayfs.opaque";

/// One that overlay filesystems set on files of layers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// A directory that hides those of the layers below (`y`), or in which there may be attribute whiteouts (`x`).
    Opaque,
    /// Where a renamed directory came from ([`super::redirect`]).
    Redirect,
    /// Which lower file it was copied from ([`super::origin`]).
    Origin,
    /// Which upperdir an index belongs to.
    Upper,
    /// The same on a filesystem without a UUID, which the kernel's mark needs. Ours alone.
    UpperWithoutUuid,
    /// A directory that holds entries with an origin (`y`).
    Impure,
    /// How the number of links in the union relates to that of the file ([`super::nlink`]).
    Nlink,
    /// A file of no size that is a whiteout.
    Whiteout,
    /// A file whose data is in a lower one.
    Metacopy,
    /// A directory in which names that begin with `.wh.` are ordinary ones (`y`). Ours alone.
    PlainNames,
}

impl Mark {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Opaque,
        Self::Redirect,
        Self::Origin,
        Self::Upper,
        Self::UpperWithoutUuid,
        Self::Impure,
        Self::Nlink,
        Self::Whiteout,
        Self::Metacopy,
        Self::PlainNames,
    ];

    /// Its name behind the prefix of the namespace.
    pub fn name(self) -> &'static str {
        match self {
            Self::Opaque => "opaque",
            Self::Redirect => "redirect",
            Self::Origin => "origin",
            Self::Upper => "upper",
            Self::UpperWithoutUuid => "unionfuse.upper",
            Self::Impure => "impure",
            Self::Nlink => "nlink",
            Self::Whiteout => "whiteout",
            Self::Metacopy => "metacopy",
            Self::PlainNames => "unionfuse.wh",
        }
    }

    /// The one of that name.
    pub fn named(name: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|mark| mark.name().as_bytes() == name)
    }
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
    /// Those of a file with the attributes `names`, a list with a NUL behind each name (listxattr(2)). `value` is asked only for
    /// attributes that are marks whose value says something.
    ///
    /// # Errors
    /// Those of `value`.
    pub fn collect<E>(
        namespace: MarkNamespace,
        names: &[u8],
        mut value: impl FnMut(&OsStr) -> Result<Vec<u8>, E>,
    ) -> Result<Self, E> {
        let mut marks = Self::default();
        for name in names.split(|&byte| byte == 0).map(OsStr::from_bytes) {
            if name == FUSE_OVERLAYFS_OPAQUE {
                marks.opaque |= value(name)? == b"y";
                continue;
            }
            match namespace.mark_of(name) {
                Some(Mark::Opaque) => match value(name)?.as_slice() {
                    b"y" => marks.opaque = true,
                    b"x" => marks.xattr_whiteouts = true,
                    _ => {}
                },
                Some(Mark::Redirect) => marks.redirect = Some(value(name)?),
                Some(Mark::Origin) => marks.origin = Some(value(name)?),
                Some(Mark::Nlink) => marks.nlink = Some(value(name)?),
                Some(Mark::Impure) => marks.impure = value(name)? == b"y",
                Some(Mark::PlainNames) => marks.plain_names = value(name)? == b"y",
                Some(Mark::Whiteout) => marks.whiteout = true,
                Some(Mark::Metacopy) => marks.metacopy = true,
                Some(Mark::Upper | Mark::UpperWithoutUuid) | None => {}
            }
        }
        Ok(marks)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_what_their_attributes_say() {
        let names = b"user.x\0trusted.overlay.opaque\0trusted.overlay.redirect\0trusted.overlay.whiteout\0user.overlay.impure\0";
        let mut asked = Vec::new();
        let marks = Marks::collect::<()>(MarkNamespace::Trusted, names, |name| {
            asked.push(name.to_owned());
            Ok(b"y".to_vec())
        })
        .unwrap();
        let wanted =
            Marks { opaque: true, whiteout: true, redirect: Some(b"y".to_vec()), ..Marks::default() };
        assert_eq!(marks, wanted);
        assert_eq!(asked, ["trusted.overlay.opaque", "trusted.overlay.redirect"]);
        assert_eq!(Marks::collect(MarkNamespace::User, b"user.overlay.opaque\0", |_| Err(7)), Err(7));
    }

    #[test]
    fn fuse_overlayfs_opaque_counts_in_either_namespace() {
        for namespace in [MarkNamespace::Trusted, MarkNamespace::User] {
            let marks =
                Marks::collect::<()>(namespace, b"user.fuseoverlayfs.opaque\0", |_| Ok(b"y".to_vec()));
            assert!(marks.unwrap().opaque);
        }
    }
}
