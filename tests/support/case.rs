//! One case: layers, a script, and the comparisons that follow it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::area::Area;
use super::layer::Layer;
use super::mode::{Mode, skip, test_name};
use super::mount::Mount;
use super::op::{Op, show};
use super::run::{Transcript, run_script};
use super::subject::{Stack, Subject, fresh_stack, subjects};
use super::tree::{Comparison, Tree, fingerprint, snapshot};
use super::watchdog::Watchdog;

/// The longest list of differences worth reading.
const SHOWN: usize = 40;

/// Layers and a script. `check` runs the script on every subject and compares results and trees.
pub struct Case {
    name: String,
    lowers: Vec<Layer>,
    upper: Layer,
    script: Vec<Op>,
    /// Why only root can run this, if so.
    root_only: Option<&'static str>,
    /// Why a plain directory cannot serve as the yardstick, if so.
    kernel_only: Option<&'static str>,
    rounds: &'static [Round],
}

/// Whether the script finds the mount as it was just made or after everything in it has been looked at: caches, the
/// kernel's and ours, make these different experiences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    Cold,
    Warm,
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
        rounds: &[Round::Cold, Round::Warm],
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

    /// One round only, for cases that take long.
    pub fn cold_only(mut self) -> Self {
        self.rounds = &[Round::Cold];
        self
    }

    pub fn check(self) {
        if let (Some(why), true) = (self.root_only, Mode::current() != Mode::Root) {
            return skip(
                &self.name,
                &format!("needs root: {why} (running as {:?})", Mode::current()),
            );
        }
        if let (Some(why), true) = (
            self.kernel_only,
            subjects().iter().any(|subject| !subject.keeps_numbers()),
        ) {
            return skip(
                &self.name,
                &format!("needs the kernel's overlayfs as oracle: {why}"),
            );
        }
        assert!(!self.lowers.is_empty(), "a union has a lower layer");
        let area = Area::new();
        let _watchdog = Watchdog::over(area.path());
        let lowers: Vec<PathBuf> = (0..self.lowers.len())
            .map(|i| area.dir(&format!("l{i}")))
            .collect();
        self.lowers
            .iter()
            .zip(&lowers)
            .for_each(|(layer, dir)| layer.build(dir));
        let before: Vec<_> = lowers.iter().map(|dir| fingerprint(dir)).collect();
        let origins = origins(&lowers);
        let mut failures = Vec::new();
        for round in self.rounds {
            let homes = area.dir(&format!("{round:?}"));
            let found = Run {
                case: &self,
                homes,
                lowers: &lowers,
                origins: &origins,
                failures: Vec::new(),
            }
            .go(*round);
            failures.extend(found.into_iter().map(|line| format!("{round:?}: {line}")));
        }
        for (dir, before) in lowers.iter().zip(&before) {
            let after = fingerprint(dir);
            for (path, was) in before {
                if after.get(path) != Some(was) {
                    let now = after.get(path).map_or("gone", String::as_str);
                    failures.push(format!(
                        "lower {} changed: {}: {was} -> {now}",
                        dir.display(),
                        show(path)
                    ));
                }
            }
            if let Some(path) = after.keys().find(|path| !before.contains_key(*path)) {
                failures.push(format!("lower {} gained {}", dir.display(), show(path)));
            }
        }
        report(&self, &failures);
    }
}

fn report(case: &Case, failures: &[String]) {
    if failures.is_empty() {
        return;
    }
    let script: Vec<_> = case
        .script
        .iter()
        .take(60)
        .map(|op| format!("    {op:?}"))
        .collect();
    let shown = failures[..failures.len().min(SHOWN)].join("\n  ");
    panic!(
        "{} differences; script:\n{}\n  {shown}",
        failures.len(),
        script.join("\n")
    );
}

/// Which layer and name each inode number of the lowers belongs to.
fn origins(lowers: &[PathBuf]) -> BTreeMap<u64, String> {
    let mut origins = BTreeMap::new();
    for (i, dir) in lowers.iter().enumerate() {
        for (path, entry) in snapshot(dir).entries {
            origins
                .entry(entry.stat.st_ino)
                .or_insert_with(|| format!("l{i}:/{}", show(&path)));
        }
    }
    origins
}

/// One round of a case.
struct Run<'a> {
    case: &'a Case,
    homes: PathBuf,
    lowers: &'a [PathBuf],
    origins: &'a BTreeMap<u64, String>,
    failures: Vec<String>,
}

/// One subject and what was seen of it.
struct Played {
    subject: &'static dyn Subject,
    label: String,
    stack: Stack,
    transcript: Transcript,
    live: Tree,
}

