//! What a daemon remembers of a million files.

use anyhow::{Context, Result, bail};

use super::tree::find;
use super::{Measure, Scenario, Unit, extra};
use crate::backing::{Fs, Layers};
use crate::bed::Bed;
use crate::data::{self, Sizes};
use crate::subject::Theme;

const MEASURES: &[Measure] = &[
    extra("memory-million", "memory of the daemon after `find -ls` of 1,000,000 files", Unit::Mebibytes),
    extra("memory-file", "of that, for each file", Unit::Bytes),
];

/// On tmpfs, where making so many files is quick; the daemon knows no difference.
pub const SCENARIO: Scenario = Scenario {
    fs: Some(Fs::Tmpfs),
    max_repeats: 1,
    only_full: true,
    ..Scenario::new("memory", Theme::Scale, MEASURES, fill, run)
};

const FILES_A_DIR: usize = 1000;

/// The files themselves and what the kernel remembers of them, on both sides of the daemon.
const KIB_A_FILE: u64 = 6;

fn fill(layers: &Layers, sizes: &Sizes) -> Result<()> {
    let needed = sizes.many_files as u64 * KIB_A_FILE;
    let available = available_kib()?;
    if available < needed {
        bail!("{needed} KiB of memory are needed, {available} KiB are available");
    }
    for dir in 0..sizes.many_files / FILES_A_DIR {
        let layer = layers.dir(dir % 2);
        data::entries(&layer.join(format!("dir{dir:04}")), 0..FILES_A_DIR)?;
    }
    Ok(())
}

fn available_kib() -> Result<u64> {
    let text = fs_err::read_to_string("/proc/meminfo")?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"));
    let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    number.context("/proc/meminfo has no MemAvailable")
}

fn run(bed: &mut Bed) -> Result<()> {
    let own = |bed: &Bed| bed.daemon_kib("RssAnon")?.context("it has no daemon");
    let before = own(bed)?;
    bed.prepare(&mut find(&bed.path("")))?;
    let after = own(bed)?;
    let rss = bed.daemon_kib("VmRSS")?.context("it has no daemon")?;
    let files = bed.sizes().many_files as f64;
    bed.record("memory-million", rss / 1024.0);
    bed.record("memory-file", (after - before) * 1024.0 / files);
    Ok(())
}
