//! The benchmark: unionfuse, the kernel's overlayfs and other unions at the same work on the same machine.
//!
//! Started by scripts/bench, which sees to the tools and to namespaces that leave nothing behind.

mod args;
mod backing;
mod bed;
mod data;
mod load;
mod machine;
mod mount;
mod process;
mod report;
mod requests;
mod results;
mod run;
mod stats;
mod subject;
mod targets;
mod workload;

use std::process::ExitCode;

use anyhow::Result;
use clap::Parser;

use args::Args;
use results::Results;
use subject::Programs;

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1).peekable();
    let done = match words.next_if(|word| word == "__load") {
        Some(_) => load::run(words.collect()).map(|()| true),
        None => bench(&Args::parse()),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says whether everything worked that must.
fn bench(args: &Args) -> Result<bool> {
    let programs = Programs { unionfuse: args.daemon.clone(), fuse_overlayfs_2: args.fuse_overlayfs.clone() };
    if args.list {
        report::list(&subject::all(&programs), &workload::all());
        return Ok(true);
    }
    if let Some(file) = &args.from {
        report::write(&Results::load(file)?, args)?;
        return Ok(true);
    }
    let Some(area) = &args.area else {
        eprintln!("SKIPPED: benchmark: it is started by scripts/bench");
        return Ok(true);
    };
    process::guard()?;
    let outcome = run::run(args, &programs, area)?;
    report::write(&outcome.results, args)?;
    Ok(outcome.broken.is_empty())
}
