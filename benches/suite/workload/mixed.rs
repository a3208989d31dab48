//! Everything at once.

use anyhow::Result;

use super::{Measure, Scenario, time};
use crate::backing::Layers;
use crate::bed::Bed;
use crate::data::{self, Sizes};
use crate::subject::Theme;

const MEASURES: &[Measure] = &[time("mixed", "8 processes that make, read, rename, list and remove")];

pub const SCENARIO: Scenario = Scenario::new("mixed", Theme::Writes, MEASURES, fill, run);

const PROCESSES: usize = 8;

/// How many lower files there are to read.
pub const LOWER_FILES: usize = 1600;

fn fill(layers: &Layers, _: &Sizes) -> Result<()> {
    data::tree(&layers.dir(1).join("tree"), LOWER_FILES, |n| data::layer_of(n) > 0)?;
    data::tree(&layers.dir(0).join("tree"), LOWER_FILES, |n| data::layer_of(n) == 0)
}

fn run(bed: &mut Bed) -> Result<()> {
    let rounds = bed.sizes().mixed_rounds.to_string();
    let mut load = bed.load("mixed", &[&bed.path(""), &rounds, &PROCESSES.to_string()]);
    bed.measure("mixed", &mut load)
}
