//! Our mount without an oracle.

use std::path::Path;

use super::area::Area;
use super::mount::Mount;
use super::recipe::Layer;
use super::subject::{Stack, Subject, fresh_stack};
use super::watchdog::Watchdog;

/// Mounts us alone over `lowers` with a fresh upper, for what only we promise.
pub struct Alone {
    pub stack: Stack,
    mount: Option<Mount>,
    _watchdog: Watchdog,
    _area: Area,
}

impl Alone {
    /// The union of `lowers` (top-most first) under `upper`.
    pub fn new(lowers: &[Layer], upper: &Layer) -> Alone {
        Alone::prepared(lowers, upper, |_| ())
    }

    /// The union of a stack that `prepare` has changed.
    pub fn prepared(lowers: &[Layer], upper: &Layer, prepare: impl FnOnce(&mut Stack)) -> Alone {
        let area = Area::new();
        let watchdog = Watchdog::over(area.path());
        let dirs = area.build_lowers(lowers);
        let mut stack = fresh_stack(&area.dir("alone"), &dirs);
        upper.build(&stack.upper.as_ref().expect("fresh stacks are writable").0);
        prepare(&mut stack);
        let mut alone = Alone { stack, mount: None, _watchdog: watchdog, _area: area };
        alone.mount();
        alone
    }

    pub fn root(&self) -> &Path {
        self.mount.as_ref().expect("mounted").root()
    }

    pub fn remount(&mut self) {
        self.mount.take().expect("mounted").unmount();
        self.mount();
    }

    /// Mounts again over layers changed by `change`.
    pub fn remount_after(&mut self, change: impl FnOnce(&Stack)) {
        self.mount.take().expect("mounted").unmount();
        change(&self.stack);
        self.mount();
    }

    pub fn unmount(mut self) {
        self.mount.take().expect("mounted").unmount();
    }

    fn mount(&mut self) {
        self.mount = Some(super::ours::Ours.mount(&self.stack).unwrap_or_else(|e| panic!("{e}")));
    }
}
