//! What unionfuse is to reach, and whether it does.

use crate::results::{REFERENCE, Results};

/// A limit for one result of one subject.
pub struct Target {
    pub workload: &'static str,
    pub subject: &'static str,
    pub limit: Limit,
}

/// What may not be exceeded.
#[derive(Debug, Clone, Copy)]
pub enum Limit {
    /// The median against that of the kernel's overlayfs.
    Ratio(f64),
    /// The median against the subject's own median in another workload.
    Against(&'static str, f64),
    /// The median itself, in the unit of the workload.
    Value(f64),
    /// FUSE requests.
    Requests(u64),
}

/// How a target came out.
pub struct Outcome {
    pub limit: String,
    pub measured: String,
    pub met: bool,
}

/// The geometric mean over the suite against the kernel's overlayfs.
pub const MEAN: f64 = 1.3;

const OURS: &str = "unionfuse";
const RELAXED: &str = "unionfuse-fsync0";
const PASSTHROUGH: &str = "unionfuse-passthrough";

const fn ratio(workload: &'static str, limit: f64) -> Target {
    Target { workload, subject: OURS, limit: Limit::Ratio(limit) }
}

const fn silent(workload: &'static str) -> Target {
    Target { workload, subject: OURS, limit: Limit::Requests(0) }
}

const fn relaxed(workload: &'static str, limit: f64) -> Target {
    Target { workload, subject: RELAXED, limit: Limit::Ratio(limit) }
}

const fn past(workload: &'static str) -> Target {
    Target { workload, subject: PASSTHROUGH, limit: Limit::Ratio(1.05) }
}

const fn own(workload: &'static str, limit: Limit) -> Target {
    Target { workload, subject: OURS, limit }
}

/// The targets of the project, in the order in which it states them.
pub const ALL: &[Target] = &[
    ratio("walk-warm", 1.0),
    silent("walk-warm"),
    ratio("tar-warm", 1.0),
    silent("tar-warm"),
    ratio("grep-warm", 1.0),
    silent("grep-warm"),
    ratio("git-status", 1.0),
    silent("git-status-editor"),
    ratio("walk-cold", 1.5),
    ratio("walk-fresh", 1.5),
    ratio("ls-fresh", 2.0),
    ratio("tar-cold", 2.5),
    ratio("tar-fresh", 2.5),
    ratio("untar", 3.0),
    ratio("git-checkout", 3.0),
    ratio("rm-upper", 3.0),
    ratio("rm-lower", 3.0),
    ratio("create", 4.0),
    ratio("cp", 3.0),
    ratio("chmod", 1.0),
    relaxed("chmod", 0.5),
    ratio("append", 1.0),
    relaxed("append", 0.5),
    ratio("first-byte-512m", 0.5),
    ratio("first-byte-2g", 0.5),
    own("delay-512m", Limit::Value(1.0)),
    own("delay-2g", Limit::Value(1.0)),
    own("first-byte-xfs", Limit::Against("first-byte-xfs-1m", 2.0)),
    ratio("write-4k", 2.0),
    ratio("write-1m", 1.5),
    ratio("read-1m-cold", 6.0),
    ratio("read-1m-fresh", 6.0),
    ratio("read-1m-warm", 1.05),
    ratio("random-rw", 0.6),
    past("write-4k"),
    past("write-1m"),
    past("read-1m-cold"),
    past("read-1m-fresh"),
    past("read-1m-warm"),
    past("random-rw"),
    past("mmap-cold"),
    ratio("compile", 1.15),
    own("layers-500-mount", Limit::Value(300.0)),
    own("layers-500-warm", Limit::Against("layers-1-warm", 1.0)),
    own("layers-500-cold", Limit::Against("layers-1-cold", 1.5)),
    own("memory-file", Limit::Value(250.0)),
    own("memory-idle", Limit::Value(12.0)),
];

/// Two passes over the same tree are never equally fast.
const NOISE: f64 = 0.03;

impl Target {
    /// How it came out, if it was measured.
    pub fn outcome(&self, results: &Results) -> Option<Outcome> {
        let row = results.row(self.workload)?;
        let (limit, measured, met) = match self.limit {
            Limit::Ratio(limit) => {
                let ratio = row.ratio(self.subject)?;
                (format!("≤ {limit}x {REFERENCE}"), format!("{ratio:.2}x"), ratio <= limit + NOISE)
            }
            Limit::Against(other, limit) => {
                let ratio = row.median(self.subject)? / results.row(other)?.median(self.subject)?;
                (format!("≤ {limit}x {other}"), format!("{ratio:.2}x"), ratio <= limit + NOISE)
            }
            Limit::Value(limit) => {
                let value = row.median(self.subject)?;
                (format!("≤ {}", row.unit.show(limit)), row.unit.show(value), value <= limit)
            }
            Limit::Requests(limit) => {
                let count = row.request_count(self.subject)?;
                (format!("{limit} requests"), format!("{count}"), count <= limit)
            }
        };
        Some(Outcome { limit, measured, met })
    }
}
