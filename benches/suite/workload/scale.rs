//! The number of layers.

use anyhow::Result;

use super::tree::find;
use super::{Measure, Scenario, Unit, extra, time};
use crate::backing::Layers;
use crate::bed::Bed;
use crate::data::{self, Sizes};
use crate::subject::Theme;

const ONE: &[Measure] = &[
    extra("layers-1-mount", "mounting 1 layer", Unit::Milliseconds),
    time("layers-1-cold", "cold walk, 1 layer"),
    time("layers-1-warm", "warm walk, 1 layer"),
];

const TEN: &[Measure] = &[
    extra("layers-10-mount", "mounting 10 layers", Unit::Milliseconds),
    extra("layers-10-cold", "cold walk, 10 layers", Unit::Seconds),
    extra("layers-10-warm", "warm walk, 10 layers", Unit::Seconds),
];

const HUNDRED: &[Measure] = &[
    extra("layers-100-mount", "mounting 100 layers", Unit::Milliseconds),
    extra("layers-100-cold", "cold walk, 100 layers", Unit::Seconds),
    extra("layers-100-warm", "warm walk, 100 layers", Unit::Seconds),
];

const MANY: &[Measure] = &[
    extra("layers-500-mount", "mounting 500 layers", Unit::Milliseconds),
    time("layers-500-cold", "cold walk, 500 layers"),
    time("layers-500-warm", "warm walk, 500 layers"),
];

pub const SCENARIOS: [Scenario; 4] = [
    Scenario::new("layers-1", Theme::Scale, ONE, fill, |bed| run(bed, ONE)).with_layers(1),
    Scenario::new("layers-10", Theme::Scale, TEN, fill, |bed| run(bed, TEN)).with_layers(10),
    Scenario::new("layers-100", Theme::Scale, HUNDRED, fill, |bed| run(bed, HUNDRED)).with_layers(100),
    Scenario::new("layers-500", Theme::Scale, MANY, fill, |bed| run(bed, MANY)).with_layers(500),
];

fn fill(layers: &Layers, sizes: &Sizes) -> Result<()> {
    data::layered(|n| layers.dir(n), layers.count(), sizes.layered_files)
}

fn run(bed: &mut Bed, measures: &'static [Measure]) -> Result<()> {
    let [mount, cold, warm] = measures else { anyhow::bail!("a mount and two walks were expected") };
    let took = bed.cold()?;
    bed.record(mount.id, took.as_secs_f64() * 1000.0);
    let root = bed.path("");
    bed.measure(cold.id, &mut find(&root))?;
    bed.measure_warm(warm.id, &mut find(&root))
}
