//! A mount whose daemon gets killed.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitOptions};

use crate::kit::mount::{Mount, daemons};
use crate::kit::ours::Ours;
use crate::kit::rig::Rig;
use crate::kit::subject::{Stack, Subject};
use crate::kit::tree::fingerprint;

pub struct Killed {
    rig: Rig,
    before: BTreeMap<Vec<u8>, String>,
    /// When the daemon is killed: other moments in every run, or bugs would have to wait at the right ones.
    random: u64,
}

impl Deref for Killed {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.rig
    }
}

impl Killed {
    /// Mounts over one lower, filled by `fill`.
    pub fn new(fill: impl FnOnce(&Path)) -> Self {
        let rig = Rig::new(fill, mounted);
        let random = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos() as u64 | 1;
        let before = fingerprint(&rig.stack.lowers[0]);
        Self { rig, before, random }
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random % n
    }

    fn mount(&mut self) {
        self.rig.mount = Some(mounted(&self.rig.stack));
    }

    /// Starts `script` in the union, kills the daemon in the midst of it and mounts again. Returns whether the script was
    /// still at work.
    pub fn kill_under(&mut self, script: &str, from: u64, to: u64) -> bool {
        let mut load = self.start(script);
        std::thread::sleep(Duration::from_millis(from + self.below(to - from)));
        let busy = load.try_wait().unwrap().is_none();
        self.kill();
        end(&mut load);
        self.mount();
        self.check_layers();
        busy
    }

    /// Starts `script` in the union, sends the daemon SIGTERM and a moment later SIGKILL, and mounts again. Panics when anything of
    /// it, or of the script, is left after a second.
    pub fn terminate_and_kill_under(&mut self, script: &str) {
        let mut load = self.start(script);
        std::thread::sleep(Duration::from_millis(20 + self.below(80)));
        let pids: Vec<Pid> = daemons(self.root()).into_iter().filter_map(Pid::from_raw).collect();
        let send = |signal| {
            for pid in &pids {
                // It may have ended by the first signal.
                let _ = rustix::process::kill_process(*pid, signal);
            }
        };
        send(Signal::TERM);
        std::thread::sleep(Duration::from_micros(self.below(20_000)));
        send(Signal::KILL);
        let start = Instant::now();
        for pid in &pids {
            while Path::new(&format!("/proc/{}/task", pid.as_raw_nonzero())).exists() {
                // A zombie that is ours to reap is gone but for its number.
                let _ = rustix::process::waitpid(Some(*pid), WaitOptions::NOHANG);
                assert!(start.elapsed() < Duration::from_secs(1), "the daemon {pid:?} cannot be killed");
                std::thread::sleep(Duration::from_millis(1));
            }
        }
        // Who is content with what the kernel remembers goes on; nobody hangs.
        let _ = rustix::process::kill_process(Pid::from_child(&load), Signal::TERM);
        while load.try_wait().unwrap().is_none() {
            assert!(start.elapsed() < Duration::from_secs(2), "who uses the mount hangs");
            std::thread::sleep(Duration::from_millis(1));
        }
        self.rig.mount = None;
        self.mount();
        self.check_layers();
    }

    fn start(&self, script: &str) -> Child {
        let said = std::fs::File::create(self.beside().join("said")).unwrap();
        let mut bash = Command::new("timeout");
        bash.args(["60", "bash", "-c", script]).current_dir(self.root()).env("BESIDE", self.beside());
        bash.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn().unwrap()
    }

    fn kill(&mut self) {
        let pids = daemons(self.root());
        assert!(!pids.is_empty(), "the daemon ended by itself");
        for pid in pids.into_iter().filter_map(Pid::from_raw) {
            rustix::process::kill_process(pid, Signal::KILL).unwrap();
            let _ = rustix::process::waitpid(Some(pid), WaitOptions::empty());
        }
        // Takes the dead mount away, lazily and by force.
        self.rig.mount = None;
    }

    /// The lower is as it was, and the mount swept what the dead daemon had in the making.
    fn check_layers(&self) {
        assert!(fingerprint(&self.stack.lowers[0]) == self.before, "the lower was changed");
        for entry in std::fs::read_dir(self.work()).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            let whiteout = meta.file_type().is_char_device() && meta.rdev() == 0;
            assert!(whiteout, "left in the work directory: {:?}", entry.path());
        }
    }

    /// Runs a check in the union.
    pub fn ask(&self, script: &str) -> String {
        let Output { status, stdout, stderr } = Command::new("timeout")
            .args(["60", "bash", "-c", script])
            .current_dir(self.root())
            .env("BESIDE", self.beside())
            .output()
            .unwrap();
        let (out, err) = (String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr));
        let said = std::fs::read_to_string(self.beside().join("said")).unwrap_or_default();
        assert!(status.success(), "{script}: {status}\n{out}{err}\nthe load said: {said}");
        out.trim().to_owned()
    }

    pub fn finish(mut self) {
        self.rig.unmount();
        self.check_layers();
    }
}

fn mounted(stack: &Stack) -> Mount {
    Ours.mount(stack).unwrap_or_else(|error| panic!("{error}"))
}

/// The load gets errors from the dead mount and stops; if not, it is stopped.
fn end(load: &mut Child) {
    let start = Instant::now();
    while load.try_wait().unwrap().is_none() {
        if start.elapsed() > Duration::from_secs(5) {
            // `timeout` passes a SIGTERM on.
            let _ = rustix::process::kill_process(Pid::from_child(load), Signal::TERM);
            load.wait().unwrap();
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