impl Run<'_> {
    fn go(mut self, round: Round) -> Vec<String> {
        let mut played: Vec<Played> = Vec::new();
        for (i, subject) in subjects().into_iter().enumerate() {
            match self.play(i, subject, round) {
                Ok(one) => played.push(one),
                Err(error) => {
                    self.failures.push(format!("{}: {error}", subject.name()));
                    return self.failures;
                }
            }
        }
        let (first, rest) = played.split_first().expect("at least one subject");
        for other in rest {
            self.compare_transcripts(first, other);
            self.compare_trees("live", first, (&other.label, &other.live), other.subject);
        }
        played.iter().for_each(|one| self.remount(one));
        if self.failures.is_empty() && played.iter().all(|one| one.subject.keeps_numbers()) {
            self.swap(&played);
        }
        self.failures
    }

    fn play(&mut self, i: usize, subject: &'static dyn Subject, round: Round) -> Result<Played, String> {
        let label = format!(
            "{}{}",
            subject.name(),
            "'".repeat(usize::from(i > 0 && subject.name() == subjects()[0].name()))
        );
        let stack = fresh_stack(&self.homes.join(format!("{i}")), self.lowers);
        self.case
            .upper
            .build(&stack.upper.as_ref().expect("fresh stacks are writable").0);
        let mount = subject.mount(&stack)?;
        if round == Round::Warm {
            let untouched = snapshot(mount.root());
            self.check_readdir(subject, "before the script", &untouched);
        }
        let transcript = run_script(mount.root(), &self.case.script);
        let live = snapshot(mount.root());
        self.check_readdir(subject, "live", &live);
        mount.unmount();
        Ok(Played {
            subject,
            label,
            stack,
            transcript,
            live,
        })
    }

    fn check_readdir(&mut self, subject: &dyn Subject, when: &str, tree: &Tree) {
        if subject.readdir_is_exact() {
            let lies = tree
                .readdir_lies
                .iter()
                .map(|lie| format!("{} {when}: readdir: {lie}", subject.name()));
            self.failures.extend(lies);
        }
    }

    fn compare_transcripts(&mut self, a: &Played, b: &Played) {
        for ((step, left), (_, right)) in a.transcript.iter().zip(&b.transcript) {
            if left != right {
                let (left, right) = (outcome(left), outcome(right));
                self.failures
                    .push(format!("`{step}`: {left} ({}), {right} ({})", a.label, b.label));
            }
        }
    }

    fn compare_trees(&mut self, when: &str, a: &Played, right: (&str, &Tree), subject: &dyn Subject) {
        let numbers = a.subject.keeps_numbers() && subject.keeps_numbers();
        let comparison = Comparison {
            left: (&a.label, &a.live),
            right,
            origins: numbers.then_some(self.origins),
            same_subject: false,
        };
        self.failures.extend(
            comparison
                .differences()
                .into_iter()
                .map(|line| format!("{when}: {line}")),
        );
    }

    /// Nothing may change over a remount, not even numbers.
    fn remount(&mut self, one: &Played) {
        match one.subject.mount(&one.stack) {
            Ok(mount) => {
                let again = snapshot(mount.root());
                mount.unmount();
                let comparison = Comparison {
                    left: ("live", &one.live),
                    right: ("remounted", &again),
                    origins: None,
                    same_subject: true,
                };
                let lines = comparison.differences();
                self.failures.extend(
                    lines
                        .into_iter()
                        .map(|line| format!("{} over a remount: {line}", one.label)),
                );
                self.check_readdir(one.subject, "remounted", &again);
            }
            Err(error) => self.failures.push(format!("{} remount: {error}", one.label)),
        }
    }

    /// Each subject mounts what the other one wrote.
    fn swap(&mut self, played: &[Played]) {
        for author in played {
            for reader in played.iter().filter(|reader| reader.label != author.label) {
                let label = format!("{} on {}'s upper", reader.label, author.label);
                match reader.subject.mount(&author.stack) {
                    Ok(mount) => {
                        let seen = snapshot(mount.root());
                        mount.unmount();
                        self.compare_trees("swapped", author, (&label, &seen), reader.subject);
                    }
                    Err(error) => self.failures.push(format!("{label}: {error}")),
                }
            }
        }
    }
}

fn outcome(outcome: &super::op::Outcome) -> String {
    match outcome {
        Ok(text) => text.clone(),
        Err(error) => error.to_string(),
    }
}

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
        let area = Area::new();
        let watchdog = Watchdog::over(area.path());
        let dirs: Vec<PathBuf> = (0..lowers.len()).map(|i| area.dir(&format!("l{i}"))).collect();
        lowers.iter().zip(&dirs).for_each(|(layer, dir)| layer.build(dir));
        let stack = fresh_stack(&area.dir("alone"), &dirs);
        upper.build(&stack.upper.as_ref().expect("fresh stacks are writable").0);
        let mut alone = Alone {
            stack,
            mount: None,
            _watchdog: watchdog,
            _area: area,
        };
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
        self.mount = Some(
            super::ours::Ours
                .mount(&self.stack)
                .unwrap_or_else(|e| panic!("{e}")),
        );
    }
}
