//! What a copy keeps beside the data: owner, attributes, mode, times.

use rustix::io::Errno;

use super::Union;
use super::ensure_upper::UpperDir;
use crate::error::Result;
use crate::idmap::LayerId;
use crate::sys::At;
use crate::types::{Kind, NewTime, Stat};

impl Union {
    /// Copies owner, attributes (ACLs and capabilities among them), mode and times.
    pub(super) fn copy_metadata(&self, from: At<'_>, stat: &Stat, to: At<'_>) -> Result<()> {
        self.copy_owner(stat, to)?;
        self.copy_xattrs(from, to)?;
        if stat.kind() != Kind::Symlink {
            self.store.chmod(to, self.copied_mode(stat))?;
        }
        Ok(self.store.set_times(to, Some(NewTime::At(stat.atime)), Some(NewTime::At(stat.mtime)))?)
    }

    fn copy_owner(&self, stat: &Stat, to: At<'_>) -> Result<()> {
        let map = &self.options.id_map;
        let kept = |id: LayerId, own: u32| if id == LayerId::Keep { None } else { Some(own) };
        let uid = kept(map.uid_to_layer(map.uid_to_union(stat.uid)), stat.uid);
        let gid = kept(map.gid_to_layer(map.gid_to_union(stat.gid)), stat.gid);
        if uid.is_none() && gid.is_none() {
            return Ok(());
        }
        Ok(self.store.chown(to, uid, gid)?)
    }

    fn copy_xattrs(&self, from: At<'_>, to: At<'_>) -> Result<()> {
        let names = match self.store.list_xattr(from) {
            Ok(names) => names,
            Err(error) if error.errno() == Errno::OPNOTSUPP => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        for name in super::xattr::names(&names).filter(|name| !self.options.marks.is_mark(name)) {
            let Some(value) = self.store.get_xattr(from, &name)? else {
                continue;
            };
            match self.store.set_xattr(to, &name, &value, 0) {
                // The label follows from the upperdir's policy where we may not set it (kernel: ovl_copy_xattr).
                Err(error)
                    if name == "security.selinux"
                        && matches!(error.errno(), Errno::PERM | Errno::ACCESS | Errno::OPNOTSUPP) => {}
                other => other?,
            }
        }
        Ok(())
    }

    /// A copy-up changes nothing that users see, so the directory's times stay. Failing that is no reason to fail.
    pub(super) fn restore_times(&self, dir: &UpperDir, before: Option<Stat>) {
        let Some(before) = before else { return };
        let (atime, mtime) = (NewTime::At(before.atime), NewTime::At(before.mtime));
        if let Err(error) = self.store.set_times(dir.this(), Some(atime), Some(mtime)) {
            log::warn!("times of a directory after copy-up: {error}");
        }
    }
}
