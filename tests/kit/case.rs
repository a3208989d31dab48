//! One case: layers, a script, and the comparisons that follow it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::area::Area;
use super::mode::{Mode, skip, test_name};
use super::op::{Op, show};
use super::recipe::Layer;
use super::round::{Caches, Round};
use super::subject::subjects;
use super::tree::{fingerprint, snapshot};
use super::watchdog::Watchdog;

/// The longest list of differences worth reading.
const SHOWN: usize = 40;

/// Layers and a script. `check` runs the script on every subject and compares results and trees.
#[derive(Clone)]
pub struct Case {
    name: String,
    lowers: Vec<Layer>,
    upper: Layer,
    script: Vec<Op>,
    /// Why only root can run this, if so.
    root_only: Option<&'static str>,
    /// Why a plain directory cannot serve as the yardstick, if so.
    kernel_only: Option<&'static str>,
    rounds: &'static [Caches],
}

/// A case named after the running test.
pub fn case() -> Case {
    Case {
        name: test_name(),
        lowers: Vec::new(),
        upper: Layer::default(),
        script: Vec::new(),
        root_only: None,
        kernel_only: None,
        rounds: &[Caches::Cold, Caches::Warm],
    }
}

impl Case {
    /// The next lower layer; the first one is the top-most.
    pub fn lower(mut self, layer: Layer) -> Self {
        self.lowers.push(layer);
        self
    }

    pub fn upper(mut self, layer: Layer) -> Self {
        self.upper = layer;
        self
    }

    /// Adds steps to the script.
    pub fn run(mut self, steps: impl IntoIterator<Item = Op>) -> Self {
        self.script.extend(steps);
        self
    }

    pub fn root_only(mut self, why: &'static str) -> Self {
        self.root_only = Some(why);
        self
    }

    /// For what unions do unlike plain directories.
    pub fn kernel_only(mut self, why: &'static str) -> Self {
        self.kernel_only = Some(why);
        self
    }

    /// The same case with another script, for shrinking.
    pub fn with_script(mut self, script: &[Op]) -> Self {
        self.script = script.to_vec();
        self
    }

    /// One round only, for cases that take long.
    pub fn cold_only(mut self) -> Self {
        self.rounds = &[Caches::Cold];
        self
    }

    pub fn check(&self) {
        if let Some(reason) = self.reason_to_skip() {
            return skip(&self.name, &reason);
        }
        let failures = self.differences();
        if !failures.is_empty() {
            let script: Vec<_> = self.script.iter().take(60).map(|op| format!("    {op:?}")).collect();
            let shown = failures[..failures.len().min(SHOWN)].join("\n  ");
            panic!("{} differences; script:\n{}\n  {shown}", failures.len(), script.join("\n"));
        }
    }

    fn reason_to_skip(&self) -> Option<String> {
        if let (Some(why), true) = (self.root_only, Mode::current() != Mode::Root) {
            return Some(format!("needs root: {why} (running as {:?})", Mode::current()));
        }
        let plain = subjects().iter().any(|subject| !subject.keeps_numbers());
        self.kernel_only.filter(|_| plain).map(|why| format!("needs the kernel's overlayfs as oracle: {why}"))
    }

    /// Everything in which the subjects differ.
    pub fn differences(&self) -> Vec<String> {
        let area = Area::new();
        let _watchdog = Watchdog::over(area.path());
        let lowers = area.build_lowers(&self.lowers);
        let before: Vec<_> = lowers.iter().map(|dir| fingerprint(dir)).collect();
        let one_filesystem = self.lowers.iter().all(|layer| layer.filesystem().is_none());
        let origins = origins(&lowers);
        let mut failures = Vec::new();
        for caches in self.rounds {
            let round = Round {
                upper: &self.upper,
                script: &self.script,
                homes: area.dir(&format!("{caches:?}")),
                lowers: &lowers,
                origins: one_filesystem.then_some(&origins),
                caches: *caches,
                failures: Vec::new(),
            };
            failures.extend(round.play().into_iter().map(|line| format!("{caches:?}: {line}")));
        }
        for (dir, before) in lowers.iter().zip(&before) {
            failures.extend(changes(dir, before));
        }
        failures
    }
}

/// How a lower layer is no longer what it was: it never may be.
fn changes(dir: &Path, before: &BTreeMap<Vec<u8>, String>) -> Vec<String> {
    let after = fingerprint(dir);
    let mut changes = Vec::new();
    for (path, was) in before.iter().filter(|(path, was)| after.get(*path) != Some(was)) {
        let now = after.get(path).map_or("gone", String::as_str);
        changes.push(format!("lower {} changed: {}: {was} -> {now}", dir.display(), show(path)));
    }
    for path in after.keys().filter(|path| !before.contains_key(*path)) {
        changes.push(format!("lower {} gained {}", dir.display(), show(path)));
    }
    changes
}

/// Which layer and name each inode number of the lowers belongs to.
fn origins(lowers: &[PathBuf]) -> BTreeMap<u64, String> {
    let mut origins = BTreeMap::new();
    for (i, dir) in lowers.iter().enumerate() {
        for (path, entry) in snapshot(dir).entries {
            origins.entry(entry.stat.st_ino).or_insert_with(|| format!("l{i}:/{}", show(&path)));
        }
    }
    origins
}
