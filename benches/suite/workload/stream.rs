//! The bytes of large files.

use anyhow::Result;
use fs_err as fs;

use super::{Measure, Scenario, Unit, extra, time};
use crate::backing::Layers;
use crate::bed::Bed;
use crate::data::{self, Sizes};
use crate::subject::Theme;

const SEQUENTIAL: &[Measure] = &[
    time("write-4k", "256 MiB written in blocks of 4 KiB"),
    time("write-1m", "256 MiB written in blocks of 1 MiB"),
    time("read-4k-cold", "256 MiB read in blocks of 4 KiB, cold"),
    extra("read-4k-fresh", "the same, new mount, layers in the cache", Unit::Seconds),
    time("read-4k-warm", "the same, warm"),
    time("read-1m-cold", "256 MiB read in blocks of 1 MiB, cold"),
    extra("read-1m-fresh", "the same, new mount, layers in the cache", Unit::Seconds),
    time("read-1m-warm", "the same, warm"),
    time("mmap-cold", "256 MiB read through a mapping, cold"),
    time("mmap-warm", "the same, warm"),
];

const RANDOM: &[Measure] = &[
    time("random-rw", "20,000 random reads and writes of 4 KiB in a lower file of 64 MiB, then fsync"),
    time("random-read", "20,000 random reads of 4 KiB, new mount, layers in the cache"),
    time("random-write", "20,000 random writes of 4 KiB in an upper file"),
];

pub const SCENARIOS: [Scenario; 2] = [
    Scenario::new("sequential", Theme::Data, SEQUENTIAL, fill_sequential, sequential),
    Scenario::new("random", Theme::Data, RANDOM, fill_random, random),
];

fn fill_sequential(layers: &Layers, sizes: &Sizes) -> Result<()> {
    fs::create_dir_all(layers.dir(0))?;
    data::big_file(&layers.bottom().join("file"), sizes.stream_mib)
}

fn fill_random(layers: &Layers, sizes: &Sizes) -> Result<()> {
    fs::create_dir_all(layers.dir(0))?;
    data::big_file(&layers.bottom().join("changed"), sizes.random_mib)?;
    data::big_file(&layers.bottom().join("read"), sizes.random_mib)
}

fn sequential(bed: &mut Bed) -> Result<()> {
    let file = bed.path("file");
    let mib = bed.sizes().stream_mib.to_string();
    for (workload, block) in [("write-4k", "4096"), ("write-1m", "1048576")] {
        if bed.wants(workload) {
            let mut load = bed.load("write", &[&bed.path(workload), &block, &mib]);
            // Nobody's writing back is to be measured as somebody else's.
            rustix::fs::sync();
            bed.measure(workload, &mut load)?;
            rustix::fs::sync();
        }
    }
    let reads = [
        ("read-4k-cold", "read-4k-fresh", "read-4k-warm", "4096"),
        ("read-1m-cold", "read-1m-fresh", "read-1m-warm", "1048576"),
    ];
    for (cold, fresh, warm, block) in reads {
        let mut load = bed.load("read", &[&file, &block]);
        if bed.wants_any(&[cold, warm]) {
            bed.cold()?;
            bed.measure(cold, &mut load)?;
            bed.measure_warm(warm, &mut load)?;
        }
        if bed.is_union() && bed.wants(fresh) {
            bed.fresh()?;
            bed.measure(fresh, &mut load)?;
        }
    }
    if bed.wants_any(&["mmap-cold", "mmap-warm"]) {
        let mut load = bed.load("map", &[&file]);
        bed.cold()?;
        bed.measure("mmap-cold", &mut load)?;
        bed.measure_warm("mmap-warm", &mut load)?;
    }
    Ok(())
}

fn random(bed: &mut Bed) -> Result<()> {
    let ops = bed.sizes().random_ops.to_string();
    let changed = bed.path("changed");
    if bed.wants_any(&["random-rw", "random-write"]) {
        let mut load = bed.load("random", &[&changed, &ops, &"rw"]);
        bed.measure("random-rw", &mut load)?;
    }
    if bed.wants("random-write") {
        let mut load = bed.load("random", &[&changed, &ops, &"w"]);
        bed.measure("random-write", &mut load)?;
    }
    if bed.wants("random-read") {
        bed.fresh()?;
        let mut load = bed.load("random", &[&bed.path("read"), &ops, &"r"]);
        bed.measure("random-read", &mut load)?;
    }
    Ok(())
}
