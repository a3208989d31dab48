//! One directory with very many entries, of two layers.

use anyhow::Result;

use super::{Measure, Scenario, time};
use crate::backing::Layers;
use crate::bed::Bed;
use crate::data::{self, Sizes};
use crate::process::program;
use crate::subject::Theme;

const MEASURES: &[Measure] = &[
    time("big-dir-list", "listing a directory of 200,000 entries, cold"),
    time("big-dir-lookup", "20,000 random lookups in it, cold"),
];

pub const SCENARIO: Scenario = Scenario::new("big-dir", Theme::Names, MEASURES, fill, run);

fn fill(layers: &Layers, sizes: &Sizes) -> Result<()> {
    let count = sizes.big_dir_entries;
    data::entries(&layers.bottom().join("big"), (0..count).filter(|n| n % 4 != 0))?;
    data::entries(&layers.dir(0).join("big"), (0..count).step_by(4))
}

fn run(bed: &mut Bed) -> Result<()> {
    let dir = bed.path("big");
    if bed.wants("big-dir-list") {
        bed.cold()?;
        bed.measure("big-dir-list", program("ls").arg("-f").arg(&dir))?;
    }
    if bed.wants("big-dir-lookup") {
        let (entries, lookups) = (bed.sizes().big_dir_entries.to_string(), bed.sizes().lookups.to_string());
        bed.cold()?;
        let mut load = bed.load("lookup", &[&dir, &entries, &lookups]);
        bed.measure("big-dir-lookup", &mut load)?;
    }
    Ok(())
}
