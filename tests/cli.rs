//! The command as its callers see it when nothing gets mounted: exit codes, streams, and nothing left behind.
#![allow(clippy::unwrap_used)]

use std::ffi::OsStr;
use std::fs;
use std::path::Path;

use assert_cmd::Command;
use tempfile::TempDir;

const USAGE: i32 = 1;
const MOUNT_FAILED: i32 = 32;

/// Directories a mount could use: `l1`, `l2`, `u`, `w`, `m`, and a plain `file`.
struct Place(TempDir);

impl Place {
    fn new() -> Self {
        let place = Self(TempDir::new().unwrap());
        for name in ["l1", "l2", "u", "w", "m"] {
            fs::create_dir(place.0.path().join(name)).unwrap();
        }
        fs::write(place.0.path().join("file"), "").unwrap();
        place
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_unionfuse"));
        command.current_dir(self.0.path()).args(args);
        command
            .env_remove("RUST_LOG")
            .env_remove("UNIONFUSE_LOG")
            .timeout(std::time::Duration::from_secs(30));
        command
    }

    /// Runs to a failure with `code`, checks that it changed nothing, and returns stderr.
    fn fails(&self, args: &[&str], code: i32) -> String {
        self.command_fails(self.command(args), code)
    }

    fn command_fails(&self, mut command: Command, code: i32) -> String {
        let before = tree(self.0.path());
        let output = command.assert().failure().code(code).get_output().clone();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.starts_with("unionfuse: "), "{stderr}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), "", "errors belong on stderr");
        assert_eq!(tree(self.0.path()), before, "something was created");
        assert!(!is_mountpoint(&self.0.path().join("m")));
        stderr
    }
}

fn tree(directory: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(tree(&path));
        }
        found.push(path);
    }
    found.sort();
    found
}

fn is_mountpoint(path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().dev() != fs::metadata(path.parent().unwrap()).unwrap().dev()
}

fn names_all(stderr: &str, names: &[&str]) {
    for name in names {
        assert!(stderr.contains(name), "'{name}' is not in: {stderr}");
    }
}

#[test]
fn usage_errors_exit_with_1_and_name_what_is_wrong() {
    let place = Place::new();
    let cases: [(&[&str], &[&str]); 12] = [
        (&[], &["command is missing", "Usage"]),
        (&["mount"], &["<MNT>"]),
        (&["mount", "m"], &["--lower"]),
        (&["mount", "--lower", "l1::l2", "m"], &["--lower l1::l2", "not supported"]),
        (&["mount", "--lower", ":l1", "m"], &["--lower :l1", "begins with"]),
        (&["mount", "--lower", "l1:", "m"], &["--lower l1:", "ends with"]),
        (&["mount", "--lower", "l1", "--upper", "u", "-o", "upperdir=u", "m"], &["--upper", "upperdir"]),
        (&["mount", "--lower", "l1", "--what", "m"], &["--what"]),
        (&["-o", "lowerdir=l1,threads=x", "m"], &["threads=x", "number"]),
        (&["-o", "upperdir=u", "m"], &["lowerdir"]),
        (&["-o", "lowerdir=l1"], &["mountpoint"]),
        (&["-q", "m"], &["-q"]),
    ];
    for (args, names) in cases {
        names_all(&place.fails(args, USAGE), names);
    }
}

#[test]
fn mountpoints_that_cannot_be_used() {
    let place = Place::new();
    for form in [&["mount", "--lower", "l1", "--upper", "u"][..], &["-o", "lowerdir=l1,upperdir=u,workdir=w"]]
    {
        let with = |mountpoint| [form, &[mountpoint]].concat();
        names_all(&place.fails(&with("nowhere"), MOUNT_FAILED), &["mountpoint", "'nowhere'", "mkdir -p"]);
        names_all(&place.fails(&with("file"), MOUNT_FAILED), &["mountpoint", "'file'", "not a directory"]);
        names_all(&place.fails(&with("/dev/fd/77"), MOUNT_FAILED), &["/dev/fd/77", "Bad file descriptor"]);
    }
}

#[test]
fn layers_that_cannot_be_used() {
    let place = Place::new();
    let missing = place.fails(&["mount", "--lower", "l1:nowhere", "m"], MOUNT_FAILED);
    names_all(&missing, &["lowerdir", "nowhere"]);
    let file = place.fails(&["-o", "lowerdir=l1:file,upperdir=u,workdir=w", "m"], MOUNT_FAILED);
    names_all(&file, &["lowerdir", "file"]);
}

