//! Names: few, so that everything meets everything, and bytes.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::sample::select;
use proptest::strategy::Strategy;

/// A path in the union.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name(pub &'static [u8]);

const NAMES: [Name; 17] = [
    Name(b"a"),
    Name(b"b"),
    Name(b"c"),
    Name(b"d"),
    Name(b"a/x"),
    Name(b"a/y"),
    Name(b"a/\xff"),
    Name(b"b/x"),
    Name(b"b/y"),
    Name(b"c/x"),
    Name(b"d/y"),
    Name(b"a/s"),
    Name(b"a/s/x"),
    Name(b"a/s/s"),
    Name(b"b/s"),
    Name(b"b/s/x"),
    Name(b"b/s/y"),
];

impl Name {
    /// The directory and the last name.
    pub fn split(self) -> (&'static [u8], &'static [u8]) {
        match self.0.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&self.0[..slash], &self.0[slash + 1..]),
            None => (b"", self.0),
        }
    }
}

impl AsRef<Path> for Name {
    fn as_ref(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.0))
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.0.escape_ascii())
    }
}

pub fn name() -> impl Strategy<Value = Name> + Clone {
    select(&NAMES[..])
}
