//! What is done in a union, and what is measured while it is done.

mod big;
mod build;
mod change;
mod copy_up;
mod create;
mod dir;
mod git;
mod memory;
mod mixed;
mod scale;
mod stream;
mod tree;

use anyhow::Result;

pub use mixed::LOWER_FILES as LOWER_FILES_OF_MIXED;

use crate::backing::{Fs, Layers};
use crate::bed::Bed;
use crate::data::Sizes;
use crate::subject::{Kind, Subject, Theme};

/// What a number is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    Seconds,
    Milliseconds,
    Mebibytes,
    Bytes,
}

impl Unit {
    /// A value with its unit, in three digits or so.
    pub fn show(self, value: f64) -> String {
        match self {
            Unit::Seconds if value >= 10.0 => format!("{value:.1} s"),
            Unit::Seconds if value >= 1.0 => format!("{value:.2} s"),
            Unit::Seconds => format!("{:.1} ms", value * 1000.0),
            Unit::Milliseconds => format!("{value:.1} ms"),
            Unit::Mebibytes => format!("{value:.1} MiB"),
            Unit::Bytes => format!("{value:.0} B"),
        }
    }
}

/// One result of a scenario.
#[derive(Debug, Clone, Copy)]
pub struct Measure {
    pub id: &'static str,
    pub title: &'static str,
    pub unit: Unit,
    /// Whether it counts in the mean over the suite.
    pub in_mean: bool,
}

/// A time that counts in the mean.
const fn time(id: &'static str, title: &'static str) -> Measure {
    Measure { id, title, unit: Unit::Seconds, in_mean: true }
}

/// A number that is shown but would weigh too much, or nothing, in the mean.
const fn extra(id: &'static str, title: &'static str, unit: Unit) -> Measure {
    Measure { id, title, unit, in_mean: false }
}

/// Work that shares a mount, from layers that are made for it.
pub struct Scenario {
    pub name: &'static str,
    pub theme: Theme,
    pub layers: usize,
    /// The filesystem it is about, if not the one that was asked for.
    pub fs: Option<Fs>,
    /// Size of the (sparse) image.
    pub gib: u64,
    /// Not more often than this, whatever was asked for.
    pub max_repeats: usize,
    pub measures: &'static [Measure],
    /// Left out of `--quick`.
    pub only_full: bool,
    pub fill: fn(&Layers, &Sizes) -> Result<()>,
    pub run: fn(&mut Bed) -> Result<()>,
}

impl Scenario {
    const fn new(
        name: &'static str,
        theme: Theme,
        measures: &'static [Measure],
        fill: fn(&Layers, &Sizes) -> Result<()>,
        run: fn(&mut Bed) -> Result<()>,
    ) -> Self {
        Self {
            name,
            theme,
            layers: 2,
            fs: None,
            gib: 8,
            max_repeats: usize::MAX,
            measures,
            only_full: false,
            fill,
            run,
        }
    }

    const fn with_layers(mut self, layers: usize) -> Self {
        self.layers = layers;
        self
    }

    /// Whether it belongs to what `subject` is measured by.
    pub fn concerns(&self, subject: &Subject) -> bool {
        subject.themes.is_empty() || subject.themes.contains(&self.theme)
    }

    /// What `subject` lacks for it.
    pub fn impossible(&self, subject: &Subject) -> Option<&'static str> {
        let changes_lower = matches!(self.name, "copy-up" | "rm-lower" | "git" | "random" | "mixed");
        match (subject.kind, self.theme) {
            (Kind::Plain, Theme::Scale) => Some("a plain directory has no layers and no daemon"),
            (Kind::Plain, _) if self.name.starts_with("big-file") => {
                Some("a plain directory copies nothing up")
            }
            (Kind::Mergerfs, _) if changes_lower || self.name.starts_with("big-file") => {
                Some("it does not copy up what lies on a read-only branch")
            }
            (Kind::Mergerfs | Kind::UnionfsFuse, Theme::Scale) => {
                Some("only overlayfs and fuse-overlayfs are compared by number of layers and memory")
            }
            (Kind::Overlayfs, _) if self.name == "memory" => Some("it has no daemon"),
            _ => None,
        }
    }
}

/// All scenarios, in the order of the report.
pub fn all() -> Vec<Scenario> {
    let mut all = vec![tree::SCENARIO, git::SCENARIO, dir::SCENARIO];
    all.extend(change::SCENARIOS);
    all.extend([create::SCENARIO, copy_up::SCENARIO, build::SCENARIO, mixed::SCENARIO]);
    all.extend(stream::SCENARIOS);
    all.extend(big::SCENARIOS);
    all.extend(scale::SCENARIOS);
    all.push(memory::SCENARIO);
    all
}
