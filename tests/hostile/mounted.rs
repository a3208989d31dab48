//! Real mounts: hostile layers behind one, and users that are none of its owner's friends.

use std::fs::{self, File, Permissions};
use std::io::Write;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::fs::{CWD, FileType, Mode, XattrFlags, makedev};
use rustix::mount::{UnmountFlags, unmount};

use super::SECRET;

/// No test takes a tenth of it.
const DEADLINE: Duration = Duration::from_secs(60);
/// `nobody`: fusermount3 wants its users to have a name.
const OWNER: u32 = 65_534;
const STRANGER: u32 = 61_002;

/// Directories for a union, and the union once it is mounted. However its test ends, it is unmounted.
struct Area {
    dir: tempfile::TempDir,
    name: &'static str,
    /// Dropping it calls the watchdog off.
    _watchdog: Option<mpsc::Sender<()>>,
}

fn skip(name: &str, reason: &str) {
    std::io::stderr().write_all(format!("SKIPPED: {name}: {reason}\n").as_bytes()).unwrap();
}

impl Area {
    /// `None`, said loudly, where nothing can be mounted or users cannot be changed.
    fn new(name: &'static str) -> Option<Self> {
        let reason = match () {
            () if !rustix::process::geteuid().is_root() => "needs root",
            () if !Path::new("/dev/fuse").exists() => "no /dev/fuse",
            () if Command::new("setpriv").arg("--version").output().is_err() => "no setpriv",
            () => "",
        };
        if !reason.is_empty() {
            skip(name, reason);
            return None;
        }
        rustix::process::umask(Mode::empty());
        let dir = tempfile::tempdir().unwrap();
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).unwrap();
        let area = Self { dir, name, _watchdog: None };
        for part in ["top", "bottom", "upper", "work", "mnt", "outside"] {
            fs::create_dir(area.path(part)).unwrap();
            chmod(&area.path(part), 0o755);
        }
        fs::write(area.path("outside/x"), SECRET).unwrap();
        Some(area)
    }

    fn path(&self, part: &str) -> PathBuf {
        self.dir.path().join(part)
    }

    fn mount(&mut self) {
        let mounted = self.mount_by(Command::new("timeout").arg("20"), &["-o", "allow_other"]);
        assert!(mounted.status.success(), "{mounted:?}");
    }

    /// Mounts with `unionfuse` run by another command, to which it is appended.
    fn mount_by(&mut self, runner: &mut Command, options: &[&str]) -> Output {
        let log = self.path("stderr");
        let status = runner
            .arg(env!("CARGO_BIN_EXE_unionfuse"))
            .args(["mount", "--lower", "top:bottom", "--upper", "upper", "--work", "work", "mnt"])
            .args(options)
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .status()
            .unwrap();
        let (called_off, rest) = mpsc::channel();
        let (point, name) = (self.path("mnt"), self.name);
        thread::spawn(move || {
            if rest.recv_timeout(DEADLINE) == Err(mpsc::RecvTimeoutError::Timeout) {
                eprintln!("{name}: hangs; aborting the connection");
                let _ = unmount(&point, UnmountFlags::FORCE | UnmountFlags::DETACH);
            }
        });
        self._watchdog = Some(called_off);
        Output { status, stdout: Vec::new(), stderr: fs::read(log).unwrap() }
    }

    /// Runs a shell script in the mount as another user, without other groups. Says whether it succeeded.
    fn can(&self, uid: u32, script: &str) -> bool {
        said(uid, &self.path("mnt"), script).status.success()
    }
}

impl Drop for Area {
    fn drop(&mut self) {
        // Nothing may be mounted; then it fails.
        let _ = unmount(self.path("mnt"), UnmountFlags::DETACH);
        if !thread::panicking() {
            assert_eq!(fs::read_to_string(self.path("outside/x")).unwrap(), SECRET);
        }
    }
}

fn said(uid: u32, dir: &Path, script: &str) -> Output {
    let id = uid.to_string();
    Command::new("setpriv")
        .args(["--reuid", &id, "--regid", &id, "--clear-groups", "timeout", "20", "sh", "-c", script])
        .env("DIR", dir)
        .current_dir("/")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn own(path: &Path, uid: u32) {
    std::os::unix::fs::lchown(path, Some(uid), Some(uid)).unwrap();
}

fn put(path: &Path, mode: u32, owner: u32) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, "content").unwrap();
    own(path, owner);
    chmod(path, mode);
}

