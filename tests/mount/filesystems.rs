//! Layers on filesystems of their own: other inode spaces, no xattrs, no file handles shared with the upper.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rustix::mount::MountFlags;

use crate::kit::alone::Alone;
use crate::kit::case::case;
use crate::kit::mode::{Mode, skip, test_name};
use crate::kit::op::*;
use crate::kit::recipe::{Layer, layer};
use crate::kit::subject::ours_or_skip;

fn content(name: &str) -> Layer {
    layer()
        .file("common", name)
        .file(&format!("d/{name}"), name)
        .file("d/both", name)
        .file("linked", name)
        .hard_link("linked", &format!("link_{name}"))
        .symlink("common", &format!("s_{name}"))
}

fn script() -> Vec<Op> {
    vec![
        append("common", "!"),
        append("linked", "!"),
        chmod("d", 0o700),
        rename("d/both", "both"),
        rename("d", "e"),
        unlink("e/top"),
        unlink("link_bottom"),
        put("e/new", "new"),
        list("e"),
        mkdir("d"),
        list("d"),
    ]
}

#[test]
fn lowers_on_tmpfs() {
    let stack = case().lower(content("top").on("tmpfs")).lower(content("bottom").on("tmpfs")).run(script());
    stack.root_only("to mount filesystems").check();
}

#[test]
fn every_layer_on_another_filesystem() {
    let stack =
        case().lower(content("top").on("tmpfs")).lower(content("middle")).lower(content("bottom").on("ext4"));
    stack.run(script()).root_only("to mount filesystems").kernel_only("numbers").check();
}

/// No writes to hard links: without xattrs the kernel has no index.
#[test]
fn a_squashfs_without_xattrs() {
    let on_links = |op: &Op| matches!(op, Op::Append(name, _) if name == &"linked".into());
    let stack = case()
        .lower(content("top"))
        .lower(content("bottom").on("squashfs"))
        .run(script().into_iter().filter(|op| !on_links(op)));
    stack.root_only("to mount filesystems").check();
}

#[test]
fn numbers_stay_apart_and_stay_the_same() {
    if Mode::current() != Mode::Root {
        return skip(&test_name(), "needs root to mount filesystems");
    }
    if !ours_or_skip() {
        return;
    }
    let files =
        |name: &str| (0..30).fold(content(name), |layer, i| layer.file(&format!("many/{name}{i}"), ""));
    let mut union =
        Alone::new(&[files("top").on("tmpfs"), files("bottom").on("tmpfs"), files("last")], &layer());
    let root = union.root().to_owned();
    let numbers = || -> std::collections::BTreeMap<String, u64> {
        let names = std::fs::read_dir(root.join("many")).unwrap();
        names
            .map(|entry| entry.unwrap().path())
            .map(|p| (p.display().to_string(), std::fs::metadata(&p).unwrap().ino()))
            .collect()
    };
    let before = numbers();
    let distinct: std::collections::BTreeSet<_> = before.values().collect();
    assert_eq!((before.len(), distinct.len()), (90, 90), "{before:?}");
    for path in before.keys().step_by(3) {
        std::fs::write(path, "changed").unwrap();
    }
    assert_eq!(numbers(), before, "after copy-up");
    union.remount();
    assert_eq!(numbers(), before, "after a remount");
    assert_eq!(crate::kit::tree::snapshot(&root).readdir_lies, Vec::<String>::new());
    union.unmount();
}

/// A filesystem for the upperdir, which a test may do with as it likes.
struct Disk(PathBuf);

impl Disk {
    fn mount(point: PathBuf) -> Disk {
        std::fs::create_dir(&point).unwrap();
        rustix::mount::mount("tmpfs", &point, "tmpfs", MountFlags::empty(), None).unwrap();
        Disk(point)
    }

    fn remount(&self, flags: MountFlags) -> rustix::io::Result<()> {
        rustix::mount::mount_remount(&self.0, flags, c"")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // A test that fails has the union on it.
        rustix::mount::unmount(&self.0, rustix::mount::UnmountFlags::DETACH).ok();
    }
}

#[test]
fn the_upperdirs_filesystem_of_an_idle_union_can_be_made_read_only() {
    if Mode::current() != Mode::Root {
        return skip(&test_name(), "needs root to mount filesystems");
    }
    if !ours_or_skip() {
        return;
    }
    let mut disk = None;
    let union = Alone::prepared(&[layer().file("f", "lower").file("g", "lower")], &layer(), |stack| {
        let mounted = Disk::mount(stack.point.with_file_name("disk"));
        let [upper, work] = ["upper", "work"].map(|name| mounted.0.join(name));
        [&upper, &work].into_iter().for_each(|dir| std::fs::create_dir(dir).unwrap());
        stack.upper = Some((upper, work));
        disk = Some(mounted);
    });
    let disk = disk.unwrap();
    let write =
        |name: &str| std::fs::OpenOptions::new().append(true).create(true).open(union.root().join(name));
    // Copied up, made, and opened for writing alone.
    for name in ["f", "new"] {
        std::io::Write::write_all(&mut write(name).unwrap(), b"text").unwrap();
    }
    drop(write("g").unwrap());
    let begun = Instant::now();
    while let Err(error) = disk.remount(MountFlags::RDONLY) {
        assert!(begun.elapsed() < Duration::from_secs(20), "{error}: something is still open for writing");
        std::thread::sleep(Duration::from_millis(100));
    }
    // The kernel takes what it gathers, and would keep it.
    let gathers =
        std::env::var("UNIONFUSE_TEST_OPTIONS").is_ok_and(|options| options.contains("writeback=on"));
    if !gathers {
        let refused = write("f").and_then(|mut file| std::io::Write::write_all(&mut file, b"more"));
        assert_eq!(refused.unwrap_err().raw_os_error(), Some(libc::EROFS));
    }
    assert_eq!(std::fs::create_dir(union.root().join("d")).unwrap_err().raw_os_error(), Some(libc::EROFS));
    assert_eq!(std::fs::read_to_string(union.root().join("f")).unwrap(), "lowertext");
    disk.remount(MountFlags::empty()).unwrap();
    std::io::Write::write_all(&mut write("f").unwrap(), b"more").unwrap();
    assert_eq!(std::fs::read_to_string(union.root().join("f")).unwrap(), "lowertextmore");
    union.unmount();
}
