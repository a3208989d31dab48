//! Running programs so that none outlives us, hangs us, or is waited for longer than it takes.

use std::collections::HashMap;
use std::io::{Read, Seek, SeekFrom};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// No single step of any workload takes this long unless something is stuck.
pub const PATIENCE: Duration = Duration::from_secs(300);

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// Process groups at work, and when each has had its time.
static GROUPS: Mutex<Option<HashMap<i32, Instant>>> = Mutex::new(None);

fn groups<T>(act: impl FnOnce(&mut HashMap<i32, Instant>) -> T) -> T {
    let mut groups = GROUPS.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    act(groups.get_or_insert_default())
}

fn kill_group(pid: i32) {
    if let Some(pid) = Pid::from_raw(pid) {
        // It may just have ended.
        let _ = kill_process_group(pid, Signal::KILL);
    }
}

/// Starts the thread that ends programs which take too long, and all of them when we are told to stop.
pub fn guard() -> Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    std::thread::spawn(move || {
        loop {
            std::thread::sleep(Duration::from_millis(100));
            if signals.pending().next().is_some() {
                INTERRUPTED.store(true, Ordering::Relaxed);
            }
            let stop = INTERRUPTED.load(Ordering::Relaxed);
            let now = Instant::now();
            groups(|groups| {
                groups.iter().filter(|(_, end)| stop || **end < now).for_each(|(pid, _)| kill_group(*pid));
            });
        }
    });
    Ok(())
}

/// Whether the user wants us to stop.
pub fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::Relaxed)
}

/// An error as soon as the user wants us to stop.
pub fn go_on() -> Result<()> {
    if interrupted() {
        bail!("interrupted");
    }
    Ok(())
}

/// A program at work in a process group of its own, ended with all its children when dropped.
pub struct Running {
    child: Child,
    stderr: std::fs::File,
    name: String,
    since: Instant,
}

impl Running {
    /// Starts `command`, whose output goes nowhere unless it fails; it may take `limit`.
    pub fn start(command: &mut Command, limit: Duration) -> Result<Self> {
        go_on()?;
        let name = format!("{command:?}");
        let stderr = tempfile::tempfile().context("a temporary file for messages")?;
        command.stderr(stderr.try_clone()?).process_group(0);
        let since = Instant::now();
        let child = command.spawn().with_context(|| name.clone())?;
        let end = since.checked_add(limit).with_context(|| format!("{limit:?} is too long"))?;
        groups(|groups| groups.insert(child.id().cast_signed(), end));
        Ok(Self { child, stderr, name, since })
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it has ended.
    pub fn ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait()?.is_some())
    }

    /// What it has said so far.
    pub fn said(&mut self) -> String {
        let mut text = Vec::new();
        let read = self.stderr.seek(SeekFrom::Start(0)).and_then(|_| self.stderr.read_to_end(&mut text));
        if read.is_err() {
            return "(its messages cannot be read)".to_owned();
        }
        let text = String::from_utf8_lossy(&text);
        text.trim().chars().take(2000).collect()
    }

    /// Waits for the end, which must be a success.
    pub fn finish(mut self) -> Result<Duration> {
        let status = self.child.wait().with_context(|| self.name.clone())?;
        let took = self.since.elapsed();
        go_on()?;
        if !status.success() {
            let said = self.said();
            bail!("{}: {status} after {:.1} s: {said}", self.name, took.as_secs_f64());
        }
        Ok(took)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let pid = self.child.id().cast_signed();
        if matches!(self.child.try_wait(), Ok(None)) {
            kill_group(pid);
            // Whatever it ended with, it is no longer wanted.
            let _ = self.child.wait();
        }
        groups(|groups| groups.remove(&pid));
    }
}

/// Runs a program to its end and says how long it took.
pub fn run(command: &mut Command) -> Result<Duration> {
    Running::start(command.stdin(Stdio::null()).stdout(Stdio::null()), PATIENCE)?.finish()
}

/// The first line a program prints, of stdout or stderr.
pub fn first_line(command: &mut Command) -> Option<String> {
    let output = command.stdin(Stdio::null()).output().ok()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    text.lines().map(str::trim).find(|line| !line.is_empty()).map(str::to_owned)
}

/// A program with surroundings that do not depend on who runs us.
pub fn program(name: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new(name);
    command.env("LC_ALL", "C").env("TZ", "UTC").env("HOME", "/nonexistent");
    command
}