#[test]
fn hostile_layers_are_read_and_changed_without_harm() {
    let Some(mut area) = Area::new("hostile_layers_are_read_and_changed_without_harm") else { return };
    for layer in ["top", "bottom", "upper"] {
        let path = |name: &str| area.path(layer).join(name);
        for (dir, redirect) in [("broken", "/../outside"), ("circle", "/circle/circle"), ("link", "/out")] {
            fs::create_dir_all(path(dir).join("circle")).unwrap();
            fs::write(path(dir).join("f"), layer).unwrap();
            rustix::fs::setxattr(
                path(dir),
                "trusted.overlay.redirect",
                redirect.as_bytes(),
                XattrFlags::empty(),
            )
            .unwrap();
        }
        std::os::unix::fs::symlink(area.path("outside"), path("out")).unwrap();
        fs::write(path(".wh."), "").unwrap();
        fs::write(path(".wh..."), "").unwrap();
        rustix::fs::mknodat(CWD, path("fifo"), FileType::Fifo, Mode::from_raw_mode(0o666), 0).unwrap();
        let null = makedev(1, 3);
        rustix::fs::mknodat(CWD, path("null"), FileType::CharacterDevice, Mode::from_raw_mode(0o666), null)
            .unwrap();
    }
    area.mount();
    let mnt = area.path("mnt");
    let mut names: Vec<_> =
        fs::read_dir(&mnt).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    assert_eq!(names, [".wh.", ".wh...", "broken", "circle", "fifo", "link", "null", "out"]);
    assert_eq!(fs::metadata(mnt.join("broken")).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    assert_eq!(fs::read_dir(mnt.join("circle")).unwrap().count(), 2);
    assert_eq!(fs::read_to_string(mnt.join("link/f")).unwrap(), "upper");
    for command in
        ["ls -lR .", "find . -type f -exec cat {} +", "mv circle circle2 && mv link link2", "rm -r link2"]
    {
        let outcome = said(0, &mnt, &format!("cd $DIR && {command}"));
        assert_ne!(outcome.status.code(), Some(124), "{command} hangs");
    }
    fs::write(mnt.join("alive"), "alive").unwrap();
    assert_eq!(fs::read_to_string(area.path("upper/alive")).unwrap(), "alive");
}

#[test]
fn a_user_of_a_shared_mount_has_the_rights_that_modes_give_him() {
    let Some(mut area) = Area::new("a_user_of_a_shared_mount_has_the_rights_that_modes_give_him") else {
        return;
    };
    for layer in ["bottom", "upper"] {
        let path = |name: &str| area.path(layer).join(format!("{layer}-{name}"));
        put(&path("private"), 0o600, 0);
        put(&path("readable"), 0o644, 0);
        put(&path("mine"), 0o600, STRANGER);
        put(&path("closed/f"), 0o666, 0);
        chmod(&path("closed"), 0o700);
        put(&path("sticky/roots"), 0o666, 0);
        put(&path("sticky/mine"), 0o600, STRANGER);
        chmod(&path("sticky"), 0o1777);
    }
    area.mount();
    for layer in ["bottom", "upper"] {
        let can = |script: &str| {
            area.can(STRANGER, &format!("cd $DIR && {}", script.replace('@', &format!("{layer}-"))))
        };
        for (denied, script) in [
            ("read", "cat @private"),
            ("write", "echo x >> @private"),
            ("write to what is readable", "echo x >> @readable"),
            ("truncate", ": > @readable"),
            ("chmod", "chmod 666 @readable"),
            ("touch", "touch -d @1 @readable"),
            ("chown another's", "chown 61002 @private"),
            ("give away", "chown 0 @mine"),
            ("remove", "rm -f @private"),
            ("rename", "mv @private @other"),
            ("create", "echo x > new"),
            ("search", "cat @closed/f"),
            ("list", "ls @closed"),
            ("remove from a sticky directory", "rm -f @sticky/roots"),
            ("rename in a sticky directory", "mv @sticky/roots @sticky/x"),
            ("make a device", "mknod @sticky/null c 1 3"),
            ("set a mark", "setfattr -n trusted.overlay.opaque -v y @sticky/mine"),
        ] {
            assert!(!can(script), "a stranger can {denied}: {script}");
        }
        for script in [
            "cat @readable",
            "cat @mine",
            "echo x >> @mine",
            "chmod 640 @mine",
            "rm @sticky/mine",
            "echo > @sticky/n",
        ] {
            assert!(can(script), "{script}");
        }
        let made = fs::metadata(area.path(&format!("upper/{layer}-sticky/n"))).unwrap();
        assert_eq!((made.uid(), made.gid()), (STRANGER, STRANGER));
    }
    assert_eq!(fs::read_to_string(area.path("bottom/bottom-mine")).unwrap(), "content");
}

#[test]
fn set_user_id_counts_only_where_the_mount_says_so() {
    let Some(mut area) = Area::new("set_user_id_counts_only_where_the_mount_says_so") else { return };
    fs::copy("/usr/bin/id", area.path("bottom/id")).unwrap();
    chmod(&area.path("bottom/id"), 0o4755);
    let id = |area: &Area| {
        let said = said(STRANGER, &area.path("mnt"), "$DIR/id -u");
        String::from_utf8(said.stdout).unwrap().trim().to_owned()
    };
    area.mount();
    assert_eq!(id(&area), "0", "as with the kernel's overlayfs, for a mount by root");
    unmount(area.path("mnt"), UnmountFlags::DETACH).unwrap();
    let mounted = area.mount_by(Command::new("timeout").arg("20"), &["-o", "allow_other,nosuid,nodev"]);
    assert!(mounted.status.success(), "{mounted:?}");
    assert_eq!(id(&area), STRANGER.to_string());
}

/// fusermount3 mounts for the owner alone; not even root gets in.
#[test]
fn nobody_else_enters_a_users_mount() {
    let name = "nobody_else_enters_a_users_mount";
    let Some(mut area) = Area::new(name) else { return };
    for part in ["", "top", "bottom", "upper", "work", "mnt"] {
        own(&area.path(part), OWNER);
    }
    put(&area.path("bottom/open"), 0o666, OWNER);
    let id = OWNER.to_string();
    let mut runner = Command::new("setpriv");
    runner.args(["--reuid", &id, "--regid", &id, "--clear-groups", "timeout", "20"]);
    let mounted = area.mount_by(&mut runner, &[]);
    if !mounted.status.success() {
        return skip(
            name,
            &format!("no mounts for users: {}", String::from_utf8_lossy(&mounted.stderr).trim()),
        );
    }
    assert!(area.can(OWNER, "cat $DIR/open && echo x >> $DIR/open"));
    for uid in [0, STRANGER] {
        for script in ["cat $DIR/open", "ls $DIR", "stat $DIR/.", "echo x > $DIR/new"] {
            let outcome = said(uid, &area.path("mnt"), script);
            assert!(!outcome.status.success(), "user {uid}: {script}");
            let stderr = String::from_utf8_lossy(&outcome.stderr).into_owned();
            assert!(stderr.to_lowercase().contains("permission denied"), "{stderr}");
        }
    }
    assert!(!area.path("upper/new").exists());
    // The upperdir is the user's own, marks included: nothing in it needs more than his rights.
    for entry in fs::read_dir(area.path("upper")).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().uid(), OWNER);
    }
}

