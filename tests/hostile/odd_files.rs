//! Symlinks, devices, FIFOs, hard links and odd whiteouts in layers.

use rustix::fs::{FileType, makedev};
use rustix::io::Errno;
use unionfuse::types::{Kind, SetAttr};

use super::{SECRET, is_root, prepared};
use crate::kit::bench::{ROOT, USER, errno};

#[test]
fn a_symlink_where_a_directory_is_expected_is_not_followed() {
    let union = prepared(|[top, bottom], upper| {
        top.symlink("d", "../outside").symlink("e", "../outside").dir("both");
        bottom.file("d/x", "bottom").file("both/x", "bottom").symlink("under", "../outside");
        upper.symlink("u", "../outside").symlink("both", "../outside").dir("under");
    });
    for link in ["d", "e", "u", "both"] {
        assert_eq!(union.stat(link).unwrap().kind, Kind::Symlink);
        assert_eq!(union.stat(format!("{link}/x")).unwrap_err(), Errno::NOTDIR, "{link}");
        assert_eq!(union.create(format!("{link}/new")).unwrap_err(), Errno::NOTDIR, "{link}");
    }
    assert!(union.names("under").unwrap().is_empty());
    union.create("under/new").unwrap();
    union.rename("under", "moved").unwrap();
}

/// Since Linux 6.6 the kernel refuses it by itself; before, `chmod /proc/self/fd/N` of a symlink reached the filesystem.
#[test]
fn the_mode_of_a_symlink_is_not_that_of_its_target() {
    let union = prepared(|[top, _], upper| {
        top.symlink("lower", "../outside/x");
        upper.symlink("upper", "../outside/x");
    });
    for link in ["lower", "upper"] {
        let node = union.node(link).unwrap();
        let change = SetAttr { perm: Some(0o777), ..SetAttr::default() };
        assert_eq!(errno(union.raw().setattr(USER, node, change)).unwrap_err(), Errno::OPNOTSUPP, "{link}");
    }
}

#[test]
fn owners_times_and_attributes_of_a_symlink_are_not_those_of_its_target() {
    if !is_root("owners") {
        return;
    }
    let union = prepared(|[top, _], _| {
        top.symlink("s", "../outside/x");
    });
    let before = union.outside.everything();
    union.setattr("s", SetAttr { uid: Some(7), gid: Some(7), ..SetAttr::default() }).unwrap();
    union.set_mtime("s", 1234).unwrap();
    union.set_xattr("s", "trusted.x", "1").unwrap();
    assert_eq!(union.truncate("s", 0).unwrap_err(), Errno::INVAL);
    let node = union.node("s").unwrap();
    assert!(union.raw().read(node, 0, &mut [0; 8]).is_err());
    assert!(union.raw().write(node, 0, b"x", None).is_err());
    assert_eq!(union.outside.everything(), before);
}

#[test]
fn devices_and_fifos_are_never_opened() {
    if !is_root("devices") {
        return;
    }
    let union = prepared(|[top, _], upper| {
        for layer in [top, upper] {
            let name = |name: &str| format!("{name}-{}", layer.root.file_name().unwrap().display());
            layer.node(name("fifo"), FileType::Fifo, 0o666, 0);
            layer.node(name("socket"), FileType::Socket, 0o666, 0);
            layer.node(name("null"), FileType::CharacterDevice, 0o666, makedev(1, 3));
            layer.node(name("disk"), FileType::BlockDevice, 0o666, makedev(7, 0));
        }
    });
    for name in union.names("").unwrap() {
        let node = union.node(&name).unwrap();
        assert!(union.raw().read(node, 0, &mut [0; 8]).is_err(), "{name}");
        assert!(union.raw().write(node, 0, b"x", None).is_err(), "{name}");
        assert!(union.raw().seek(node, 0, false).is_err(), "{name}");
        assert!(union.raw().allocate(ROOT, node, 0, 0, 1).is_err(), "{name}");
        assert!(union.raw().get_flags(node).is_err(), "{name}");
        let _ = union.raw().fsync(node, false);
        union.chmod(&name, 0o600).unwrap();
        union.rename(&name, format!("{name}-moved")).unwrap();
    }
}

#[test]
fn only_the_device_0_0_is_a_whiteout() {
    if !is_root("devices") {
        return;
    }
    let union = prepared(|[top, bottom], _| {
        top.node("block", FileType::BlockDevice, 0o600, 0);
        top.node("one", FileType::CharacterDevice, 0o600, makedev(0, 1));
        top.node("zero", FileType::CharacterDevice, 0o777, 0).set("zero", "trusted.overlay.opaque", "y");
        bottom.file("block", "").file("one", "").file("zero", "").file("zero2/f", "");
        top.node("zero2", FileType::CharacterDevice, 0o666, 0);
    });
    assert_eq!(union.names("").unwrap(), ["block", "one"]);
    assert_eq!(union.stat("block").unwrap().kind, Kind::BlockDevice);
    union.create("zero").unwrap();
    union.mkdir("zero2").unwrap();
    assert!(union.names("zero2").unwrap().is_empty());
}

/// A hard link is part of its layer; a change goes to its copy.
#[test]
fn a_hard_link_to_a_file_outside_is_copied_before_it_is_changed() {
    let dir = tempfile::tempdir().unwrap();
    let outside = dir.path().join("secret");
    std::fs::write(&outside, SECRET).unwrap();
    let mut bench = crate::kit::bench::Bench::prepare_in(dir, |[top]: &[_; 1], _| {
        std::fs::hard_link(&outside, top.path("link")).unwrap();
        top.link("link2", "link");
    });
    bench.open();
    bench.write("link", "changed").unwrap();
    bench.chmod("link2", 0o666).unwrap();
    bench.unlink("link").unwrap();
    bench.truncate("link2", 0).unwrap();
    assert_eq!(std::fs::read_to_string(&outside).unwrap(), SECRET);
}

/// A work directory is chosen beside the upperdir when none is given. Where others may write too, one of them may have put
/// something of his there, and what lies in a work directory is removed.
#[test]
fn an_automatic_work_directory_is_not_taken_from_others() {
    if !is_root("owners") {
        return;
    }
    for planted in ["symlink", "directory of another user", "directory that others may write to"] {
        let mut bench = crate::kit::bench::Bench::prepare(|[top]: &[_; 1], _| {
            top.file("f", "lower");
        });
        let area = super::Layer { root: bench.dir().to_owned() };
        area.file("victim/work/kept", "kept");
        let place = ".upper.unionfuse-work";
        match planted {
            "symlink" => drop(area.symlink(place, "victim")),
            "directory of another user" => drop(area.dir(place).mode(place, 0o700).owner(place, 1000, 1000)),
            _ => drop(area.dir(place).mode(place, 0o777)),
        }
        bench.config.work = None;
        bench.open();
        bench.write("f", "changed").unwrap();
        assert_eq!(area.text("victim/work/kept"), "kept", "{planted}");
        assert!(area.has("upper/.unionfuse-work/work"), "{planted}");
        bench.close();
    }
}
