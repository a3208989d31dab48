//! One subject on a backing filesystem of its own, ready for the steps of a scenario.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use fs_err as fs;

use crate::backing::{Backing, Layers, drop_caches};
use crate::data::Sizes;
use crate::mount::Mounted;
use crate::process::{self, program};
use crate::requests::{Requests, Tracer};
use crate::subject::{Kind, Stack, Subject};

/// More passes than these take make a result no better.
const ENOUGH: Duration = Duration::from_secs(1);

/// What all beds share.
pub struct Shared {
    /// A directory of our own.
    pub area: PathBuf,
    pub sizes: Sizes,
    /// This program, for loads.
    pub exe: PathBuf,
    /// A tree of small files as a tar archive.
    pub archive: PathBuf,
}

/// What one pass over a scenario found, by workload.
#[derive(Default)]
pub struct Found {
    pub values: BTreeMap<&'static str, f64>,
    pub requests: BTreeMap<&'static str, Requests>,
}

/// See the module.
pub struct Bed<'a> {
    pub subject: &'a Subject,
    pub shared: &'a Shared,
    pub wanted: &'a dyn Fn(&str) -> bool,
    /// Counts requests instead of time.
    tracer: Option<&'a Tracer>,
    // Before `backing`, so that it is unmounted first.
    mounted: Option<Mounted>,
    backing: Backing,
    point: PathBuf,
    pub found: Found,
}

impl<'a> Bed<'a> {
    pub fn new(
        subject: &'a Subject,
        shared: &'a Shared,
        wanted: &'a dyn Fn(&str) -> bool,
        tracer: Option<&'a Tracer>,
        backing: Backing,
    ) -> Result<Self> {
        let point = shared.area.join("union");
        fs::create_dir_all(&point)?;
        let found = Found::default();
        let mut bed = Self { subject, shared, wanted, tracer, mounted: None, backing, point, found };
        bed.mount()?;
        Ok(bed)
    }

    pub fn sizes(&self) -> &'a Sizes {
        &self.shared.sizes
    }

    pub fn layers(&self) -> &Layers {
        &self.backing.layers
    }

    /// Whether there is a union, rather than a plain directory.
    pub fn is_union(&self) -> bool {
        self.subject.kind != Kind::Plain
    }

    /// Whether this pass counts requests, and its times mean nothing.
    pub fn is_counting(&self) -> bool {
        self.tracer.is_some()
    }

    /// Whether the result of `workload` is asked for.
    pub fn wants(&self, workload: &str) -> bool {
        (self.wanted)(workload)
    }

    pub fn wants_any(&self, workloads: &[&str]) -> bool {
        workloads.iter().any(|workload| self.wants(workload))
    }

    /// A path in the union.
    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        match &self.mounted {
            Some(mounted) => mounted.point().join(name),
            None => self.backing.layers.merged_dir().join(name),
        }
    }

    fn mount(&mut self) -> Result<Duration> {
        if !self.is_union() {
            return Ok(Duration::ZERO);
        }
        let layers = self.layers();
        let stack = Stack {
            lowers: layers.all(),
            upper: layers.upper(),
            work: layers.work(),
            point: self.point.clone(),
        };
        let mounted = Mounted::new(self.subject, &stack)?;
        let took = mounted.took;
        self.mounted = Some(mounted);
        Ok(took)
    }

    fn unmount(&mut self) -> Result<()> {
        self.mounted.take().map_or(Ok(()), Mounted::unmount)
    }

    /// Nothing is in any cache: the union is mounted anew, the layers must be read from the disk. Says how long the
    /// mount took.
    pub fn cold(&mut self) -> Result<Duration> {
        self.unmount()?;
        drop_caches()?;
        self.mount()
    }

    /// The union is mounted anew and nothing is known of it, but the kernel has all of the layers in its caches.
    pub fn fresh(&mut self) -> Result<()> {
        self.unmount()?;
        for layer in self.layers().all() {
            process::run(&mut tar(&layer))?;
        }
        self.mount().map(drop)
    }

    /// The command that makes this program do a load in the union; see `load`.
    pub fn load(&self, name: &str, arguments: &[&dyn AsRef<std::ffi::OsStr>]) -> Command {
        let mut command = program(&self.shared.exe);
        command.arg("__load").arg(name).args(arguments);
        command
    }

    /// Does what must be done before something can be measured.
    pub fn prepare(&self, command: &mut Command) -> Result<()> {
        process::run(command).map(drop)
    }

    /// Runs `command` and takes what it costs as the result of `workload`.
    pub fn measure(&mut self, workload: &'static str, command: &mut Command) -> Result<()> {
        self.passes(workload, 1, || process::run(command))
    }

    /// Like [`Bed::measure`], for work that is over in no time: several passes, after one that is not counted.
    pub fn measure_warm(&mut self, workload: &'static str, command: &mut Command) -> Result<()> {
        if !self.wants(workload) {
            return Ok(());
        }
        process::run(command)?;
        self.passes(workload, self.sizes().warm_passes, || process::run(command))
    }

    fn passes(
        &mut self,
        workload: &'static str,
        passes: u32,
        mut act: impl FnMut() -> Result<Duration>,
    ) -> Result<()> {
        let what = || format!("{workload} on {}", self.subject.name);
        if let (Some(tracer), Some(mounted)) = (self.tracer, &self.mounted) {
            let requests = tracer.count(mounted.device()?, || act().map(drop)).with_context(what)?;
            self.found.requests.insert(workload, requests);
            return Ok(());
        }
        let (mut total, mut done) = (Duration::ZERO, 0);
        // What takes long is measured well enough by fewer passes.
        while done == 0 || done < passes && total < ENOUGH {
            total += act().with_context(what)?;
            done += 1;
        }
        self.record(workload, (total / done).as_secs_f64());
        Ok(())
    }

    /// Takes `value` as the result of `workload`, in the workload's unit.
    pub fn record(&mut self, workload: &'static str, value: f64) {
        self.found.values.insert(workload, value);
    }

    /// A number of KiB about the daemon's memory, such as `VmRSS` or `RssAnon`; `None` where there is no daemon.
    pub fn daemon_kib(&self, field: &str) -> Result<Option<f64>> {
        let Some(pid) = self.mounted.as_ref().and_then(Mounted::daemon) else { return Ok(None) };
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
        number.map(Some).with_context(|| format!("/proc/{pid}/status has no {field}"))
    }

    /// Ends everything, so that the next subject finds nothing of this one.
    pub fn finish(mut self) -> Result<Found> {
        self.unmount()?;
        Ok(self.found)
    }
}

/// Reads all there is below `dir`. Through a pipe, since tar does not read what it would write to /dev/null.
pub fn tar(dir: &Path) -> Command {
    let mut command = program("bash");
    command.args(["-c", "set -o pipefail; tar -cf - -C \"$0\" . | cat >/dev/null"]).arg(dir);
    command
}

/// An error unless `path` is there (or is not there).
pub fn check(path: &Path, expected: bool) -> Result<()> {
    if path.symlink_metadata().is_ok() != expected {
        bail!("{} should {}be there", path.display(), if expected { "" } else { "not " });
    }
    Ok(())
}
