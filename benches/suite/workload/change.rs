//! Making and removing many small files.

use anyhow::Result;

use super::{Measure, Scenario, time};
use crate::backing::Layers;
use crate::bed::{Bed, check};
use crate::data::{self, Sizes};
use crate::process::{self, program};
use crate::subject::Theme;

const UNTAR: &[Measure] = &[time("untar", "`tar x` of 12,800 files"), time("rm-upper", "`rm -rf` of them")];

const REMOVE: &[Measure] = &[time("rm-lower", "`rm -rf` of 12,000 lower files")];

const COPY: &[Measure] = &[time("cp", "`cp -a` of 3,000 small files")];

pub const SCENARIOS: [Scenario; 3] = [
    Scenario::new("untar", Theme::Writes, UNTAR, fill_little, untar),
    Scenario::new("rm-lower", Theme::Names, REMOVE, fill_removed, remove),
    Scenario::new("cp", Theme::Writes, COPY, fill_copied, copy),
];

/// A union of nothing would not be one.
fn fill_little(layers: &Layers, _: &Sizes) -> Result<()> {
    data::tree(&layers.bottom().join("old"), 100, |_| true)?;
    data::tree(&layers.dir(0).join("old"), 200, |n| n >= 100)
}

fn fill_removed(layers: &Layers, sizes: &Sizes) -> Result<()> {
    fill_little(layers, sizes)?;
    data::tree(&layers.bottom().join("tree"), sizes.removed_files, |_| true)
}

fn fill_copied(layers: &Layers, sizes: &Sizes) -> Result<()> {
    fill_little(layers, sizes)?;
    data::tree(&layers.bottom().join("tree"), sizes.copied_files, |_| true)
}

fn untar(bed: &mut Bed) -> Result<()> {
    let new = bed.path("new");
    fs_err::create_dir(&new)?;
    let archive = &bed.shared.archive;
    process::run(program("cat").arg(archive))?;
    bed.measure("untar", program("tar").arg("-xf").arg(archive).arg("-C").arg(&new))?;
    check(&new.join(data::tree_path(bed.sizes().tree_files - 1)), true)?;
    if bed.wants("rm-upper") {
        bed.measure("rm-upper", program("rm").arg("-rf").arg(&new))?;
        check(&new, false)?;
    }
    Ok(())
}

fn remove(bed: &mut Bed) -> Result<()> {
    let tree = bed.path("tree");
    bed.measure("rm-lower", program("rm").arg("-rf").arg(&tree))?;
    check(&tree, false)
}

fn copy(bed: &mut Bed) -> Result<()> {
    let copy = bed.path("copy");
    bed.measure("cp", program("cp").arg("-a").arg(bed.path("tree")).arg(&copy))?;
    check(&copy.join(data::tree_path(bed.sizes().copied_files - 1)), true)
}
