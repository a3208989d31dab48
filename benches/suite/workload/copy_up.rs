//! Many lower files that change a little.

use anyhow::Result;

use super::{Measure, Scenario, time};
use crate::backing::Layers;
use crate::bed::Bed;
use crate::data::{self, Sizes};
use crate::process::program;
use crate::subject::Theme;

const MEASURES: &[Measure] = &[
    time("chmod", "`chmod -R` of 3,000 lower files"),
    time("append", "one byte appended to 3,000 lower files"),
];

pub const SCENARIO: Scenario = Scenario::new("copy-up", Theme::CopyUp, MEASURES, fill, run);

fn fill(layers: &Layers, sizes: &Sizes) -> Result<()> {
    data::tree(&layers.dir(1).join("modes"), sizes.storm_files, |_| true)?;
    data::tree(&layers.dir(1).join("logs"), sizes.storm_files, |_| true)?;
    data::tree(&layers.dir(0).join("other"), 100, |_| true)
}

fn run(bed: &mut Bed) -> Result<()> {
    if bed.wants("chmod") {
        bed.measure("chmod", program("chmod").args(["-R", "g+w"]).arg(bed.path("modes")))?;
    }
    if bed.wants("append") {
        let files = bed.sizes().storm_files.to_string();
        let mut load = bed.load("append", &[&bed.path("logs"), &files]);
        bed.measure("append", &mut load)?;
    }
    Ok(())
}
