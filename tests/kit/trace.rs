//! Counts the FUSE requests a piece of work sends, through the kernel's tracepoint.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

const TRACEFS: &str = "/sys/kernel/tracing";

/// A trace buffer of our own, so that runs side by side do not see each other's requests.
pub struct Trace {
    instance: PathBuf,
}

impl Trace {
    /// Traces the requests of the FUSE mount at `root`, or says why that cannot be done here.
    pub fn of(root: &Path) -> Result<Trace, String> {
        let said = |what: &str, path: &Path| {
            let (what, path) = (what.to_owned(), path.display().to_string());
            move |error: io::Error| format!("{what} {path}: {error}")
        };
        if !Path::new(TRACEFS).join("instances").exists() {
            rustix::mount::mount("tracefs", TRACEFS, "tracefs", rustix::mount::MountFlags::empty(), None)
                .map_err(|error| format!("mount tracefs: {error}"))?;
        }
        let device = fs::metadata(root).map_err(said("stat", root))?.dev();
        let instance =
            Path::new(TRACEFS).join(format!("instances/unionfuse-{}-{}", std::process::id(), device));
        fs::create_dir(&instance).map_err(said("mkdir", &instance))?;
        let trace = Trace { instance };
        let event = trace.instance.join("events/fuse/fuse_request_send");
        // The connection is numbered by the mount's (anonymous) device.
        let filter = format!("connection == {}", rustix::fs::minor(device));
        fs::write(event.join("filter"), filter).map_err(said("filter", &event))?;
        fs::write(event.join("enable"), "1").map_err(said("enable", &event))?;
        Ok(trace)
    }

    /// Forgets the requests seen so far.
    pub fn clear(&self) {
        fs::write(self.instance.join("trace"), "").expect("our own trace buffer");
    }

    /// The operation of every request seen, such as `FUSE_LOOKUP`.
    pub fn requests(&self) -> Vec<String> {
        let text = fs::read_to_string(self.instance.join("trace")).expect("our own trace buffer");
        let events = text.lines().filter(|line| line.contains("fuse_request_send:"));
        events.map(|line| line.split(['(', ')']).nth(1).unwrap_or(line).to_owned()).collect()
    }
}

impl Drop for Trace {
    fn drop(&mut self) {
        let _ = fs::write(self.instance.join("events/fuse/fuse_request_send/enable"), "0");
        let _ = fs::remove_dir(&self.instance);
    }
}
