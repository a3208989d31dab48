//! Mounting from a program: values and errors, and nothing is left behind.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::Mode;
use unionfuse::types::{Name, NodeId};
use unionfuse::{Failure, umount};
use unionfuse::{Mount, MountConfig};

use kit::union_dirs::UnionDirs;

/// Directories to mount on, with a file in the lower one; `None`, said loudly, where nothing can be mounted.
fn area(test: &str) -> Option<UnionDirs> {
    rustix::process::umask(Mode::empty());
    let area = UnionDirs::to_mount(&format!("library::{test}"))?;
    fs::write(area.path("lower/f"), "lower").unwrap();
    Some(area)
}

fn config(area: &UnionDirs) -> MountConfig {
    MountConfig::new(area.config(), area.path("mnt"))
}

fn is_mounted(area: &UnionDirs) -> bool {
    let table = fs::read_to_string("/proc/self/mountinfo").unwrap();
    table.contains(&*area.path("mnt").to_string_lossy())
}

#[test]
fn a_program_mounts_changes_and_unmounts() {
    let Some(area) = area("a_program_mounts_changes_and_unmounts") else { return };
    let mut mount = Mount::new(&config(&area)).unwrap();
    assert_eq!(mount.mountpoint().unwrap(), area.path("mnt").canonicalize().unwrap());
    fs::write(area.path("mnt/f"), "changed").unwrap();
    let open = fs::File::open(area.path("mnt/f")).unwrap();
    assert!(mount.unmount().is_err(), "it is in use");
    assert_eq!(fs::read_to_string(area.path("mnt/f")).unwrap(), "changed");
    drop(open);
    mount.unmount().unwrap();
    assert!(!is_mounted(&area));
    assert_eq!(fs::read_to_string(area.path("upper/f")).unwrap(), "changed");
    assert_eq!(fs::read_to_string(area.path("lower/f")).unwrap(), "lower");
    // Nobody has the directories any more.
    Mount::new(&config(&area)).unwrap().unmount().unwrap();
}

/// What a layer's owner changes behind the union's back is seen when the session is told to look again.
#[test]
fn a_session_can_be_asked_refreshed_and_ended() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let Some(area) = area("a_session_can_be_asked_refreshed_and_ended") else { return };
    let mount = Mount::new(&config(&area)).unwrap();
    let session = mount.session().unwrap();
    let before = session.state().unwrap();
    let file = area.path("mnt/f");
    let node = NodeId(fs::metadata(&file).unwrap().ino());
    let after = session.state().unwrap();
    assert!(after.answered > before.answered && after.threads > 0, "{before:?} {after:?}");
    assert_eq!(after.nodes, before.nodes + 1);

    let mode = || fs::metadata(&file).unwrap().permissions().mode() & 0o7777;
    let old = mode();
    fs::set_permissions(area.path("lower/f"), fs::Permissions::from_mode(0o640)).unwrap();
    assert_eq!(mode(), old, "layers do not change under a union");
    session.refresh(node);
    assert_eq!(mode(), 0o640);

    assert!(!area.path("mnt/late").exists());
    fs::write(area.path("lower/late"), "").unwrap();
    assert!(!area.path("mnt/late").exists());
    session.refresh_name(NodeId::ROOT, Name::try_from("late").unwrap());
    assert!(area.path("mnt/late").exists());

    match session.abort() {
        Ok(()) => {}
        Err(error) => {
            // Older kernels do not say which filesystem a descriptor serves, and the control filesystem may not be mounted.
            let said =
                format!("SKIPPED: library::a_session_can_be_asked_refreshed_and_ended: abort: {error}\n");
            return std::io::stderr().write_all(said.as_bytes()).unwrap();
        }
    }
    let errno = fs::write(area.path("mnt/new"), "").unwrap_err().raw_os_error();
    assert!(matches!(errno, Some(libc::ENOTCONN | libc::ECONNABORTED)), "{errno:?}");
    drop(mount);
    assert!(!is_mounted(&area));
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    while session.state().is_some() {
        assert!(std::time::Instant::now() < until, "the session has not ended");
        std::thread::sleep(std::time::Duration::from_millis(10));
    }
}

#[test]
fn what_cannot_be_mounted_is_said_and_leaves_nothing() {
    let Some(area) = area("what_cannot_be_mounted_is_said_and_leaves_nothing") else { return };
    let mut wrong = config(&area);
    wrong.union.lowers = vec![area.path("missing")];
    let failure = Mount::new(&wrong).err().expect("a lowerdir is missing");
    assert!(matches!(&failure, Failure::Setup(_)) && failure.to_string().contains("missing"), "{failure}");
    let taken = Mount::new(&config(&area)).unwrap();
    fs::create_dir(area.path("other")).unwrap();
    let failure = Mount::new(&MountConfig { mountpoint: area.path("other"), ..config(&area) }).err().unwrap();
    assert!(failure.to_string().contains("in use"), "{failure}");
    drop(taken);
    assert!(!is_mounted(&area));
}

#[test]
fn others_may_unmount() {
    let Some(area) = area("others_may_unmount") else { return };
    let mount = Mount::new(&config(&area)).unwrap();
    let point = area.path("mnt");
    let other = std::thread::spawn(move || umount(&point, false));
    mount.wait().unwrap();
    other.join().unwrap().unwrap();
    assert!(!is_mounted(&area));
    assert!(umount(&area.path("mnt"), false).unwrap_err().to_string().contains("nothing is mounted"));
}

/// Only when all tests are built are the examples, too.
fn build_examples() {
    let mut cargo = std::process::Command::new(env!("CARGO"));
    cargo.args(["build", "--locked", "--quiet", "--examples"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    if !cfg!(debug_assertions) {
        cargo.arg("--release");
    }
    assert!(cargo.status().unwrap().success());
}

/// Runs an example; what it prints.
fn example(name: &str, args: &[PathBuf]) -> String {
    let program = Path::new(env!("CARGO_BIN_EXE_unionfuse")).with_file_name("examples").join(name);
    let output = std::process::Command::new(program).args(args).output().unwrap();
    assert!(output.status.success(), "{name}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_examples_do_what_they_say() {
    build_examples();
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    for name in ["lower", "lower/d", "upper", "other", "mnt"] {
        fs::create_dir(path(name)).unwrap();
    }
    fs::write(path("lower/changed"), "lower").unwrap();
    fs::write(path("lower/removed"), "lower").unwrap();
    let listed = example("read_union", &[path("other"), path("lower")]);
    let mut lines: Vec<&str> = listed.lines().skip(2).collect();
    lines.sort_unstable();
    assert_eq!(lines, ["../", "./", "changed", "d/", "removed"]);
    let changed = example("change_union", &[path("lower"), path("upper")]);
    assert!(changed.contains("copy: changed\n"), "{changed}");
    let is_marked = changed.contains("whiteout: removed\n") || !rustix::process::geteuid().is_root();
    assert!(is_marked, "{changed}");
    assert_eq!(fs::read_to_string(path("lower/changed")).unwrap(), "lower");
    if area("the_examples_do_what_they_say: mount_union").is_some() {
        let said = example("mount_union", &[path("lower"), path("other"), path("mnt")]);
        assert_eq!(said, "only in the upperdir\n");
    }
}
