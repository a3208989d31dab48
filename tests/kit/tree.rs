//! Everything a user can see of a tree, and how two such views differ.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::fmt;
use std::hash::Hasher;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, Stat};
use rustix::io::Errno;

use super::mode::Mode as Runs;
use super::op::show;

/// Modification times from here on (2020) can only come from a script; layers are stamped earlier.
const TOUCHED: i64 = 1_577_836_800;

/// One name in a tree.
#[derive(Clone)]
pub struct Entry {
    pub stat: Stat,
    /// A digest of the whole content, or why it could not be read.
    pub content: Option<Result<u64, Errno>>,
    pub target: Option<Vec<u8>>,
    pub xattrs: Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno>,
}

/// Every entry of a tree by its path; the root is the empty path.
#[derive(Clone, Default)]
pub struct Tree {
    pub entries: BTreeMap<Vec<u8>, Entry>,
    /// Entries whose `d_ino` or `d_type` is not what a stat of them says.
    pub readdir_lies: Vec<String>,
    /// Directories whose `..` is listed with another number than their parent's. Apart, because the kernel caches listings
    /// over a move to another parent.
    pub dotdot_lies: Vec<String>,
    /// Directories that could not be listed.
    pub unlisted: Vec<(Vec<u8>, Errno)>,
}

/// Reads all of the tree under `root`.
pub fn snapshot(root: &Path) -> Tree {
    let mut tree = Tree::default();
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let dir = rustix::fs::openat(CWD, root, flags, Mode::empty())
        .unwrap_or_else(|e| panic!("open {}: {e}", root.display()));
    let top = examine(&dir, b".", root).unwrap_or_else(|e| panic!("stat {}: {e}", root.display()));
    let ino = top.stat.st_ino;
    tree.entries.insert(Vec::new(), top);
    tree.walk(dir, &[], ino, None);
    tree
}

impl Tree {
    fn walk(&mut self, dir: OwnedFd, path: &[u8], ino: u64, parent: Option<u64>) {
        let mut names = Vec::new();
        match Dir::read_from(&dir).and_then(|stream| stream.collect::<Result<Vec<_>, _>>()) {
            Ok(entries) => names.extend(entries),
            Err(error) => return self.unlisted.push((path.to_vec(), error)),
        }
        // Each subject lists in an order of its own, and what is found amiss is compared as lists.
        names.sort_by(|a, b| a.file_name().cmp(b.file_name()));
        for listed in names {
            let name = listed.file_name().to_bytes();
            match name {
                b"." if ino != listed.ino() => {
                    self.readdir_lies.push(format!(
                        "{}/.: d_ino {} but st_ino {ino}",
                        show(path),
                        listed.ino()
                    ));
                }
                b".." if parent.is_some_and(|parent| parent != listed.ino()) => {
                    self.dotdot_lies.push(format!(
                        "{}/..: d_ino {} but st_ino {parent:?}",
                        show(path),
                        listed.ino()
                    ));
                }
                b"." | b".." => {}
                _ => self.enter(&dir, path, name, ino, &listed),
            }
        }
    }

    fn enter(&mut self, dir: &OwnedFd, path: &[u8], name: &[u8], ino: u64, listed: &rustix::fs::DirEntry) {
        let full = if path.is_empty() { name.to_vec() } else { [path, b"/", name].concat() };
        let entry = match examine(dir, name, Path::new("")) {
            Ok(entry) => entry,
            Err(error) => {
                return self.readdir_lies.push(format!("{}: listed, but stat says {error}", show(&full)));
            }
        };
        let (stat, kind) = (entry.stat, FileType::from_raw_mode(entry.stat.st_mode));
        if listed.ino() != stat.st_ino {
            self.readdir_lies.push(format!(
                "{}: d_ino {} but st_ino {}",
                show(&full),
                listed.ino(),
                stat.st_ino
            ));
        }
        if !matches!(listed.file_type(), FileType::Unknown) && listed.file_type() != kind {
            self.readdir_lies.push(format!("{}: d_type {:?} but {kind:?}", show(&full), listed.file_type()));
        }
        if self.entries.insert(full.clone(), entry).is_some() {
            self.readdir_lies.push(format!("{}: listed twice", show(&full)));
        }
        if kind == FileType::Directory {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            match rustix::fs::openat(dir, name, flags, Mode::empty()) {
                Ok(child) => self.walk(child, &full, stat.st_ino, Some(ino)),
                Err(error) => self.unlisted.push((full, error)),
            }
        }
    }

