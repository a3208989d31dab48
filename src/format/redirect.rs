//! `overlay.redirect`: where the lower part of a renamed directory is.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

/// The longest name of a file, in bytes (`NAME_MAX`).
const NAME_MAX: usize = 255;

/// Where the layers below have a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Redirect {
    /// By these names from the root of the layer.
    Absolute(Vec<Arc<OsStr>>),
    /// Under this name in the directory that it would be in anyway.
    Sibling(Arc<OsStr>),
}

/// A value that is no redirect, or could lead out of a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BrokenRedirect;

impl fmt::Display for BrokenRedirect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("broken overlay.redirect in a layer")
    }
}

impl std::error::Error for BrokenRedirect {}

impl Redirect {
    /// Takes a value apart.
    ///
    /// # Errors
    /// For components such as `..`, which could lead out of a layer, empty ones, ones that are no names, and paths that do not begin
    /// with `/`.
    pub fn parse(value: &[u8]) -> Result<Self, BrokenRedirect> {
        match value.strip_prefix(b"/") {
            Some(path) => {
                Ok(Self::Absolute(path.split(|&byte| byte == b'/').map(component).collect::<Result<_, _>>()?))
            }
            None if value.contains(&b'/') => Err(BrokenRedirect),
            None => Ok(Self::Sibling(component(value)?)),
        }
    }

    /// Whether a value says where the directory is wherever it is moved to.
    pub fn is_absolute(value: &[u8]) -> bool {
        value.starts_with(b"/")
    }
}

fn component(part: &[u8]) -> Result<Arc<OsStr>, BrokenRedirect> {
    let valid =
        !part.is_empty() && part != b"." && part != b".." && part.len() <= NAME_MAX && !part.contains(&0);
    if valid { Ok(Arc::from(OsStr::from_bytes(part))) } else { Err(BrokenRedirect) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn redirects_that_could_leave_a_layer_are_refused() {
        for value in ["", "/", "..", ".", "/..", "/a/../b", "a/b", "//a", "/a/", "/a//b", "a\0b"] {
            assert_eq!(Redirect::parse(value.as_bytes()), Err(BrokenRedirect), "{value:?}");
        }
        assert!(matches!(Redirect::parse(b"/a/b"), Ok(Redirect::Absolute(path)) if path.len() == 2));
        assert!(matches!(Redirect::parse(b"a"), Ok(Redirect::Sibling(_))));
    }
}
