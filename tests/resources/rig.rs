//! A mount whose daemon is looked at from outside.

use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use crate::kit::mount::{Backing, Mount, adopt_daemons, daemons};
use crate::kit::ours::command;
use crate::kit::rig::Rig;

pub struct Observed(Rig);

impl Deref for Observed {
    type Target = Rig;

    fn deref(&self) -> &Rig {
        &self.0
    }
}

impl Observed {
    /// Mounts over one lower, filled by `fill`; the daemon may open as many descriptors as `limit` says.
    pub fn new(limit: Option<u32>, fill: impl FnOnce(&Path)) -> Self {
        // The daemon raises its soft limit to the hard one, so both are set.
        let limit = limit.map(|limit| format!("--nofile={limit}:{limit}"));
        Self(Rig::new(fill, |stack| {
            adopt_daemons();
            let plain = command(stack);
            let mut limited = Command::new("prlimit");
            limited.args(limit).arg(plain.get_program()).args(plain.get_args());
            for (name, value) in plain.get_envs() {
                limited.env(name, value.unwrap());
            }
            assert!(limited.status().unwrap().success(), "{limited:?}");
            Mount::new(&stack.point, Backing::Daemon)
        }))
    }

    fn proc(&self, what: &str) -> PathBuf {
        let pids = daemons(self.root());
        assert_eq!(pids.len(), 1, "one daemon");
        PathBuf::from(format!("/proc/{}/{what}", pids[0]))
    }

    /// The descriptors the daemon has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// The daemon's own memory in bytes, without that of its binary.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Waits until `is_so`; what the kernel tells the daemon to forget comes after the answer to whoever caused it.
    pub fn await_that(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let start = Instant::now();
        while !is_so(self) {
            assert!(start.elapsed() < Duration::from_secs(20), "not yet: {what}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// How much lies in the work directory.
    pub fn in_work(&self) -> usize {
        std::fs::read_dir(self.work()).unwrap().count()
    }

    pub fn finish(mut self) {
        self.0.unmount();
    }
}

/// Fills a directory with `count` files, a hundred in each directory.
pub fn many_files(root: &Path, count: usize) {
    for n in 0..count {
        let path = root.join(file(n));
        if n % 100 == 0 {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        std::fs::write(path, format!("{n}")).unwrap();
    }
}

/// The path of the `n`-th of them.
pub fn file(n: usize) -> PathBuf {
    PathBuf::from(format!("d{:04}/file{n:06}", n / 100))
}

/// Looks at every file below, by its attributes; returns how many there are.
pub fn walk(root: &Path) -> usize {
    let mut count = 0;
    for dir in std::fs::read_dir(root).unwrap() {
        for file in std::fs::read_dir(dir.unwrap().path()).unwrap() {
            assert!(file.unwrap().metadata().unwrap().is_file());
            count += 1;
        }
    }
    count
}
