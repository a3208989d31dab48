//! A repository that lies in a lower layer.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use fastrand::Rng;
use fs_err as fs;

use super::{Measure, Scenario, Unit, extra, time};
use crate::backing::Layers;
use crate::bed::{Bed, check};
use crate::data::{self, Sizes};
use crate::process::{self, program};
use crate::subject::Theme;

const MEASURES: &[Measure] = &[
    time("git-status", "`git status`, warm"),
    extra("git-status-editor", "the same without locks, as editors run it", Unit::Seconds),
    time("git-checkout", "`git checkout` of another branch"),
];

pub const SCENARIO: Scenario = Scenario::new("git", Theme::Writes, MEASURES, fill, run);

fn git(repo: &Path) -> Command {
    let mut git = program("git");
    git.arg("-C").arg(repo).args([
        "-c",
        "safe.directory=*",
        "-c",
        "gc.auto=0",
        "-c",
        "maintenance.auto=false",
    ]);
    for who in ["AUTHOR", "COMMITTER"] {
        git.env(format!("GIT_{who}_NAME"), "unionfuse").env(format!("GIT_{who}_EMAIL"), "bench@localhost");
        git.env(format!("GIT_{who}_DATE"), "2024-01-01T00:00:00Z");
    }
    git.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_SYSTEM", "/dev/null");
    git
}

/// A third of the files differs between the branches; some are there in one of them alone.
fn fill(layers: &Layers, sizes: &Sizes) -> Result<()> {
    let repo = layers.bottom().join("repo");
    data::tree(&repo, sizes.repo_files, |_| true)?;
    fs::create_dir_all(layers.dir(0))?;
    process::run(git(&repo).args(["init", "-q", "-b", "main"]))?;
    process::run(git(&repo).args(["add", "-A"]))?;
    process::run(git(&repo).args(["commit", "-q", "-m", "one"]))?;
    process::run(git(&repo).args(["checkout", "-q", "-b", "other"]))?;
    for n in (0..sizes.repo_files).step_by(3) {
        let path = repo.join(data::tree_path(n));
        match n % 5 {
            0 => fs::remove_file(path)?,
            _ => fs::write(path, data::text(&mut Rng::with_seed(n as u64 + 1_000_000), 5000))?,
        }
    }
    data::tree(&repo.join("new"), sizes.repo_files / 15, |_| true)?;
    process::run(git(&repo).args(["add", "-A"]))?;
    process::run(git(&repo).args(["commit", "-q", "-m", "two"]))?;
    process::run(git(&repo).args(["checkout", "-q", "main"]))?;
    // git distrusts files that are not older than its index, in whole seconds, and writes the index again each time.
    std::thread::sleep(Duration::from_millis(1100));
    Ok(())
}

fn run(bed: &mut Bed) -> Result<()> {
    let repo = bed.path("repo");
    // The copy in the union may have other inode numbers than git has noted: it then reads everything, once.
    bed.prepare(git(&repo).arg("status"))?;
    bed.measure_warm("git-status", git(&repo).arg("status"))?;
    // Without this, git makes a lock file each time, and removes it.
    bed.measure_warm("git-status-editor", git(&repo).args(["--no-optional-locks", "status"]))?;
    if bed.wants("git-checkout") {
        bed.measure("git-checkout", git(&repo).args(["checkout", "-q", "other"]))?;
        check(&repo.join("new"), true)?;
    }
    Ok(())
}
