//! The first byte written to a large lower file, and what others notice of it.

use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use super::{Measure, Scenario, Unit, extra, time};
use crate::backing::{Fs, Layers};
use crate::bed::Bed;
use crate::data;
use crate::process::{PATIENCE, Running};
use crate::subject::Theme;

const BIG: &[Measure] = &[
    time("first-byte-512m", "first byte written to a lower file of 512 MiB"),
    extra(
        "delay-idle",
        "longest wait in one second of a process that looks up, makes and removes files",
        Unit::Milliseconds,
    ),
    extra("delay-512m", "longest wait of such a process meanwhile", Unit::Milliseconds),
    extra("delay-512m-p99", "all but 1 % of its waits were shorter than", Unit::Milliseconds),
];

const HUGE: &[Measure] = &[
    time("first-byte-2g", "first byte written to a lower file of 2 GiB"),
    extra("delay-2g", "longest wait of such a process meanwhile", Unit::Milliseconds),
    extra("delay-2g-p99", "all but 1 % of its waits were shorter than", Unit::Milliseconds),
];

const REFLINK: &[Measure] = &[
    extra(
        "first-byte-xfs-1m",
        "first byte written to a lower file of 1 MiB, xfs with reflink",
        Unit::Seconds,
    ),
    extra("first-byte-xfs", "first byte written to a lower file of 512 MiB, xfs with reflink", Unit::Seconds),
    extra("delay-xfs", "longest wait of such a process meanwhile", Unit::Milliseconds),
    extra("delay-xfs-p99", "all but 1 % of its waits were shorter than", Unit::Milliseconds),
];

pub const SCENARIOS: [Scenario; 3] = [
    Scenario::new(
        "big-file",
        Theme::CopyUp,
        BIG,
        |layers, sizes| fill(layers, sizes.big_mib),
        |bed| run(bed, ["first-byte-512m", "delay-512m", "delay-512m-p99"]),
    ),
    Scenario {
        max_repeats: 1,
        ..Scenario::new(
            "big-file-2g",
            Theme::CopyUp,
            HUGE,
            |layers, sizes| fill(layers, sizes.huge_mib),
            |bed| run(bed, ["first-byte-2g", "delay-2g", "delay-2g-p99"]),
        )
    },
    Scenario {
        fs: Some(Fs::Xfs),
        ..Scenario::new(
            "big-file-xfs",
            Theme::CopyUp,
            REFLINK,
            |layers, sizes| fill(layers, sizes.big_mib),
            run_reflink,
        )
    },
];

fn fill(layers: &Layers, mib: u64) -> Result<()> {
    data::big_file(&layers.bottom().join("small"), 1)?;
    data::big_file(&layers.bottom().join("big"), mib)?;
    data::tree(&layers.dir(0).join("tree"), 100, |_| true)
}

/// The two waits that matter, in milliseconds.
struct Waits {
    longest: f64,
    p99: f64,
}

/// What another process in the same union waits for while `act` runs: it is started before, and asked after.
fn beside(bed: &mut Bed, act: impl FnOnce(&mut Bed) -> Result<()>) -> Result<Waits> {
    let aside = bed.path("aside");
    fs::create_dir_all(&aside)?;
    let mut watch = bed.load("watch", &[&aside]);
    let mut bystander = Running::start(watch.stdin(Stdio::piped()).stdout(Stdio::piped()), PATIENCE)?;
    std::thread::sleep(HEAD_START);
    act(bed)?;
    drop(bystander.child().stdin.take());
    let mut said = String::new();
    let output = bystander.child().stdout.as_mut().context("the bystander says nothing")?;
    output.read_to_string(&mut said)?;
    bystander.finish()?;
    let waits: Vec<f64> = said.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    let [longest, p99] = waits[..] else { bail!("the bystander said '{said}'") };
    Ok(Waits { longest, p99 })
}

/// Enough for the bystander to be at work.
const HEAD_START: Duration = Duration::from_millis(200);

fn write_byte(bed: &mut Bed, workload: &'static str, file: &str) -> Result<()> {
    let mut load = bed.load("first-byte", &[&bed.path(file)]);
    bed.measure(workload, &mut load)
}

fn run(bed: &mut Bed, [write, longest, p99]: [&'static str; 3]) -> Result<()> {
    if bed.is_counting() {
        // Without the bystander, whose requests would be counted too.
        return write_byte(bed, write, "big");
    }
    if bed.wants("delay-idle") && write == "first-byte-512m" {
        let waits = beside(bed, |_| {
            std::thread::sleep(HEAD_START * 5);
            Ok(())
        })?;
        bed.record("delay-idle", waits.longest);
    }
    let waits = beside(bed, |bed| write_byte(bed, write, "big"))?;
    bed.record(longest, waits.longest);
    bed.record(p99, waits.p99);
    Ok(())
}

fn run_reflink(bed: &mut Bed) -> Result<()> {
    write_byte(bed, "first-byte-xfs-1m", "small")?;
    run(bed, ["first-byte-xfs", "delay-xfs", "delay-xfs-p99"])
}
