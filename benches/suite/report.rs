//! What people read: tables on the terminal and in docs/performance.md.

mod markdown;
mod plot;
mod tables;

use std::path::{Path, PathBuf};

use anyhow::Result;
use comfy_table::presets::ASCII_MARKDOWN;
use fs_err as fs;

use crate::args::Args;
use crate::results::Results;
use crate::subject::Subject;
use crate::workload::Scenario;

/// Shows what subjects and workloads there are.
pub fn list(subjects: &[Subject], scenarios: &[Scenario]) {
    println!("Subjects:");
    for subject in subjects {
        println!("  {:32} {}", subject.name, subject.about);
    }
    println!("\nScenarios and the workloads in each:");
    for scenario in scenarios {
        println!("  {}", scenario.name);
        for measure in scenario.measures {
            println!("    {:30} {}", measure.id, measure.title);
        }
    }
}

/// Prints the results, and writes them to where `args` say.
pub fn write(results: &Results, args: &Args) -> Result<()> {
    for table in [tables::ratios(results), tables::requests(results), tables::targets(results)] {
        println!("{}\n", table.unwrap_or_default());
    }
    for skipped in &results.skipped {
        println!("SKIPPED: {}: {}", skipped.what, skipped.reason);
    }
    let Some(dir) = destination(args) else { return Ok(()) };
    fs::create_dir_all(&dir)?;
    results.save(&dir.join("performance.json"))?;
    plot::draw(results, &dir.join("performance.svg"))?;
    markdown::write(results, &dir.join("performance.md"))?;
    println!("\nwritten: {}", dir.join("performance.{json,md,svg}").display());
    Ok(())
}

fn destination(args: &Args) -> Option<PathBuf> {
    if let Some(out) = &args.out {
        return Some(out.clone());
    }
    if args.is_complete() || args.from.is_some() {
        return Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs"));
    }
    (!args.quick).then(|| args.scratch.clone())
}

/// A table that reads well as it is and as Markdown.
fn table(header: Vec<String>) -> comfy_table::Table {
    let mut table = comfy_table::Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(header);
    table
}
