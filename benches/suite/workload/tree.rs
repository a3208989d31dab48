//! Looking at a tree of many small files, and reading it.

use std::process::Command;

use anyhow::Result;

use super::{Measure, Scenario, Unit, extra, time};
use crate::backing::Layers;
use crate::bed::{Bed, tar};
use crate::data::{self, NEEDLE, Sizes};
use crate::process::program;
use crate::subject::Theme;

const MEASURES: &[Measure] = &[
    time("walk-cold", "`find -ls`, cold"),
    extra("walk-fresh", "`find -ls`, new mount, layers in the cache", Unit::Seconds),
    time("walk-warm", "`find -ls`, warm"),
    time("tar-cold", "`tar c`, cold"),
    extra("tar-fresh", "`tar c`, new mount, layers in the cache", Unit::Seconds),
    time("tar-warm", "`tar c`, warm"),
    time("grep-warm", "`grep -r`, warm"),
    extra("memory-idle", "memory of the daemon, idle", Unit::Mebibytes),
];

pub const SCENARIO: Scenario = Scenario::new("tree", Theme::Names, MEASURES, fill, run).with_layers(3);

fn fill(layers: &Layers, sizes: &Sizes) -> Result<()> {
    for layer in (0..3).rev() {
        data::tree(&layers.dir(layer), sizes.tree_files, |n| data::layer_of(n) == layer)?;
    }
    Ok(())
}

fn run(bed: &mut Bed) -> Result<()> {
    if let Some(kib) = bed.daemon_kib("VmRSS")? {
        bed.record("memory-idle", kib / 1024.0);
    }
    let root = bed.path("");
    if bed.wants_any(&["walk-cold", "walk-warm"]) {
        bed.cold()?;
        bed.measure("walk-cold", &mut find(&root))?;
        bed.measure_warm("walk-warm", &mut find(&root))?;
    }
    if bed.wants_any(&["tar-cold", "tar-warm", "grep-warm"]) {
        bed.cold()?;
        bed.measure("tar-cold", &mut tar(&root))?;
        bed.measure_warm("tar-warm", &mut tar(&root))?;
        bed.measure_warm("grep-warm", &mut grep(&root))?;
    }
    if bed.is_union() && bed.wants("walk-fresh") {
        bed.fresh()?;
        bed.measure("walk-fresh", &mut find(&root))?;
    }
    if bed.is_union() && bed.wants("tar-fresh") {
        bed.fresh()?;
        bed.measure("tar-fresh", &mut tar(&root))?;
    }
    Ok(())
}

pub fn find(root: &std::path::Path) -> Command {
    let mut command = program("find");
    command.arg(root).arg("-ls");
    command
}

/// grep says by its status whether it found something, which it must not.
fn grep(root: &std::path::Path) -> Command {
    let mut command = program("bash");
    command.args(["-c", "grep -rF -e \"$1\" \"$0\"; (( $? == 1 ))"]).arg(root).arg(NEEDLE);
    command
}
