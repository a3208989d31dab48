//! Set-id bits, which a change of the data takes away.

use std::os::fd::AsFd;

use crate::error::Result;
use crate::namespace::open_files::OpenFile;
use crate::ops::file::File;
use crate::sys::At;
use crate::types::Caller;

impl File {
    /// Takes the set-id bits away that a change of the data by `caller` must not leave. Returns whether there were any.
    pub(in crate::ops) fn clear_set_id_for(&self, caller: Caller, file: &OpenFile) -> Result<bool> {
        if self.owners.may_keep_set_id(caller) {
            return Ok(false);
        }
        self.clear_set_id(caller, file)
    }

    /// [`File::clear_set_id_for`] a caller known not to have `CAP_FSETID`.
    pub(in crate::ops) fn clear_set_id(&self, caller: Caller, file: &OpenFile) -> Result<bool> {
        let stat = self.store.stat_fd(file.fd.as_fd())?;
        let clear = self.owners.set_id_to_clear(caller, &stat);
        if clear == 0 {
            return Ok(false);
        }
        let _steady = self.steady_mode();
        let stat = self.store.stat_fd(file.fd.as_fd())?;
        self.store.chmod(At::this(file.fd.as_fd()), stat.mode & 0o7777 & !clear)?;
        Ok(true)
    }
}
