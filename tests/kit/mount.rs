//! A live mount that cannot outlive the test, nor block it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::mount::UnmountFlags;

use super::mode::{Mode, announce};

/// The environment variable by which a mount's daemon is found again: its value is the mount point.
pub const MARK: &str = "UNIONFUSE_TEST_MOUNT";

/// How long others may stand in the way of an unmount.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How a union goes away again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    Kernel,
    Daemon,
    /// Just a directory.
    Nothing,
}

/// A union that can be used under `root()` until it is unmounted or dropped.
pub struct Mount {
    point: PathBuf,
    backing: Backing,
    live: bool,
}

impl Mount {
    pub fn new(point: &Path, backing: Backing) -> Mount {
        Mount { point: point.to_owned(), backing, live: true }
    }

    pub fn root(&self) -> &Path {
        &self.point
    }

    /// Unmounts and waits until the daemon, if there is one, has ended.
    pub fn unmount(mut self) {
        self.live = false;
        if self.backing == Backing::Nothing {
            return;
        }
        let daemons = daemons(&self.point);
        assert!(
            self.backing == Backing::Kernel || !daemons.is_empty(),
            "{}: the daemon died",
            self.point.display()
        );
        let start = Instant::now();
        // A child forked by a test running beside us may hold one of our descriptors until it execs.
        while let Err(error) = unmount_once(&self.point, self.backing) {
            if start.elapsed() > PATIENCE {
                detach(&self.point, self.backing);
                panic!("umount {}: {error}", self.point.display());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        if self.backing == Backing::Daemon {
            await_end(&self.point, &daemons, start);
        }
    }
}

/// Waits until the daemons of the unmounted `point` have ended.
fn await_end(point: &Path, pids: &[i32], start: Instant) {
    while !daemons(point).is_empty() {
        if start.elapsed() > PATIENCE {
            kill_daemons(point);
            // A copy of our mount namespace, made by a container or `unshare -m` meanwhile, holds the mount too.
            match mounted_elsewhere(point) {
                true => {
                    announce(&format!("NOTE: {}: still mounted in another mount namespace", point.display()))
                }
                false => panic!("{}: unmounted, but the daemon lives on", point.display()),
            }
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    reap(pids);
}

fn mounted_elsewhere(point: &Path) -> bool {
    let mounted = |text: String| {
        text.lines().filter_map(|line| line.split(' ').nth(4)).any(|at| Path::new(at) == point)
    };
    let mut all = std::fs::read_dir("/proc").expect("/proc").flatten();
    all.any(|process| std::fs::read_to_string(process.path().join("mountinfo")).is_ok_and(mounted))
}

/// Daemons detach from whoever started them; where pid 1 reaps nothing (containers) they would pile up as zombies.
pub fn adopt_daemons() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    let me = rustix::process::getpid();
    ONCE.call_once(|| rustix::process::set_child_subreaper(Some(me)).expect("any process may adopt"));
}

fn reap(pids: &[i32]) {
    for pid in pids.iter().filter_map(|pid| rustix::process::Pid::from_raw(*pid)) {
        // ECHILD: somebody else's child by now.
        let _ = rustix::process::waitpid(Some(pid), rustix::process::WaitOptions::empty());
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if self.live && self.backing != Backing::Nothing {
            detach(&self.point, self.backing);
        }
    }
}

fn unmount_once(point: &Path, backing: Backing) -> Result<(), String> {
    if backing == Backing::Daemon && Mode::current() == Mode::User {
        return fusermount(point, &["-u"]);
    }
    match rustix::mount::unmount(point, UnmountFlags::NOFOLLOW) {
        Err(Errno::BUSY) => Err(Errno::BUSY.to_string()),
        other => other.map_err(|e| e.to_string()),
    }
}

fn fusermount(point: &Path, how: &[&str]) -> Result<(), String> {
    let done = Command::new("fusermount3").args(how).arg(point).output().map_err(|e| e.to_string())?;
    if done.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&done.stderr).into_owned()) }
}

/// Takes the mount away at once, whoever still uses it; FORCE makes requests that wait for a daemon fail.
fn detach(point: &Path, backing: Backing) {
    if backing == Backing::Daemon && Mode::current() == Mode::User {
        let _ = fusermount(point, &["-u", "-z"]);
    } else {
        let _ = rustix::mount::unmount(
            point,
            UnmountFlags::FORCE | UnmountFlags::DETACH | UnmountFlags::NOFOLLOW,
        );
    }
    if backing == Backing::Daemon {
        let start = Instant::now();
        while !daemons(point).is_empty() && start.elapsed() < Duration::from_secs(2) {
            std::thread::sleep(Duration::from_millis(10));
        }
        kill_daemons(point);
    }
}

/// The processes that were started to serve `point`.
pub fn daemons(point: &Path) -> Vec<i32> {
    let mark = [MARK.as_bytes(), b"=", point.as_os_str().as_encoded_bytes()].concat();
    let marked = |environ: &[u8]| environ.split(|byte| *byte == 0).any(|variable| variable == mark);
    marked_processes(marked)
}

fn kill_daemons(point: &Path) {
    daemons(point).into_iter().for_each(kill);
}

/// Kills every daemon that serves a mount under `area`, and aborts its mounts: nothing there can block any longer.
pub fn abort_all_under(area: &Path) {
    let mark = [MARK.as_bytes(), b"=", area.as_os_str().as_encoded_bytes(), b"/"].concat();
    let marked =
        |environ: &[u8]| environ.split(|byte| *byte == 0).any(|variable| variable.starts_with(&mark));
    marked_processes(marked).into_iter().for_each(kill);
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for point in mounts.lines().filter_map(|line| line.split(' ').nth(4)) {
        if Path::new(point).starts_with(area) && Path::new(point) != area {
            let _ = rustix::mount::unmount(point, UnmountFlags::FORCE | UnmountFlags::DETACH);
        }
    }
}

fn marked_processes(marked: impl Fn(&[u8]) -> bool) -> Vec<i32> {
    let all = std::fs::read_dir("/proc").expect("/proc").flatten();
    let pids = all.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    // A zombie's environment reads as empty, so only live processes count.
    pids.filter(|pid| std::fs::read(format!("/proc/{pid}/environ")).is_ok_and(|environ| marked(&environ)))
        .collect()
}

fn kill(pid: i32) {
    if let Some(pid) = rustix::process::Pid::from_raw(pid) {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}
