//! A mount whose daemon is dealt with from outside.

use std::path::{Path, PathBuf};

use super::area::Area;
use super::mount::Mount;
use super::subject::{Stack, fresh_stack};
use super::watchdog::Watchdog;

pub struct Rig {
    pub mount: Option<Mount>,
    pub stack: Stack,
    _watchdog: Watchdog,
    area: Area,
}

impl Rig {
    /// One lower, filled by `fill`, and an upper; mounted by `mount`.
    pub fn new(fill: impl FnOnce(&Path), mount: impl FnOnce(&Stack) -> Mount) -> Self {
        let area = Area::new();
        let lower = area.dir("lower");
        fill(&lower);
        let stack = fresh_stack(&area.dir("union"), &[lower]);
        let watchdog = Watchdog::over(area.path());
        Self { mount: Some(mount(&stack)), stack, _watchdog: watchdog, area }
    }

    pub fn root(&self) -> &Path {
        &self.stack.point
    }

    /// What lies beside the union.
    pub fn beside(&self) -> &Path {
        self.area.path()
    }

    /// The directory in which the daemon prepares changes.
    pub fn work(&self) -> PathBuf {
        self.stack.upper.as_ref().unwrap().1.join("work")
    }

    pub fn unmount(&mut self) {
        self.mount.take().unwrap().unmount();
    }
}
