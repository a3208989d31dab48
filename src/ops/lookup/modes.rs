//! Modes that deny us, who own the file, what has to be done all the same. Where we have no rights beside the owner's they are
//! widened for a moment, which nobody sees, and which the next mount undoes after a crash.

use std::ffi::OsString;
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustix::fs::OFlags;
use rustix::io::Errno;

use crate::error::Result;
use crate::layer::mode_record::{self, ModeRecord};
use crate::ops::insist;
use crate::ops::lookup::{Lookup, UpperDir};
use crate::sys::At;
use crate::types::{RealId, Stat};

/// For how long somebody may still have in hand what he saw of a file while its mode was widened.
const SEEN: Duration = Duration::from_secs(1);

/// A mode to be widened.
#[derive(Debug, Clone, Copy)]
pub(in crate::ops) struct Widening<'a> {
    /// The file.
    pub(in crate::ops) this: At<'a>,
    /// Where it is found when it is done.
    pub(in crate::ops) found_at: At<'a>,
    /// The permissions of its owner that are missing.
    pub(in crate::ops) bits: u32,
}

/// A mode that is, or was just now, wider than it is to be seen.
#[derive(Debug)]
struct Widened {
    real: RealId,
    mode: u32,
    widened: u32,
    /// `None`: it is.
    until: Option<Instant>,
}

/// The modes that are widened.
#[derive(Debug, Default)]
pub(in crate::ops) struct Modes {
    /// Held while a mode is read and changed, so that nobody takes the widened one for the real one.
    alone: Mutex<()>,
    widened: Mutex<Vec<Widened>>,
    /// How many there are.
    count: AtomicUsize,
}

impl Modes {
    fn begin(&self, real: RealId, record: &ModeRecord) {
        let mut widened = self.widened.lock();
        drop_seen(&mut widened);
        widened.push(Widened { real, mode: record.mode, widened: record.widened, until: None });
        self.count.store(widened.len(), Ordering::SeqCst);
    }

    fn end(&self, real: RealId) {
        let until = Instant::now() + SEEN;
        let mut widened = self.widened.lock();
        widened.iter_mut().filter(|one| one.real == real).for_each(|one| one.until = Some(until));
    }

    /// The file's mode is changed for good.
    fn forget(&self, real: RealId) {
        let mut widened = self.widened.lock();
        widened.retain(|one| one.real != real);
        self.count.store(widened.len(), Ordering::SeqCst);
    }

    /// The mode to show.
    pub(in crate::ops) fn shown(&self, stat: &Stat) -> u32 {
        if self.count.load(Ordering::SeqCst) == 0 {
            return stat.mode;
        }
        let mut widened = self.widened.lock();
        drop_seen(&mut widened);
        self.count.store(widened.len(), Ordering::SeqCst);
        let is_seen = |one: &&Widened| one.real == stat.real_id() && one.widened == stat.mode & 0o7777;
        widened.iter().find(is_seen).map_or(stat.mode, |one| stat.mode & !0o7777 | one.mode)
    }
}

