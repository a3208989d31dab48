//! The part of docs/performance.md that is not written by hand.

use std::path::Path;

use anyhow::{Context, Result};
use fs_err as fs;

use super::{table, tables};
use crate::machine::Machine;
use crate::results::{REFERENCE, Results};

const BEGIN: &str = "<!-- bench:begin -->";
const END: &str = "<!-- bench:end -->";

/// Replaces what is between the markers in `path`, and nothing else.
pub fn write(results: &Results, path: &Path) -> Result<()> {
    let old = match path.exists() {
        true => fs::read_to_string(path)?,
        false => format!("# Performance\n\n{BEGIN}\n{END}\n"),
    };
    let missing = || format!("{} has no {BEGIN} … {END} to write between", path.display());
    let (before, rest) = old.split_once(BEGIN).with_context(missing)?;
    let (_, after) = rest.split_once(END).with_context(missing)?;
    let new = format!("{before}{BEGIN}\n{}{END}{after}", section(results));
    Ok(fs::write(path, new)?)
}

fn section(results: &Results) -> String {
    let parts = [
        Some(introduction(results)),
        tables::targets(results).map(|table| format!("### Targets\n\n{table}")),
        tables::ratios(results)
            .map(|table| format!("### Against the kernel's overlayfs\n\n{}\n\n{table}", RATIOS)),
        tables::values(results).map(|table| format!("### Medians (smallest – largest)\n\n{table}")),
        tables::requests(results).map(|table| format!("### FUSE requests\n\n{}\n\n{table}", REQUESTS)),
        Some(workloads(results)),
        Some(subjects(results)),
        skipped(results),
    ];
    parts.into_iter().flatten().map(|part| format!("{part}\n\n")).collect()
}

const RATIOS: &str = "Time divided by that of the kernel's overlayfs: less is better, below 1 is faster than it. \
    `overlayfs` is its median time.\n\n![the same as a plot](performance.svg)";

const REQUESTS: &str =
    "Of one pass, counted in a run of its own. FORGET is not among them: the kernel does not trace it.";

fn introduction(results: &Results) -> String {
    let Machine { date, commit, kernel, cpu, cpus, memory_mib, .. } = &results.machine;
    let (backing, repeats) = (&results.backing, results.repeats);
    format!(
        "Written by `scripts/bench`; do not edit between the markers.\n\n\
         Machine: {cpus} × {cpu}, {memory_mib} MiB of memory, {kernel}. {date}, commit {commit}.\n\n\
         Layers on {backing}{}, a new one for each subject, scenario and repetition. Every scenario at most {repeats} \
         times, subjects in turns; where no smallest and largest value is shown it was once.\n\n\
         *Cold*: everything written back, all of the kernel's caches dropped, the union mounted anew; the layers have \
         to be read from the disk. *New mount*: the union is mounted anew, the layers are in the kernel's caches. \
         *Warm*: the mean of some passes after another one. A plain directory knows no new mount.",
        if backing == "tmpfs" {
            ""
        } else {
            " (on a loop device; each a copy of one image, so laid out alike)"
        },
    )
}

fn workloads(results: &Results) -> String {
    let mut table = table(["workload", "what", "in the mean"].map(str::to_owned).into());
    for row in &results.rows {
        table.add_row([row.id.as_str(), &row.title, if row.in_mean { "yes" } else { "no" }]);
    }
    format!("### Workloads\n\n{table}")
}

fn subjects(results: &Results) -> String {
    let mut table = table(["subject", "what", "version"].map(str::to_owned).into());
    let version = |name: &str| results.machine.versions.get(name).map_or("", String::as_str);
    for column in &results.columns {
        let own = if column.name.starts_with(REFERENCE) || column.name == "plain" {
            "the kernel's"
        } else {
            version(&column.name)
        };
        table.add_row([column.name.as_str(), &column.about, own]);
    }
    let known = |name: &&String| !results.columns.iter().any(|column| column.name == **name);
    let tools = results.machine.versions.iter().filter(|(name, _)| known(name));
    let tools: Vec<&str> = tools.map(|(_, version)| version.as_str()).collect();
    format!("### Subjects\n\n{table}\n\nLoads: {}.", tools.join("; "))
}

fn skipped(results: &Results) -> Option<String> {
    if results.skipped.is_empty() {
        return None;
    }
    let line =
        |skipped: &crate::results::Skipped| format!("* SKIPPED: {}: {}\n", skipped.what, skipped.reason);
    let lines: String = results.skipped.iter().map(line).collect();
    Some(format!("### Not measured\n\n{}", lines.trim_end()))
}
