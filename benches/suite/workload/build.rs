//! A compiler at work.

use anyhow::Result;

use super::{Measure, Scenario, time};
use crate::backing::Layers;
use crate::bed::{Bed, check};
use crate::data::{self, Sizes};
use crate::process::program;
use crate::subject::Theme;

const MEASURES: &[Measure] = &[time("compile", "`make -j2` of a C project of 150 files")];

pub const SCENARIO: Scenario = Scenario::new("compile", Theme::Data, MEASURES, fill, run);

fn fill(layers: &Layers, sizes: &Sizes) -> Result<()> {
    data::c_project(&layers.dir(1).join("project"), &layers.dir(0).join("project"), sizes.c_files)
}

fn run(bed: &mut Bed) -> Result<()> {
    let project = bed.path("project");
    bed.measure("compile", program("make").args(["-s", "-j2", "-C"]).arg(&project))?;
    check(&project.join("program"), true)
}
