//! One upperdir and two mounts of it.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::kit::alone::Alone;
use crate::kit::mode::{Mode, skip, test_name};
use crate::kit::mount::Mount;
use crate::kit::ours::Ours;
use crate::kit::recipe::{Layer, layer};
use crate::kit::subject::{Stack, Subject, ours_or_skip};

fn lower() -> Layer {
    layer().file("f", "old").file("d/x", "x").symlink("f", "s")
}

/// The same stack at another mountpoint.
fn beside(stack: &Stack, options: Option<&'static str>) -> Stack {
    let point = stack.point.with_extension("second");
    fs::create_dir_all(&point).unwrap();
    Stack { point, options, ..stack.clone() }
}

fn mount(stack: &Stack) -> Mount {
    Ours.mount(stack).unwrap_or_else(|error| panic!("{error}"))
}

fn umount(point: &Path) {
    let umount = Command::new(env!("CARGO_BIN_EXE_unionfuse")).arg("umount").arg(point).status();
    assert!(umount.unwrap().success());
}

fn names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn the_second_of_two_is_refused_and_told_of_the_first() {
    if !ours_or_skip() {
        return;
    }
    let alone = Alone::new(&[lower()], &layer());
    let second = beside(&alone.stack, None);
    let error = Ours.mount(&second).err().expect("both want to write");
    let place = format!("'{}'", alone.root().display());
    assert!(error.contains("upperdir") && error.contains(&place) && error.contains("process"), "{error}");
    umount(alone.root());
    mount(&second).unmount();
}

#[test]
fn a_view_shows_what_the_other_changes() {
    if !ours_or_skip() {
        return;
    }
    let alone = Alone::new(&[lower()], &layer().file("u", "upper"));
    let view = mount(&beside(&alone.stack, Some("ro")));
    let (live, seen) = (alone.root(), view.root());
    let open = File::open(seen.join("u")).unwrap();
    let mut data = [0; 5];
    open.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(&data, b"upper");
    assert!(!seen.join("new").exists());
    assert_eq!(names(&seen.join("d")), ["x"]);
    assert_eq!(fs::read_to_string(seen.join("s")).unwrap(), "old");

    // Of the same length, so that no size tells.
    let inode = fs::metadata(live.join("u")).unwrap();
    File::options().write(true).open(live.join("u")).unwrap().write_all_at(b"UPPER", 0).unwrap();
    open.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(&data, b"UPPER");
    assert_eq!(
        std::os::unix::fs::MetadataExt::ino(&fs::metadata(seen.join("u")).unwrap()),
        std::os::unix::fs::MetadataExt::ino(&inode)
    );
    fs::write(live.join("f"), "new and longer").unwrap();
    assert_eq!(fs::read_to_string(seen.join("f")).unwrap(), "new and longer");
    fs::write(live.join("new"), "").unwrap();
    assert!(seen.join("new").exists());
    fs::write(live.join("d/y"), "y").unwrap();
    assert_eq!(names(&seen.join("d")), ["x", "y"]);
    fs::remove_file(live.join("d/x")).unwrap();
    assert_eq!(names(&seen.join("d")), ["y"]);
    fs::rename(live.join("d"), live.join("e")).unwrap();
    assert!(!seen.join("d").exists());
    assert_eq!(fs::read_to_string(seen.join("e/y")).unwrap(), "y");
    fs::remove_file(live.join("s")).unwrap();
    std::os::unix::fs::symlink("e/y", live.join("s")).unwrap();
    assert_eq!(fs::read_link(seen.join("s")).unwrap(), Path::new("e/y"));
    fs::remove_file(live.join("u")).unwrap();
    open.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(&data, b"UPPER");
    let error = fs::write(seen.join("f"), "").unwrap_err();
    assert_eq!(error.raw_os_error(), Some(rustix::io::Errno::ROFS.raw_os_error()));
    drop(open);
    view.unmount();
}

/// Programs can be run from a view, and files mapped.
#[test]
fn a_view_maps_files() {
    if !ours_or_skip() {
        return;
    }
    let alone = Alone::new(&[layer()], &layer());
    fs::copy("/bin/true", alone.root().join("true")).unwrap();
    let view = mount(&beside(&alone.stack, Some("ro")));
    assert!(Command::new(view.root().join("true")).status().unwrap().success());
    view.unmount();
}

#[test]
fn a_lazily_unmounted_one_stands_in_no_way() {
    if !ours_or_skip() {
        return;
    }
    let alone = Alone::new(&[lower()], &layer());
    let open = File::open(alone.root().join("f")).unwrap();
    let lazily = Command::new(env!("CARGO_BIN_EXE_unionfuse"))
        .args(["umount", "--lazy"])
        .arg(alone.root())
        .status()
        .unwrap();
    assert!(lazily.success());
    let began = Instant::now();
    let second = mount(&beside(&alone.stack, None));
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    fs::write(second.root().join("f"), "new").unwrap();
    let mut data = [0; 3];
    open.read_exact_at(&mut data, 0).unwrap();
    assert_eq!(&data, b"old");
    drop(open);
    second.unmount();
}

struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[test]
fn a_copy_in_another_namespace_stands_in_no_way() {
    if !ours_or_skip() {
        return;
    }
    if Mode::current() == Mode::User {
        return skip(&test_name(), "only root makes a mount namespace");
    }
    let alone = Alone::new(&[lower()], &layer());
    let mut other = Command::new("unshare");
    other.args(["-m", "--propagation", "private", "sh", "-c", "echo; exec sleep 60"]).stdout(Stdio::piped());
    let mut other = Ended(other.spawn().unwrap());
    let mut ready = [0];
    std::io::Read::read_exact(other.0.stdout.as_mut().unwrap(), &mut ready).unwrap();
    umount(alone.root());
    let second = mount(&beside(&alone.stack, None));
    fs::write(second.root().join("f"), "new").unwrap();
    drop(other);
    second.unmount();
}