    /// The first name of every inode number: tells which names share one.
    fn first_names(&self) -> BTreeMap<u64, &[u8]> {
        let mut first = BTreeMap::new();
        for (path, entry) in &self.entries {
            first.entry(entry.stat.st_ino).or_insert(&path[..]);
        }
        first
    }

    /// The tree as short lines (`dir/`, `file=…` content digest left out), for comparison with a hand-written list.
    pub fn paths(&self) -> Vec<String> {
        let line = |(path, entry): (&Vec<u8>, &Entry)| {
            let slash =
                if FileType::from_raw_mode(entry.stat.st_mode) == FileType::Directory { "/" } else { "" };
            format!("{}{slash}", show(path))
        };
        self.entries.iter().filter(|(path, _)| !path.is_empty()).map(line).collect()
    }
}

fn examine(dir: &OwnedFd, name: &[u8], root: &Path) -> Result<Entry, Errno> {
    let stat = rustix::fs::statat(dir, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let kind = FileType::from_raw_mode(stat.st_mode);
    let content = (kind == FileType::RegularFile).then(|| digest(dir, name));
    let target = match kind {
        FileType::Symlink => Some(rustix::fs::readlinkat(dir, name, Vec::new())?.into_bytes()),
        _ => None,
    };
    // There are no *at calls for xattrs; a path through /proc stays short however deep the directory is.
    let path = match root.as_os_str().is_empty() {
        true => [format!("/proc/self/fd/{}/", dir.as_raw_fd()).as_bytes(), name].concat(),
        false => [format!("/proc/self/fd/{}/.", dir.as_raw_fd()).as_bytes()].concat(),
    };
    Ok(Entry { stat, content, target, xattrs: read_xattrs(&path) })
}

fn digest(dir: &OwnedFd, name: &[u8]) -> Result<u64, Errno> {
    let file =
        rustix::fs::openat(dir, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    digest_of(std::os::fd::AsFd::as_fd(&file))
}

/// A digest of everything that can be read from the start of `file`.
pub fn digest_of(file: BorrowedFd<'_>) -> Result<u64, Errno> {
    let mut hasher = DefaultHasher::new();
    let mut block = vec![0; 256 * 1024];
    let mut at = 0;
    loop {
        // Whole blocks only, or the length of each single read would be part of the digest.
        let mut filled = 0;
        while filled < block.len() {
            match rustix::io::pread(file, &mut block[filled..], at)? {
                0 => break,
                n => (filled, at) = (filled + n, at + n as u64),
            }
        }
        hasher.write(&block[..filled]);
        if filled < block.len() {
            return Ok(hasher.finish());
        }
    }
}

fn read_xattrs(path: &[u8]) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, Errno> {
    let mut list = vec![0; 65536];
    let n = match rustix::fs::llistxattr(path, &mut list[..]) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut found = BTreeMap::new();
    for name in list[..n].split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let mut value = vec![0; 65536];
        let n = rustix::fs::lgetxattr(path, name, &mut value[..])?;
        value.truncate(n);
        found.insert(name.to_vec(), value);
    }
    Ok(found)
}

/// Two views of what ought to be the same tree.
pub struct Comparison<'a> {
    pub left: (&'a str, &'a Tree),
    pub right: (&'a str, &'a Tree),
    /// Inode numbers of the lower layers by number; when given, both sides must agree which lower file an entry is.
    pub origins: Option<&'a BTreeMap<u64, String>>,
    /// Both sides are the same subject, so even numbers and exact times must agree.
    pub same_subject: bool,
}

