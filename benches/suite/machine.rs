//! Where and of what the numbers were taken.

use std::collections::BTreeMap;
use std::process::Command;

use fs_err as fs;
use serde::{Deserialize, Serialize};

use crate::process::first_line;
use crate::subject::Subject;

/// What a number depends on but should not.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Machine {
    pub date: String,
    pub commit: String,
    pub kernel: String,
    pub cpu: String,
    pub cpus: usize,
    pub memory_mib: u64,
    /// Of subjects and of the programs that make the loads.
    pub versions: BTreeMap<String, String>,
}

impl Machine {
    pub fn here(subjects: &[Subject]) -> Self {
        let field = |file: &str, name: &str| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let line = text.lines().find(|line| line.starts_with(name));
            line.and_then(|line| line.split_once(':')).map(|(_, value)| value.trim().to_owned())
        };
        let memory = field("/proc/meminfo", "MemTotal").unwrap_or_default();
        let kib: u64 =
            memory.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
        let said = |command: &mut Command| first_line(command).unwrap_or_else(|| "unknown".to_owned());
        let of_subject = |subject: &Subject| Some((subject.name.clone(), subject.version()?));
        let mut versions: BTreeMap<_, _> = subjects.iter().filter_map(of_subject).collect();
        for tool in ["tar", "find", "grep", "git", "gcc", "make"] {
            versions.insert(tool.to_owned(), said(Command::new(tool).arg("--version")));
        }
        Self {
            date: said(Command::new("date").args(["-u", "+%Y-%m-%d %H:%M UTC"])),
            commit: commit(),
            kernel: said(Command::new("uname").args(["-srv"])),
            cpu: field("/proc/cpuinfo", "model name").unwrap_or_else(|| "unknown".to_owned()),
            cpus: std::thread::available_parallelism().map_or(0, usize::from),
            memory_mib: kib >> 10,
            versions,
        }
    }
}

/// The commit, and whether what was measured is more than that.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        first_line(Command::new("git").arg("-C").arg(env!("CARGO_MANIFEST_DIR")).args(arguments))
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else { return "unknown".to_owned() };
    match git(&["status", "--porcelain", "--untracked-files=no"]) {
        Some(_) => format!("{commit} with changes"),
        None => commit,
    }
}