/// Whoever has no rights over the machine: a user namespace of our own, where that is allowed.
#[test]
fn passthrough_without_the_rights_for_it() {
    let place = Place::new();
    let unshare = |args: &[&str]| {
        let mut command = Command::new("unshare");
        command.current_dir(place.0.path()).arg("-Ur").args(args).timeout(std::time::Duration::from_secs(30));
        command
    };
    if !unshare(&["true"]).output().is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: passthrough_without_the_rights_for_it: no user namespaces here");
        return;
    }
    let program = env!("CARGO_BIN_EXE_unionfuse");
    let mount = ["mount", "--lower", "l1", "--upper", "u", "-o", "passthrough", "m"];
    let said = place.command_fails(unshare(&[&[program], &mount[..]].concat()), MOUNT_FAILED);
    assert!(said.contains("passthrough: needs CAP_SYS_ADMIN"), "{said}");
    let both = place.fails(&["mount", "--lower", "l1", "-o", "passthrough,writeback", "m"], USAGE);
    assert!(both.contains("'passthrough' and 'writeback'"), "{both}");
}

#[test]
fn a_log_file_that_cannot_be_written() {
    let place = Place::new();
    let mut command = place.command(&["mount", "--lower", "l1", "m"]);
    command.env("UNIONFUSE_LOG", "nowhere/log");
    names_all(&place.command_fails(command, MOUNT_FAILED), &["UNIONFUSE_LOG", "nowhere/log"]);
}

#[test]
fn unknown_options_warn_on_stderr_before_anything_else() {
    let place = Place::new();
    let stderr = place.fails(&["-o", "lowerdir=l1,nosuchthing=3", "nowhere"], MOUNT_FAILED);
    names_all(&stderr, &["warn", "nosuchthing", "mountpoint 'nowhere'"]);
    let mut quiet = place.command(&["-o", "lowerdir=l1,nosuchthing=3", "nowhere"]);
    quiet.env("RUST_LOG", "off");
    assert!(!place.command_fails(quiet, MOUNT_FAILED).contains("nosuchthing"));
}

#[test]
fn umount_of_what_is_not_ours() {
    let place = Place::new();
    assert!(place.fails(&["umount"], USAGE).contains("<MNT>"));
    names_all(&place.fails(&["umount", "m"], MOUNT_FAILED), &["'m'", "nothing is mounted"]);
    names_all(&place.fails(&["umount", "/proc"], MOUNT_FAILED), &["'/proc'", "type proc", "umount(8)"]);
    names_all(&place.fails(&["umount", "nowhere/x"], MOUNT_FAILED), &["'nowhere/x'"]);
}

#[test]
fn help_and_version_go_to_stdout() {
    let place = Place::new();
    for args in
        [&["--help"][..], &["mount", "--help"], &["umount", "--help"], &["help", "mount"], &["-f", "--help"]]
    {
        let output = place.command(args).assert().success().get_output().clone();
        let stdout = String::from_utf8(output.stdout).unwrap();
        names_all(&stdout, &["Usage: unionfuse", "Examples:"]);
        assert!(output.stderr.is_empty());
    }
    let version = place.command(&["--version"]).assert().success().get_output().stdout.clone();
    assert_eq!(String::from_utf8(version).unwrap(), format!("unionfuse {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn other_names_of_the_program() {
    let place = Place::new();
    let called = |name: &str, args: &[&str]| {
        let link = place.0.path().join(name);
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_unionfuse"), &link).unwrap();
        let mut command = Command::new(link);
        command.current_dir(place.0.path()).args(args);
        command.assert()
    };
    let version = called("fuse-overlayfs", &["--version"]).success().get_output().stdout.clone();
    assert!(version.starts_with(b"unionfuse "));
    // "Fake": everything but the mount.
    called("mount.unionfuse", &["SRC", "m", "-f", "-n", "-o", "lowerdir=l1,nofail", "-t", "fuse.unionfuse"])
        .success();
    called("mount.fuse.unionfuse", &["SRC", "-o", "lowerdir=l1"]).failure().code(USAGE);
    assert!(!is_mountpoint(&place.0.path().join("m")));
}

#[test]
fn names_that_are_not_utf8_reach_the_message() {
    use std::os::unix::ffi::OsStrExt;
    let place = Place::new();
    let mut command = place.command(&["mount", "--lower", "l1"]);
    command.arg(OsStr::from_bytes(b"no\xffwhere"));
    assert!(place.command_fails(command, MOUNT_FAILED).contains("no\u{fffd}where"));
}
