//! Layers as directories: made before the union is opened, looked into afterwards.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, FileType, Mode, OFlags, Timespec, Timestamps, XattrFlags};
use rustix::io::Errno;

/// A directory that is (to be) a layer. Parents of what is made in it are made too.
#[derive(Debug, Clone)]
pub struct Layer {
    pub root: PathBuf,
}

impl Layer {
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.root.join(path)
    }

    fn place(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = self.path(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        path
    }

    pub fn file(&self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> &Self {
        let path = self.place(path);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        self
    }

    pub fn dir(&self, path: impl AsRef<Path>) -> &Self {
        let path = self.place(path);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    pub fn symlink(&self, path: impl AsRef<Path>, target: &str) -> &Self {
        std::os::unix::fs::symlink(target, self.place(path)).unwrap();
        self
    }

    /// Another name for an existing file.
    pub fn link(&self, path: impl AsRef<Path>, existing: &str) -> &Self {
        fs::hard_link(self.path(existing), self.place(path)).unwrap();
        self
    }

    pub fn node(&self, path: impl AsRef<Path>, kind: FileType, mode: u32, rdev: u64) -> &Self {
        rustix::fs::mknodat(CWD, self.place(path), kind, Mode::from_raw_mode(mode), rdev).unwrap();
        self
    }

    pub fn whiteout(&self, path: impl AsRef<Path>) -> &Self {
        self.node(path, FileType::CharacterDevice, 0, 0)
    }

    /// A directory with the kernel's opaque mark.
    pub fn opaque(&self, path: impl AsRef<Path>) -> &Self {
        self.dir(path.as_ref()).set(path, "trusted.overlay.opaque", "y")
    }

    /// Sets an extended attribute.
    pub fn set(&self, path: impl AsRef<Path>, name: &str, value: impl AsRef<[u8]>) -> &Self {
        rustix::fs::lsetxattr(self.path(path).as_path(), name, value.as_ref(), XattrFlags::empty()).unwrap();
        self
    }

    pub fn mode(&self, path: impl AsRef<Path>, mode: u32) -> &Self {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
        self
    }

    pub fn owner(&self, path: impl AsRef<Path>, uid: u32, gid: u32) -> &Self {
        std::os::unix::fs::lchown(self.path(path), Some(uid), Some(gid)).unwrap();
        self
    }

    /// Sets both times to `seconds` since the epoch and some nanoseconds.
    pub fn time(&self, path: impl AsRef<Path>, seconds: i64) -> &Self {
        let time = Timespec { tv_sec: seconds, tv_nsec: 123_456_789 };
        let times = Timestamps { last_access: time, last_modification: time };
        rustix::fs::utimensat(CWD, self.path(path), &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        self
    }

    pub fn text(&self, path: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(path)).unwrap()
    }

    pub fn stat(&self, path: impl AsRef<Path>) -> fs::Metadata {
        let path = self.path(path);
        fs::symlink_metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub fn ino(&self, path: impl AsRef<Path>) -> u64 {
        self.stat(path).ino()
    }

    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        fs::symlink_metadata(self.path(path)).is_ok()
    }

    pub fn is_whiteout(&self, path: impl AsRef<Path>) -> bool {
        is_whiteout(&self.path(path))
    }

    pub fn is_opaque(&self, path: impl AsRef<Path>) -> bool {
        self.get(path, "trusted.overlay.opaque").as_deref() == Some(b"y")
    }

    pub fn redirect(&self, path: impl AsRef<Path>) -> Option<String> {
        self.get(path, "trusted.overlay.redirect").map(|value| String::from_utf8(value).unwrap())
    }

    /// An extended attribute, if it is there.
    pub fn get(&self, path: impl AsRef<Path>, name: &str) -> Option<Vec<u8>> {
        let mut value = vec![0; 65536];
        match rustix::fs::lgetxattr(self.path(path).as_path(), name, &mut value) {
            Ok(len) => Some(value[..len].to_vec()),
            Err(Errno::NODATA) => None,
            Err(errno) => panic!("{name}: {errno}"),
        }
    }

    /// The names in a directory, sorted.
    pub fn names(&self, path: impl AsRef<Path>) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(self.path(path))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    /// All that must not change in a lower layer, by path.
    pub fn everything(&self) -> BTreeMap<PathBuf, Seen> {
        let mut all = BTreeMap::new();
        let mut pending = vec![self.root.clone()];
        while let Some(path) = pending.pop() {
            let seen = Seen::of(&path);
            if seen.mode & libc::S_IFMT == libc::S_IFDIR {
                pending.extend(quiet_names(&path).into_iter().map(|name| path.join(name)));
            }
            all.insert(path, seen);
        }
        all
    }
}

/// Whether a whiteout device is at `path`.
pub fn is_whiteout(path: &Path) -> bool {
    fs::symlink_metadata(path)
        .is_ok_and(|meta| meta.mode() & libc::S_IFMT == libc::S_IFCHR && meta.rdev() == 0)
}

/// What one file of a lower layer is.
#[derive(Debug, PartialEq, Eq)]
pub struct Seen {
    mode: u32,
    owner: (u32, u32),
    ino: u64,
    nlink: u64,
    modified: (i64, i64),
    content: Vec<u8>,
    attributes: BTreeMap<OsString, Vec<u8>>,
}

impl Seen {
    fn of(path: &Path) -> Self {
        let meta = fs::symlink_metadata(path).unwrap();
        let content = match meta.mode() & libc::S_IFMT {
            // Big files here are sparse; their size and time of modification say enough.
            libc::S_IFREG if meta.len() < 1 << 20 => {
                let mut content = Vec::new();
                fs::File::from(open_quietly(path)).read_to_end(&mut content).unwrap();
                content
            }
            libc::S_IFLNK => fs::read_link(path).unwrap().into_os_string().into_vec(),
            _ => meta.len().to_string().into_bytes(),
        };
        Self {
            mode: meta.mode(),
            owner: (meta.uid(), meta.gid()),
            ino: meta.ino(),
            nlink: meta.nlink(),
            modified: (meta.mtime(), meta.mtime_nsec()),
            content,
            attributes: attributes(path),
        }
    }
}

/// Opens without leaving an access time, which tests look at.
fn open_quietly(path: &Path) -> OwnedFd {
    rustix::fs::open(path, OFlags::RDONLY | OFlags::NOATIME | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn quiet_names(path: &Path) -> Vec<OsString> {
    let dir = rustix::fs::Dir::new(open_quietly(path)).unwrap();
    dir.map(|entry| OsStr::from_bytes(entry.unwrap().file_name().to_bytes()).to_owned())
        .filter(|name| name != "." && name != "..")
        .collect()
}

fn attributes(path: &Path) -> BTreeMap<OsString, Vec<u8>> {
    let mut names = vec![0; 65536];
    let len = rustix::fs::llistxattr(path, &mut names).unwrap();
    names[..len]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 65536];
            let len = rustix::fs::lgetxattr(path, OsStr::from_bytes(name), &mut value).unwrap();
            (OsStr::from_bytes(name).to_owned(), value[..len].to_vec())
        })
        .collect()
}
