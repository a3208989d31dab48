//! A panic inside one request answers `EIO`, and the mount lives on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rustix::mount::{UnmountFlags, unmount};
use unionfuse::Session;
use unionfuse::Union;
use unionfuse::config::{Durability, MountFlags, SessionConfig, UnionConfig};
use unionfuse::testing::{FuseMountOptions, MountError, Mountpoint, mount_fuse};
use unionfuse::types::{Caller, Kind, Name, NodeId, RenameMode, SetAttr};

use kit::union_dirs::UnionDirs;
use kit::watched::{Watch, Watched};

/// No test takes a tenth of it.
const DEADLINE: Duration = Duration::from_secs(60);
const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 0, umask: 0 };

/// Panics at the N-th call from now on, or at all calls of some name.
#[derive(Debug, Clone, Default)]
struct Bomb(Arc<Mutex<Fuse>>);

#[derive(Debug, Default)]
enum Fuse {
    #[default]
    None,
    After(usize),
    /// All, because the kernel repeats a read that failed ahead of time. The second says whether there was one.
    At(&'static str, bool),
}

impl Bomb {
    fn set(&self, fuse: Fuse) {
        *self.0.lock().unwrap() = fuse;
    }

    /// Takes the fuse out; whether the bomb had gone off.
    fn went_off(&self) -> bool {
        matches!(std::mem::take(&mut *self.0.lock().unwrap()), Fuse::None | Fuse::At(_, true))
    }
}

impl Watch for Bomb {
    fn before(&self, call: &'static str, _names: &[&OsStr]) {
        let mut fuse = self.0.lock().unwrap();
        match &mut *fuse {
            Fuse::At(name, reached) if *name == call => *reached = true,
            Fuse::After(0) => *fuse = Fuse::None,
            Fuse::After(left) => {
                *left -= 1;
                return;
            }
            _ => return,
        }
        drop(fuse);
        // Unlike `panic!`, says nothing on stderr.
        resume_unwind(Box::new("a fault of the test"));
    }
}

/// A lower and an upper directory, and a union of them whose storage panics on demand.
struct Armed {
    dirs: UnionDirs,
    bomb: Bomb,
}

impl Armed {
    fn new() -> Self {
        rustix::process::umask(rustix::fs::Mode::empty());
        let armed = Self { dirs: UnionDirs::new(), bomb: Bomb::default() };
        fs::create_dir_all(armed.dirs.path("lower/d/inner")).unwrap();
        for file in ["f", "g", "d/f", "d/inner/f"] {
            fs::write(armed.dirs.path("lower").join(file), "lower").unwrap();
        }
        fs::hard_link(armed.dirs.path("lower/f"), armed.dirs.path("lower/link")).unwrap();
        symlink("f", armed.dirs.path("lower/s")).unwrap();
        armed
    }

    fn union(&self) -> Union {
        let config = UnionConfig { durability: Durability::Relaxed, ..self.dirs.config() };
        Union::open_on(Arc::new(Watched(self.bomb.clone())), &config, None).unwrap()
    }
}

/// The union mounted in this process. However its test ends, it is unmounted.
struct Served {
    armed: Armed,
    server: Option<JoinHandle<io::Result<()>>>,
}

impl Served {
    /// `None`, said loudly, where nothing can be mounted.
    fn new(name: &str) -> Option<Self> {
        if !rustix::process::geteuid().is_root() || !Path::new("/dev/fuse").exists() {
            eprintln!("SKIPPED: {name}: needs root and /dev/fuse");
            return None;
        }
        let armed = Armed::new();
        let options = FuseMountOptions { source: "panic".into(), flags: MountFlags::default() };
        let union = armed.union();
        let device = match Mountpoint::open(&armed.dirs.path("mnt"))
            .map_err(MountError::Kernel)
            .and_then(|place| mount_fuse(&place, &options))
        {
            Ok((device, _)) => device,
            Err(error) => {
                eprintln!("SKIPPED: {name}: {error}");
                return None;
            }
        };
        // So that every request reaches the daemon.
        let config = SessionConfig { cache_seconds: Some(0), ..SessionConfig::default() };
        let server = thread::spawn(move || {
            Session::start(union, device, &config).map_err(|failed| failed.error)?.run().map(drop)
        });
        Some(Self { armed, server: Some(server) })
    }

