//! What a copy keeps beside the data: owner, attributes, mode, times.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;

use crate::error::Result;
use crate::ops::copy_up::CopyUp;
use crate::ops::lookup::UpperDir;
use crate::sys::At;
use crate::types::{Kind, NewTime, Stat};

impl CopyUp {
    /// Copies owner, attributes (ACLs and capabilities among them), mode and times.
    pub(in crate::ops) fn copy_metadata(&self, from: At<'_>, stat: &Stat, to: At<'_>) -> Result<()> {
        self.copy_owner(stat, to)?;
        self.copy_xattrs(from, to)?;
        if stat.kind() != Kind::Symlink {
            self.store.chmod(to, self.owners.copied_mode(stat))?;
        }
        Ok(self.store.set_times(to, Some(NewTime::At(stat.atime)), Some(NewTime::At(stat.mtime)))?)
    }

    fn copy_owner(&self, stat: &Stat, to: At<'_>) -> Result<()> {
        let (uid, gid) = self.owners.of_copy(stat);
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
        for name in each_name(&names).filter(|name| !self.options.marks.is_mark(name)) {
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
    pub(in crate::ops) fn restore_times(&self, dir: &UpperDir, before: Option<Stat>) {
        let Some(before) = before else { return };
        let (atime, mtime) = (NewTime::At(before.atime), NewTime::At(before.mtime));
        if let Err(error) = self.store.set_times(dir.this(), Some(atime), Some(mtime)) {
            log::warn!("times of a directory after copy-up: {error}");
        }
    }
}

/// Names of attributes as `listxattr(2)` gives them, one by one.
fn each_name(list: &[u8]) -> impl Iterator<Item = OsString> {
    list.split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| OsStr::from_bytes(name).to_owned())
}
