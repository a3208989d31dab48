//! Writing marks into the upperdir.

use std::ffi::OsStr;

use super::Union;
use super::ensure_upper::UpperDir;
use crate::error::Result;
use crate::format::marks::Mark;
use crate::format::{aufs, origin};
use crate::layer::dir::RealDir;
use crate::namespace::node::Node;
use crate::sys::At;

impl Union {
    /// The value of `overlay.origin` for a copy of `from`; `None` where it cannot be recorded.
    pub(super) fn origin_of(&self, from: At<'_>, dir: &RealDir) -> Result<Option<Vec<u8>>> {
        let filesystem = self.nodes.numbers().filesystem(dir.layer());
        let records = self.is_view() || self.upper()?.format.has_xattrs();
        let Some(filesystem) = filesystem.filter(|filesystem| filesystem.handles && records) else {
            return Ok(None);
        };
        let handle = self.store.handle(from)?;
        Ok(handle.and_then(|handle| origin::encode(&handle, &filesystem.uuid)))
    }

    pub(super) fn set_mark(&self, at: At<'_>, mark: Mark, value: &[u8]) -> Result<()> {
        let name = self.upper()?.format.mark(mark);
        let Some(name) = name else { return Ok(()) };
        self.despite_mode(at, || Ok(self.store.set_xattr(at, &name, value, 0)?))
    }

    /// To be called before a name comes into a directory, be it as a whiteout: one that begins with `.wh.` would be an AUFS mark
    /// when the upperdir is a lowerdir of another union one day, unless its directory says that it is none.
    pub(super) fn announce_name(&self, dir: &UpperDir, name: &OsStr) -> Result<()> {
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
    pub(super) fn mark_impure(&self, node: &Node, dir: &UpperDir) -> Result<()> {
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
}
