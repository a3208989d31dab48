//! The work directory is one from which a rename into the upperdir works, as was tried before the mount is live.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;
use unionfuse::Union;
use unionfuse::config::UnionConfig;

use crate::kit::bench::{Bench, over, skip};
use crate::kit::layer::Layer;

/// A filesystem of its own, unmounted when dropped.
struct Mounted {
    dir: TempDir,
}

impl Mounted {
    fn point(&self) -> PathBuf {
        self.dir.path().join("mnt")
    }

    fn of_kind(kind: &str) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let point = dir.path().join("mnt");
        std::fs::create_dir(&point).unwrap();
        match mount(kind, &point, kind, MountFlags::empty(), None) {
            Ok(()) => Some(Self { dir }),
            Err(errno) => {
                skip(&format!("mount {kind}: {errno}"));
                None
            }
        }
    }

    /// An xfs with an upperdir that hands a project of its own down.
    fn with_projects() -> Option<Self> {
        let dir = TempDir::new().unwrap();
        std::fs::create_dir(dir.path().join("mnt")).unwrap();
        let script = r#"truncate -s 320M "$1/image" && mkfs.xfs -q "$1/image" && mount -o loop "$1/image" "$1/mnt" &&
            mkdir "$1/mnt/upper" "$1/mnt/work" && xfs_io -c "chproj 42" -c "chattr +P" "$1/mnt/upper""#;
        let made = Command::new("sh").args(["-ec", script, "sh"]).arg(dir.path()).output().unwrap();
        let mounted = Self { dir };
        if made.status.success() {
            return Some(mounted);
        }
        skip(&format!("xfs with projects: {}", String::from_utf8_lossy(&made.stderr)));
        None
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Not mounted after a failure.
        let _ = unmount(self.point(), UnmountFlags::DETACH);
    }
}

fn names(dir: &Path) -> Vec<std::ffi::OsString> {
    let mut names: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    names
}

#[test]
fn what_is_tried_leaves_no_trace() {
    let mut bench = over(|lower| {
        lower.file("f", "");
    });
    let time = |bench: &Bench| bench.upper().stat("").mtime();
    bench.close();
    let before = time(&bench);
    bench.reopen();
    assert_eq!(time(&bench), before);
    assert_eq!(bench.upper().names(""), [""; 0]);
    assert_eq!(names(&bench.dir().join("work/work")), [""; 0]);
}

#[test]
fn a_filesystem_that_leaves_no_whiteouts_behind_is_refused() {
    let Some(ramfs) = Mounted::of_kind("ramfs") else { return };
    let layer = Layer { root: ramfs.point() };
    layer.file("lower/f", "").dir("upper").dir("work");
    let config =
        UnionConfig::new([layer.path("lower")]).with_upper(layer.path("upper"), Some(layer.path("work")));
    let error = Union::open(&config, None).unwrap_err().to_string();
    assert!(error.contains("RENAME_WHITEOUT"), "{error}");
    assert_eq!((layer.names("upper"), layer.names("work")), (Vec::new(), Vec::new()));
}

#[test]
fn a_read_only_filesystem_can_be_looked_at_only() {
    let Some(tmpfs) = Mounted::of_kind("tmpfs") else { return };
    let layer = Layer { root: tmpfs.point() };
    layer.file("lower/f", "").file("upper/u", "").dir("work");
    let mut config =
        UnionConfig::new([layer.path("lower")]).with_upper(layer.path("upper"), Some(layer.path("work")));
    drop(Union::open(&config, None).unwrap());
    rustix::mount::mount_remount(tmpfs.point(), MountFlags::RDONLY, c"").unwrap();
    for work in [Some(layer.path("work")), None] {
        config.work = work;
        config.read_only = false;
        let error = Union::open(&config, None).unwrap_err().to_string();
        assert!(
            error.starts_with("upperdir") && error.contains("read-only") && error.contains("ro"),
            "{error}"
        );
        assert!(!error.contains("remove") && !error.contains("same mount"), "{error}");
        config.read_only = true;
        assert!(Union::open(&config, None).unwrap().is_view());
    }
}

/// A plain user may look at what he may not change.
#[test]
fn an_upperdir_of_somebody_else_is_looked_at() {
    if !rustix::process::geteuid().is_root() {
        return skip("needs root, to become somebody else");
    }
    let mut bench = over(|lower| {
        lower.file("f", "");
    });
    std::fs::set_permissions(bench.dir(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let config = bench.config.clone();
    let opened = std::thread::spawn(move || {
        // Of this thread alone.
        let user = rustix::fs::Uid::from_raw(65534);
        rustix::thread::set_thread_res_uid(user, user, user).unwrap();
        Union::open(&config, None).map(|union| union.is_view()).map_err(|error| error.to_string())
    });
    assert_eq!(opened.join().unwrap(), Ok(true));
    bench.create("new").unwrap();
    bench.close();
}

#[test]
fn an_upperdir_with_a_project_of_its_own_has_its_work_directory_inside() {
    let Some(xfs) = Mounted::with_projects() else { return };
    let (upper, work) = (xfs.point().join("upper"), xfs.point().join("work"));
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.file("d/f", "text").file("gone", "");
    });
    bench.config.upper = Some(upper.clone());
    bench.config.work = Some(work.clone());
    let error = Union::open(&bench.config, None).unwrap_err().to_string();
    assert!(error.starts_with("workdir") && error.contains("project") && error.contains("inside"), "{error}");
    assert_eq!((names(&upper), names(&work)), (Vec::new(), Vec::new()));
    bench.config.work = None;
    bench.open();
    bench.write("d/f", "more").unwrap();
    bench.rename("d", "e").unwrap();
    bench.unlink("gone").unwrap();
    bench.mkdir("gone").unwrap();
    assert_eq!(bench.names("").unwrap(), ["e", "gone"]);
    assert_eq!(names(&upper), [".unionfuse-work", "d", "e", "gone"]);
    assert!(!xfs.point().join(".upper.unionfuse-work").exists(), "what could not be used was removed");
}
