//! The command line.

use std::path::PathBuf;

use clap::Parser;

use crate::backing::Fs;

/// Measures unionfuse, the kernel's overlayfs and other unions side by side.
///
/// Every subject gets a filesystem of its own for every scenario and repetition. A full run writes docs/performance.md,
/// .svg and .json; one of chosen workloads or subjects writes the same files to target/bench.
#[derive(Debug, Parser)]
#[command(name = "scripts/bench", max_term_width = 100)]
pub struct Args {
    /// Small sizes, one repetition, plain, overlayfs and unionfuse: does every workload work? Writes no docs
    #[arg(long)]
    pub quick: bool,
    /// Only these workloads or scenarios (see --list); a name that ends in * stands for all that begin so
    #[arg(long, value_name = "WORKLOAD", value_delimiter = ',')]
    pub only: Vec<String>,
    /// Only these subjects (see --list), on all that they can do; `all` for all
    #[arg(long, value_name = "SUBJECT", value_delimiter = ',')]
    pub subject: Vec<String>,
    /// A further unionfuse with other options for -o; with /BINARY@ before them, another build
    ///
    /// Measured on everything, and without having to be named by --subject.
    #[arg(long, value_name = "NAME=[/BINARY@]OPTS")]
    pub variant: Vec<String>,
    /// How often everything is measured [default: 3; with --quick 1]
    #[arg(long, value_name = "N")]
    pub repeat: Option<usize>,
    /// What the layers lie on
    #[arg(long, value_enum, default_value = "ext4")]
    pub on: Fs,
    /// Count the FUSE requests and measure no times
    #[arg(long, conflicts_with = "no_requests")]
    pub requests: bool,
    /// Measure times and do not count FUSE requests
    #[arg(long)]
    pub no_requests: bool,
    /// Where the results go
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Show what there is
    #[arg(long)]
    pub list: bool,
    /// Write the report anew from the results of an earlier run
    #[arg(long, value_name = "FILE.json")]
    pub from: Option<PathBuf>,
    /// Where images and mounts are made; given by scripts/bench
    #[arg(long, hide = true)]
    pub area: Option<PathBuf>,
    /// The daemon under test; given by scripts/bench
    #[arg(long, hide = true, default_value = "target/release/unionfuse")]
    pub daemon: PathBuf,
    /// Where fuse-overlayfs 2.0 is; given by scripts/bench
    #[arg(long, hide = true, default_value = "fuse-overlayfs-2.0")]
    pub fuse_overlayfs: PathBuf,
    /// Where results of an incomplete run go; given by scripts/bench
    #[arg(long, hide = true, default_value = "target/bench")]
    pub scratch: PathBuf,
    /// What `cargo bench` and `cargo test` pass to every bench target
    #[arg(long, hide = true)]
    pub bench: bool,
}

impl Args {
    pub fn repeats(&self) -> usize {
        self.repeat.unwrap_or(if self.quick { 1 } else { 3 }).max(1)
    }

    /// Whether this run is the one the documentation shows.
    pub fn is_complete(&self) -> bool {
        !self.quick && !self.requests && self.only.is_empty() && self.subject.is_empty()
    }
}