    fn mnt(&self, path: &str) -> PathBuf {
        self.armed.dirs.mnt(path)
    }

    /// Runs `operation` with a bomb in some call, and expects `EIO` of it.
    fn fails(&self, call: &'static str, operation: impl FnOnce() -> io::Result<()>) {
        self.armed.bomb.set(Fuse::At(call, false));
        let answer = operation();
        assert!(self.armed.bomb.went_off(), "{call} was not reached");
        let errno = answer.expect_err(call).raw_os_error();
        assert_eq!(errno, Some(libc::EIO), "{call}");
    }

    /// Ends the mount; the daemon must end in peace.
    fn unmount(mut self) {
        unmount(self.armed.dirs.path("mnt"), UnmountFlags::empty()).unwrap();
        self.server.take().unwrap().join().unwrap().unwrap();
    }
}

#[test]
fn a_panic_answers_eio_and_the_mount_lives_on() {
    let Some(served) = Served::new("a_panic_answers_eio_and_the_mount_lives_on") else { return };
    let path = |name| served.mnt(name);
    let listed = || fs::read_dir(path("d")).and_then(|entries| entries.collect::<io::Result<Vec<_>>>());
    served.fails("stat", || fs::metadata(path("g")).map(drop));
    served.fails("read", || fs::read(path("g")).map(drop));
    served.fails("read_dir", || listed().map(drop));
    served.fails("tmpfile", || fs::write(path("f"), "new"));
    served.fails("mkdir", || fs::create_dir(path("d/new")));
    served.fails("mknod", || fs::write(path("d/file"), "new"));
    served.fails("symlink", || symlink("f", path("t")));
    served.fails("chmod", || fs::set_permissions(path("g"), fs::Permissions::from_mode(0o600)));
    served.fails("rename", || fs::rename(path("d"), path("e")));
    served.fails("read_link", || fs::read_link(path("s")).map(drop));
    // What failed works now: neither a lock nor half a change was left.
    fs::write(path("f"), "new").unwrap();
    fs::write(path("d/file"), "new").unwrap();
    fs::create_dir(path("d/new")).unwrap();
    fs::set_permissions(path("g"), fs::Permissions::from_mode(0o600)).unwrap();
    served.fails("unlink", || fs::remove_file(path("d/file")));
    served.fails("write", || fs::write(path("g"), "g"));
    fs::remove_file(path("d/file")).unwrap();
    fs::write(path("g"), "g").unwrap();
    assert_eq!(fs::read_to_string(path("link")).unwrap(), "new");
    assert_eq!(fs::read_link(path("s")).unwrap(), Path::new("f"));
    fs::rename(path("d"), path("e")).unwrap();
    assert_eq!(fs::read_to_string(path("e/inner/f")).unwrap(), "lower");
    assert_eq!(fs::read_dir(path("e")).unwrap().count(), 3);
    served.unmount();
}

#[test]
fn more_panics_than_there_are_threads() {
    let Some(served) = Served::new("more_panics_than_there_are_threads") else { return };
    for _ in 0..100 {
        served.fails("stat", || fs::metadata(served.mnt("g")).map(drop));
    }
    assert_eq!(fs::read_to_string(served.mnt("g")).unwrap(), "lower");
    served.unmount();
}

/// What is done to a union, by the name it has in messages.
type Operation = (&'static str, fn(&Union));

const OPERATIONS: [Operation; 12] = [
    ("read", |union| drop(node(union, "g").map(|node| union.read(node, 0, &mut [0; 9])))),
    ("list", |union| {
        let _ = union.read_dir(NodeId::ROOT, 0, false, &mut |_, _| std::ops::ControlFlow::Continue(()));
    }),
    ("write", |union| drop(node(union, "g").map(|node| union.write(node, 0, b"new", None)))),
    ("write to a hard link", |union| drop(node(union, "f").map(|node| union.write(node, 0, b"new", None)))),
    ("link", |union| {
        drop(node(union, "f").map(|node| union.link(node, NodeId::ROOT, name("link2"))));
    }),
    ("chmod", |union| {
        let change = SetAttr { perm: Some(0o600), ..SetAttr::default() };
        drop(node(union, "d").map(|node| union.setattr(ROOT, node, change)));
    }),
    ("set an attribute", |union| {
        drop(node(union, "g").map(|node| union.set_xattr(ROOT, node, OsStr::new("user.x"), b"1", 0)));
    }),
    ("create", |union| {
        let made = union.mknod(ROOT, NodeId::ROOT, name("new"), Kind::File, 0o644, 0);
        drop(made);
    }),
    ("unlink", |union| drop(union.unlink(NodeId::ROOT, name("f")))),
    ("rmdir", |union| {
        let d = node(union, "d");
        drop(d.map(|d| {
            drop(union.unlink(d, name("f")));
            drop(union.rename(d, name("inner"), NodeId::ROOT, name("inner"), RenameMode::Replace));
            union.rmdir(NodeId::ROOT, name("d"))
        }));
    }),
    ("rename", |union| {
        let root = NodeId::ROOT;
        drop(union.rename(root, name("f"), root, name("g"), RenameMode::Replace));
    }),
    ("rename a directory", |union| {
        let root = NodeId::ROOT;
        drop(union.rename(root, name("d"), root, name("e"), RenameMode::Exchange));
        drop(union.rename(root, name("d"), root, name("e"), RenameMode::Replace));
    }),
];

fn name(name: &str) -> Name<'_> {
    Name::try_from(name).unwrap()
}

/// A node that is never forgotten: references are what this test is not about.
fn node(union: &Union, name: &str) -> Option<NodeId> {
    let entry = union.lookup(NodeId::ROOT, Name::try_from(name).unwrap()).ok().flatten()?;
    Some(entry.give_to_kernel().node)
}

/// The engine alone, stopped by a panic in every call of every operation: the same operation and all others then work, which
/// they could not if a lock were still held.
#[test]
fn a_panic_at_any_call_leaves_no_lock() {
    let (done, finished) = mpsc::channel();
    let tests = thread::spawn(move || {
        let mut faults = 0;
        for operation in OPERATIONS {
            let mut at = 0;
            while panic_at(operation, at) {
                at += 1;
            }
            assert!(at > 0, "{}: no call was reached", operation.0);
            faults += at;
        }
        done.send(faults).unwrap();
    });
    match finished.recv_timeout(DEADLINE) {
        Ok(faults) => eprintln!("{faults} panics survived"),
        Err(mpsc::RecvTimeoutError::Timeout) => panic!("an operation hangs: a lock is still held"),
        Err(mpsc::RecvTimeoutError::Disconnected) => resume_unwind(tests.join().unwrap_err()),
    }
}

/// Whether the operation makes so many calls that the bomb went off.
fn panic_at((what, operation): Operation, call: usize) -> bool {
    let armed = Armed::new();
    let union = armed.union();
    armed.bomb.set(Fuse::After(call));
    let outcome = catch_unwind(AssertUnwindSafe(|| operation(&union)));
    if !armed.bomb.went_off() {
        return false;
    }
    assert!(outcome.is_err(), "{what}, call {call}: the panic was lost");
    operation(&union);
    for (_, other) in OPERATIONS {
        other(&union);
    }
    let entry = union.mkdir(ROOT, NodeId::ROOT, name("last"), 0o755).unwrap();
    assert_eq!(entry.value.attr.kind, Kind::Directory, "{what}, call {call}");
    true
}