#[test]
fn nothing_is_left_that_everyone_may_write() {
    let Some(mut area) = Area::new("nothing_is_left_that_everyone_may_write") else { return };
    for number in 0..20 {
        put(&area.path("bottom").join(number.to_string()), 0o644, 0);
    }
    fs::hard_link(area.path("bottom/0"), area.path("bottom/link")).unwrap();
    area.mount();
    let mnt = area.path("mnt");
    fs::write(mnt.join("0"), "changed").unwrap();
    fs::create_dir(mnt.join("dir")).unwrap();
    chmod(&mnt.join("dir"), 0o755);
    fs::remove_file(mnt.join("1")).unwrap();
    let held = File::open(mnt.join("2")).unwrap();
    fs::remove_file(mnt.join("2")).unwrap();
    // While it is mounted, and afterwards.
    for mounted in [true, false] {
        for dir in ["work/work", "work/index"] {
            assert_eq!(fs::metadata(area.path(dir)).unwrap().mode() & 0o077, 0, "{dir}, mounted: {mounted}");
            let outcome = said(STRANGER, &area.path(dir), "ls $DIR || cd $DIR");
            assert!(!outcome.status.success(), "{dir}");
        }
        let find = "find $DIR/work $DIR/upper -perm /022 ! -type l ! -type c";
        assert_eq!(String::from_utf8_lossy(&said(0, area.dir.path(), find).stdout), "");
        if mounted {
            unmount(&mnt, UnmountFlags::DETACH).unwrap();
        }
    }
    drop(held);
}

/// Any owner of a directory can set `user.*` attributes on it; the kernel's overlayfs follows no redirects in those.
#[test]
fn a_redirect_that_a_user_set_on_a_directory_of_his_opens_no_closed_one() {
    let name = "a_redirect_that_a_user_set_on_a_directory_of_his_opens_no_closed_one";
    let Some(mut area) = Area::new(name) else { return };
    put(&area.path("bottom/closed/f"), 0o644, 0);
    chmod(&area.path("bottom/closed"), 0o700);
    for layer in ["top", "upper"] {
        let mine = area.path(layer).join(format!("{layer}-mine"));
        fs::create_dir(&mine).unwrap();
        own(&mine, STRANGER);
        rustix::fs::setxattr(&mine, "user.overlay.redirect", b"/closed", XattrFlags::empty()).unwrap();
    }
    area.mount();
    assert!(!area.can(STRANGER, "cat $DIR/closed/f"));
    assert!(!area.can(STRANGER, "cat $DIR/top-mine/f"));
    assert!(!area.can(STRANGER, "cat $DIR/upper-mine/f"));
}
