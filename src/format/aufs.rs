//! Marks that are names: AUFS' and those of OCI layers (image-spec, layer.md).

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// Prefix of a whiteout: `.wh.NAME` hides `NAME` of the layers below.
pub const PREFIX: &[u8] = b".wh.";
/// The name that makes its directory opaque.
pub const OPAQUE: &str = ".wh..wh..opq";

/// The longest name of a file, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Whether a name is a mark where it lies in a lowerdir, unless its directory says otherwise
/// (`Marks::plain_names`).
pub fn is_mark(name: &OsStr) -> bool {
    name.as_bytes().starts_with(PREFIX)
}

/// The name that a whiteout hides; `None` for other names.
pub fn hidden_by(mark: &OsStr) -> Option<&OsStr> {
    mark.as_bytes().strip_prefix(PREFIX).map(OsStr::from_bytes)
}

/// The whiteout of a name; `None` when it would be longer than a name can be.
pub fn whiteout(name: &OsStr) -> Option<OsString> {
    let mut mark = OsString::with_capacity(PREFIX.len() + name.len());
    mark.push(OsStr::from_bytes(PREFIX));
    mark.push(name);
    (mark.len() <= NAME_MAX).then_some(mark)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiteouts_are_names() {
        assert!(is_mark(OsStr::new(".wh.x")) && is_mark(OsStr::new(OPAQUE)));
        assert!(!is_mark(OsStr::new(".whx")));
        assert_eq!(whiteout(OsStr::new("a")).unwrap(), ".wh.a");
        assert_eq!(hidden_by(OsStr::new(".wh.a")).unwrap(), "a");
        assert_eq!(hidden_by(OsStr::new("a")), None);
        assert_eq!(whiteout(OsStr::new(&"a".repeat(252))), None);
    }
}
