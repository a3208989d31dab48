//! Whiteouts in the upperdir.

use std::ffi::OsStr;

use rustix::fs::{OFlags, RenameFlags};

use crate::error::Result;
use crate::format::marks::Mark;
use crate::layer::probe::WhiteoutStyle;
use crate::layer::staging::Prepared;
use crate::ops::entries::Entries;
use crate::ops::lookup::UpperDir;
use crate::sys::At;

impl Entries {
    /// Puts a whiteout where the upperdir has nothing.
    pub(in crate::ops) fn put_whiteout(&self, dir: &UpperDir, name: &OsStr) -> Result<()> {
        let upper = self.upper()?;
        self.announce_name(dir, name)?;
        if upper.format.whiteouts == WhiteoutStyle::Device {
            return Ok(upper.staging.make_whiteout(dir.at(name))?);
        }
        let prepared = self.prepare_whiteout(dir)?;
        self.store.rename(prepared.at(), dir.at(name), RenameFlags::NOREPLACE)?;
        prepared.published();
        Ok(())
    }

    /// Replaces a file of the upperdir with a whiteout, in one step.
    pub(in crate::ops) fn whiteout_over_file(&self, dir: &UpperDir, name: &OsStr) -> Result<()> {
        self.announce_name(dir, name)?;
        let prepared = self.prepare_whiteout(dir)?;
        self.store.rename(prepared.at(), dir.at(name), RenameFlags::empty())?;
        prepared.published();
        Ok(())
    }

    /// Replaces a directory of the upperdir with a whiteout, in one step; the directory is where that was prepared then, and removed
    /// with all that is left in it unless it is kept.
    pub(in crate::ops) fn whiteout_over_dir(&self, dir: &UpperDir, name: &OsStr) -> Result<Prepared<'_>> {
        self.announce_name(dir, name)?;
        let prepared = self.prepare_whiteout(dir)?;
        self.despite_mode(dir.at(name), || {
            Ok(self.store.rename(prepared.at(), dir.at(name), RenameFlags::EXCHANGE)?)
        })?;
        Ok(prepared)
    }

    /// Leaves a whiteout behind where `from` was, if asked to, and moves it to `to`.
    pub(in crate::ops) fn move_away(
        &self,
        from: (&UpperDir, &OsStr),
        to: At<'_>,
        leave_whiteout: bool,
        replace: bool,
    ) -> Result<()> {
        let at = from.0.at(from.1);
        let mut flags = if replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        if !leave_whiteout {
            return Ok(self.store.rename(at, to, flags)?);
        }
        if self.upper()?.format.whiteouts == WhiteoutStyle::Device {
            flags |= RenameFlags::WHITEOUT;
            return Ok(self.store.rename(at, to, flags)?);
        }
        self.move_then_whiteout(from, to, replace)
    }

    /// Moves to where nothing is what must leave a whiteout, where one rename cannot do both: a whiteout comes to the new name,
    /// which hides nothing there, and the two change places.
    pub(in crate::ops) fn swap_with_new_whiteout(
        &self,
        from: (&UpperDir, &OsStr),
        to: (&UpperDir, &OsStr),
    ) -> Result<()> {
        self.announce_xattr_whiteouts(from.0)?;
        self.put_whiteout(to.0, to.1)?;
        let (at, to) = (from.0.at(from.1), to.0.at(to.1));
        self.store.rename(at, to, RenameFlags::EXCHANGE).inspect_err(|_| {
            // Hiding nothing, a whiteout that is left over does no harm.
            if let Err(error) = self.store.unlink(to) {
                log::warn!("whiteout {:?} that is not needed: {error}", to.name);
            }
        })?;
        Ok(())
    }

    /// Two renames where something is replaced and one rename cannot leave a whiteout, too. A crash between them loses nothing:
    /// the old name then shows what was replaced, or what the lowerdirs have.
    fn move_then_whiteout(&self, from: (&UpperDir, &OsStr), to: At<'_>, replace: bool) -> Result<()> {
        let at = from.0.at(from.1);
        let whiteout = self.prepare_whiteout(from.0)?;
        let flags = if replace { RenameFlags::EXCHANGE } else { RenameFlags::NOREPLACE };
        self.store.rename(at, to, flags)?;
        if let Err(error) = self.store.rename(whiteout.at(), at, flags) {
            self.store.rename(to, at, flags)?;
            return Err(error.into());
        }
        if !replace {
            whiteout.published();
        }
        Ok(())
    }

    /// A whiteout in the work directory, meant for `dir`.
    pub(in crate::ops) fn prepare_whiteout(&self, dir: &UpperDir) -> Result<Prepared<'_>> {
        let upper = self.upper()?;
        let prepared = upper.staging.prepare()?;
        match upper.format.whiteouts {
            WhiteoutStyle::Device => upper.staging.make_whiteout(prepared.at())?,
            WhiteoutStyle::Xattr => {
                self.announce_xattr_whiteouts(dir)?;
                self.store.open(prepared.at(), OFlags::CREATE | OFlags::EXCL | OFlags::WRONLY, 0o600)?;
                self.set_mark(prepared.at(), Mark::Whiteout, b"y")?;
            }
        }
        Ok(prepared)
    }
}
