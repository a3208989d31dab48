//! Counts the FUSE requests that reach a daemon, by operation, through the kernel's tracepoint.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use fs_err as fs;

const TRACEFS: &str = "/sys/kernel/tracing";

/// Enough for half a million requests on each CPU.
const BUFFER_KIB: &str = "24576";

/// Requests of one piece of work by operation, without the `FUSE_` of their names.
pub type Requests = BTreeMap<String, u64>;

/// A trace buffer of our own, so that others who trace are not disturbed.
pub struct Tracer {
    instance: PathBuf,
}

impl Tracer {
    /// `name` must be unique on this machine.
    pub fn new(name: &str) -> Result<Self> {
        let instances = Path::new(TRACEFS).join("instances");
        if !instances.exists() {
            let flags = rustix::mount::MountFlags::empty();
            rustix::mount::mount("tracefs", TRACEFS, "tracefs", flags, None).context("mounting tracefs")?;
        }
        let instance = instances.join(name);
        fs::create_dir(&instance)?;
        let tracer = Self { instance };
        tracer.set("buffer_size_kb", BUFFER_KIB)?;
        if !tracer.instance.join("events/fuse/fuse_request_send").exists() {
            bail!("this kernel has no tracepoint fuse/fuse_request_send");
        }
        Ok(tracer)
    }

    fn set(&self, file: &str, value: &str) -> Result<()> {
        Ok(fs::write(self.instance.join(file), value)?)
    }

    /// The requests sent by the mount on `device` while `act` runs.
    pub fn count(&self, device: u64, act: impl FnOnce() -> Result<()>) -> Result<Requests> {
        self.set("trace", "")?;
        // The connection is numbered by the mount's (anonymous) device.
        let filter = format!("connection == {}", rustix::fs::minor(device));
        self.set("events/fuse/fuse_request_send/filter", &filter)?;
        self.set("events/fuse/fuse_request_send/enable", "1")?;
        let done = act();
        self.set("events/fuse/fuse_request_send/enable", "0")?;
        done?;
        self.read()
    }

    fn read(&self) -> Result<Requests> {
        let mut requests = Requests::new();
        for line in BufReader::new(fs::File::open(self.instance.join("trace"))?).lines() {
            let line = line?;
            let Some((_, event)) = line.split_once("fuse_request_send:") else {
                continue;
            };
            let operation = event.split(['(', ')']).nth(1).unwrap_or("UNKNOWN");
            let operation = operation.trim_start_matches("FUSE_").to_owned();
            *requests.entry(operation).or_default() += 1;
        }
        let lost = self.lost()?;
        if lost > 0 {
            requests.insert("LOST BY THE TRACE".to_owned(), lost);
        }
        Ok(requests)
    }

    /// How many events were overwritten before they could be read.
    fn lost(&self) -> Result<u64> {
        let mut lost = 0;
        for cpu in fs::read_dir(self.instance.join("per_cpu"))? {
            let stats = fs::read_to_string(cpu?.path().join("stats"))?;
            let overrun = stats.lines().find_map(|line| line.strip_prefix("overrun: "));
            lost += overrun.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or_default();
        }
        Ok(lost)
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // scripts/bench removes it when this cannot.
        let _ = self.set("events/fuse/fuse_request_send/enable", "0");
        let _ = std::fs::remove_dir(&self.instance);
    }
}
