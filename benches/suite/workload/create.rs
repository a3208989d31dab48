//! Several processes that make files in one directory.

use anyhow::Result;

use super::{Measure, Scenario, time};
use crate::backing::Layers;
use crate::bed::Bed;
use crate::data::{self, Sizes};
use crate::process::program;
use crate::subject::Theme;

const MEASURES: &[Measure] =
    &[time("create", "20,000 files made by 4 processes"), time("ls-fresh", "`ls -l` of these 20,000 files")];

pub const SCENARIO: Scenario = Scenario::new("create", Theme::Writes, MEASURES, fill, run);

const PROCESSES: usize = 4;

fn fill(layers: &Layers, _: &Sizes) -> Result<()> {
    data::tree(&layers.bottom().join("old"), 100, |_| true)?;
    data::tree(&layers.dir(0).join("old"), 200, |n| n >= 100)
}

fn run(bed: &mut Bed) -> Result<()> {
    let dir = bed.path("new");
    fs_err::create_dir(&dir)?;
    let each = (bed.sizes().created_files / PROCESSES).to_string();
    let mut load = bed.load("create", &[&dir, &each, &PROCESSES.to_string()]);
    bed.measure("create", &mut load)?;
    bed.measure("ls-fresh", program("ls").arg("-l").arg(&dir))
}