impl Lookup {
    /// To be held while a mode is read and changed for good.
    pub(in crate::ops) fn steady_mode(&self) -> Option<MutexGuard<'_, ()>> {
        self.may_change_modes().then(|| self.modes.alone.lock())
    }

    /// Gives a file another mode.
    pub(in crate::ops) fn change_mode(&self, at: At<'_>, mode: u32) -> Result<()> {
        let _steady = self.steady_mode();
        if self.modes.count.load(Ordering::SeqCst) > 0
            && let Some(stat) = self.store.stat(at)?
        {
            self.modes.forget(stat.real_id());
        }
        Ok(self.store.chmod(at, mode)?)
    }

    /// Runs `act` on a file or directory that is ours, although its mode may deny that to us: marks can be set, and directories
    /// moved, by those only who may write to them.
    pub(in crate::ops) fn despite_mode<T>(&self, at: At<'_>, act: impl Fn() -> Result<T>) -> Result<T> {
        self.despite_modes(&[Widening { this: at, found_at: at, bits: 0o200 }], act)
    }

    /// Runs `act`, which brings something into a directory that shows it already: in a lower one, whose mode its copy has.
    pub(in crate::ops) fn despite_mode_of_dir<T>(
        &self,
        dir: &UpperDir,
        act: impl Fn() -> Result<T>,
    ) -> Result<T> {
        self.despite_modes(&[Widening { this: dir.this(), found_at: dir.this(), bits: 0o300 }], act)
    }

    pub(in crate::ops) fn despite_modes<T>(
        &self,
        widenings: &[Widening<'_>],
        act: impl Fn() -> Result<T>,
    ) -> Result<T> {
        match act() {
            Err(error) if error.errno() == Errno::ACCESS && self.may_change_modes() => {
                self.with_modes(widenings, act)
            }
            other => other,
        }
    }

    /// Runs `act` while modes are widened. It must change none itself.
    pub(in crate::ops) fn with_modes<T>(
        &self,
        widenings: &[Widening<'_>],
        act: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let _alone = self.modes.alone.lock();
        let _change = self.changes.begin();
        self.widen(widenings, act)
    }

    fn widen<T>(&self, widenings: &[Widening<'_>], act: impl FnOnce() -> Result<T>) -> Result<T> {
        let Some((first, others)) = widenings.split_first() else { return act() };
        let held = self.store.open(first.this, OFlags::PATH, 0)?;
        let this = At::this(held.as_fd());
        let stat = self.store.stat_fd(held.as_fd())?;
        let mode = stat.mode & 0o7777;
        let record = ModeRecord { ino: stat.ino, mode, widened: mode | first.bits };
        if record.widened == mode {
            return self.widen_others(others, act);
        }
        let name = self.record_mode(first.found_at, &record);
        self.modes.begin(stat.real_id(), &record);
        let outcome = match self.store.chmod(this, record.widened) {
            Ok(()) => self.widen_others(others, act),
            Err(error) => Err(error.into()),
        };
        // What was done is done, and what was not has its own error.
        match insist(|| Ok(self.store.chmod(this, mode)?)) {
            Ok(()) => self.drop_record(name),
            Err(error) => log::error!("a mode that is {:o} stays {:o}: {error}", mode, record.widened),
        }
        self.modes.end(stat.real_id());
        outcome
    }

    /// Keeps the compiler from making one function of each other, for ever.
    fn widen_others<T>(&self, others: &[Widening<'_>], act: impl FnOnce() -> Result<T>) -> Result<T> {
        let act: Box<dyn FnOnce() -> Result<T> + '_> = Box::new(act);
        self.widen(others, act)
    }

    /// `None` where nothing could be recorded, or has to be: what is in the work directory is removed after a crash.
    fn record_mode(&self, at: At<'_>, record: &ModeRecord) -> Option<OsString> {
        let upper = self.upper().ok()?;
        let root = self.nodes.dirs.open(&upper.root).ok()?;
        let path = mode_record::path_below(root.as_fd(), at)?;
        let name = record.name();
        let made = upper.staging.at(&name).and_then(|at| self.store.symlink(&path, at));
        match made {
            Err(error) if error.errno() != Errno::EXIST => {
                log::warn!("a mode is widened that a crash would leave so: no record: {error}");
                None
            }
            _ => Some(name),
        }
    }

    fn drop_record(&self, name: Option<OsString>) {
        let (Some(name), Ok(upper)) = (name, self.upper()) else { return };
        upper.staging.discard(&name);
    }
}

/// Nobody has any more in hand what he saw of these.
fn drop_seen(widened: &mut Vec<Widened>) {
    let now = Instant::now();
    widened.retain(|one| one.until.is_none_or(|until| until > now));
}