impl Comparison<'_> {
    /// One readable line for each difference; none when the trees are alike.
    pub fn differences(&self) -> Vec<String> {
        let (left, right) = (self.left.1, self.right.1);
        let (left_first, right_first) = (left.first_names(), right.first_names());
        let mut lines = Vec::new();
        for (path, entry) in &left.entries {
            let Some(other) = right.entries.get(path) else {
                lines.push(format!("{}: only in {}", show(path), self.left.0));
                continue;
            };
            let mut line = Line { path, names: (self.left.0, self.right.0), out: &mut lines };
            self.compare(&mut line, entry, other);
            if FileType::from_raw_mode(entry.stat.st_mode) != FileType::Directory {
                let shared = (left_first[&entry.stat.st_ino], right_first[&other.stat.st_ino]);
                line.check("same inode as", show(shared.0), show(shared.1));
            }
        }
        for path in right.entries.keys().filter(|path| !left.entries.contains_key(*path)) {
            lines.push(format!("{}: only in {}", show(path), self.right.0));
        }
        if left.unlisted != right.unlisted {
            lines.push(format!(
                "unlisted directories: {:?} ({}), {:?} ({})",
                left.unlisted, self.left.0, right.unlisted, self.right.0
            ));
        }
        lines
    }

    fn compare(&self, line: &mut Line<'_>, a: &Entry, b: &Entry) {
        let (s, t) = (&a.stat, &b.stat);
        line.check("mode", format!("{:o}", s.st_mode), format!("{:o}", t.st_mode));
        line.check("owner", (s.st_uid, s.st_gid), (t.st_uid, t.st_gid));
        line.check("rdev", s.st_rdev, t.st_rdev);
        line.check("content", a.content, b.content);
        line.check("target", a.target.as_deref().map(show), b.target.as_deref().map(show));
        line.check("xattrs", xattrs_shown(a), xattrs_shown(b));
        if FileType::from_raw_mode(s.st_mode) != FileType::Directory {
            line.check("size", s.st_size, t.st_size);
            line.check("nlink", s.st_nlink, t.st_nlink);
        }
        if self.same_subject {
            line.check("mtime", (s.st_mtime, s.st_mtime_nsec), (t.st_mtime, t.st_mtime_nsec));
            if number_can_be_recorded(s) {
                line.check("st_ino", s.st_ino, t.st_ino);
            }
        } else {
            line.check("mtime", mtime_by_rule(s), mtime_by_rule(t));
        }
        if let Some(origins) = self.origins {
            let origin = |ino| origins.get(&ino).map_or("a new file", String::as_str);
            line.check("st_ino is that of", origin(s.st_ino), origin(t.st_ino));
        }
    }
}

/// Without root the origin of a copied-up file goes into a `user.*` attribute, which symlinks and special files cannot have.
fn number_can_be_recorded(stat: &Stat) -> bool {
    let kind = FileType::from_raw_mode(stat.st_mode);
    Runs::current() == Runs::Root || matches!(kind, FileType::RegularFile | FileType::Directory)
}

fn mtime_by_rule(stat: &Stat) -> String {
    match stat.st_mtime {
        touched if touched >= TOUCHED => "touched by the script".into(),
        seconds => format!("{seconds}.{:09}", stat.st_mtime_nsec),
    }
}

fn xattrs_shown(entry: &Entry) -> Result<Vec<String>, Errno> {
    let map = entry.xattrs.as_ref().map_err(|error| *error)?;
    Ok(map.iter().map(|(name, value)| format!("{}={}", show(name), show(value))).collect())
}

struct Line<'a> {
    path: &'a [u8],
    names: (&'a str, &'a str),
    out: &'a mut Vec<String>,
}

impl Line<'_> {
    fn check<T: PartialEq + fmt::Debug>(&mut self, what: &str, left: T, right: T) {
        if left != right {
            let path = if self.path.is_empty() { "(root)".into() } else { show(self.path) };
            self.out
                .push(format!("{path}: {what} {left:?} ({}), {right:?} ({})", self.names.0, self.names.1));
        }
    }
}

/// What must not change in a lower layer: everything, down to the change times.
pub fn fingerprint(root: &Path) -> BTreeMap<Vec<u8>, String> {
    let of = |entry: Entry| {
        let s = entry.stat;
        let times = (s.st_mtime, s.st_mtime_nsec, s.st_ctime, s.st_ctime_nsec);
        let numbers = (s.st_ino, s.st_mode, s.st_uid, s.st_gid, s.st_nlink, s.st_size, s.st_rdev);
        format!("{numbers:?} {times:?} {:?} {:?} {:?}", entry.content, entry.target, xattrs_shown(&entry))
    };
    snapshot(root).entries.into_iter().map(|(path, entry)| (path, of(entry))).collect()
}
