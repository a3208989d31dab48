//! Writing marks into the upperdir.

use std::ffi::{OsStr, OsString};

use crate::error::Result;
use crate::format::aufs;
use crate::format::marks::Mark;
use crate::namespace::node::Node;
use crate::ops::copy_up::CopyUp;
use crate::ops::lookup::UpperDir;
use crate::sys::At;

impl CopyUp {
    pub(in crate::ops) fn set_mark(&self, at: At<'_>, mark: Mark, value: &[u8]) -> Result<()> {
        let name = self.upper()?.format.mark(mark);
        let Some(name) = name else { return Ok(()) };
        self.despite_mode(at, || Ok(self.store.set_xattr(at, &name, value, 0)?))
    }

    /// To be called before a name comes into a directory, be it as a whiteout: one that begins with `.wh.` would be an AUFS mark
    /// when the upperdir is a lowerdir of another union one day, unless its directory says that it is none.
    pub(in crate::ops) fn announce_name(&self, dir: &UpperDir, name: &OsStr) -> Result<()> {
        if !aufs::is_mark(name) || dir.real.has_plain_names() {
            return Ok(());
        }
        if !self.upper()?.format.has_xattrs() {
            log::warn!(
                "{name:?}: where this upperdir is a lowerdir, the name will be a whiteout: no mark can be set"
            );
        }
        self.set_mark(dir.this(), Mark::PlainNames, b"y")?;
        dir.real.set_plain_names();
        Ok(())
    }

    /// Marks a directory as holding entries with an origin, so that lookups in it read the marks of files.
    pub(in crate::ops) fn mark_impure(&self, node: &Node, dir: &UpperDir) -> Result<()> {
        if node.peek_dir(|directory| directory.impure) == Some(true) {
            return Ok(());
        }
        self.set_mark(dir.this(), Mark::Impure, b"y")?;
        node.with_dir(|directory| directory.impure = true);
        self.changed_in_passing(node);
        // A lookup that read the marks before must not make the directory's node of them once this one is forgotten.
        if let Some(link) = node.link() {
            link.parent.with_dir(|directory| directory.copies += 1);
        }
        Ok(())
    }

    /// Attribute whiteouts are looked for only in directories marked so, or opaque ones: there is one mark for both.
    pub(in crate::ops) fn announce_xattr_whiteouts(&self, dir: &UpperDir) -> Result<()> {
        if !self.whiteouts_are_attributes() || dir.real.has_xattr_whiteouts() {
            return Ok(());
        }
        if !self.read_marks(dir.this())?.opaque {
            self.set_mark(dir.this(), Mark::Opaque, b"x")?;
        }
        dir.real.set_xattr_whiteouts();
        Ok(())
    }

    /// Marks a directory opaque.
    ///
    /// # Errors
    /// `EOPNOTSUPP` where the upperdir has no extended attributes.
    pub(in crate::ops) fn set_opaque(&self, at: At<'_>) -> Result<()> {
        let upper = self.upper()?;
        let name: Option<OsString> = upper.format.mark(Mark::Opaque);
        let Some(name) = name else {
            let errno = rustix::io::Errno::OPNOTSUPP;
            return Err(crate::Error::refused(
                errno,
                "an opaque directory needs extended attributes in the upperdir",
            ));
        };
        self.despite_mode(at, || Ok(self.store.set_xattr(at, &name, b"y", 0)?))
    }
}
