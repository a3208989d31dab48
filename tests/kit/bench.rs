//! A union of temporary directories, and operations on it by path.
//!
//! Paths are resolved as the kernel does: every answer that references a node is counted, and at the end of
//! each test all are given back. Then only the root may be left, the work directory must be empty and the
//! lowers must be as they were.

use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use rustix::io::Errno;
use tempfile::TempDir;
use unionfuse::Done;
use unionfuse::Entry;
use unionfuse::config::{Durability, UnionConfig};
use unionfuse::testing::{Disk, Store};
use unionfuse::types::{Attr, Caller, DirEntry, Kind, Name, NewTime, NodeId, RenameMode, SetAttr, Time};
use unionfuse::{Error, Union};

use super::layer::{Layer, Seen, is_whiteout};

/// What a test expects of an operation: the answer, or just the errno.
pub type Answer<T> = Result<T, Errno>;

pub const ROOT: Caller = Caller { uid: 0, gid: 0, pid: 0, umask: 0 };
pub const USER: Caller = Caller { uid: 1000, gid: 1000, pid: 0, umask: 0 };

/// A union under test.
pub struct Bench {
    union: Option<Union>,
    pub config: UnionConfig,
    pub lowers: Vec<Layer>,
    store: Arc<dyn Store>,
    before: Vec<BTreeMap<PathBuf, Seen>>,
    /// References that the kernel would have, by node.
    references: Mutex<HashMap<NodeId, u64>>,
    dir: TempDir,
}

/// A union of `N` lowers (top-most first) and an upper, filled by `fill`.
pub fn union<const N: usize>(fill: impl FnOnce(&[Layer; N], &Layer)) -> Bench {
    union_with(fill, |_| {})
}

/// Like [`union`], with other options.
pub fn union_with<const N: usize>(
    fill: impl FnOnce(&[Layer; N], &Layer),
    options: impl FnOnce(&mut UnionConfig),
) -> Bench {
    let mut bench = Bench::prepare(fill);
    options(&mut bench.config);
    bench.open();
    bench
}

/// A union over one lower with an empty upper.
pub fn over(fill: impl FnOnce(&Layer)) -> Bench {
    union(|[lower]: &[Layer; 1], _| fill(lower))
}

/// Says that a test did not run. Not through the macros, whose output libtest captures.
pub fn skip(reason: &str) {
    use std::io::Write;
    let name = std::thread::current().name().unwrap_or("?").to_owned();
    std::io::stderr().write_all(format!("SKIPPED: {name}: {reason}\n").as_bytes()).unwrap();
}

/// A name that is known to be one.
pub fn name(name: &str) -> Name<'_> {
    Name::try_from(name).unwrap()
}

fn as_name(name: &OsStr) -> Answer<Name<'_>> {
    errno(Name::new(name))
}

/// What an operation answers, and whether it has changed attributes of the node that the answer does not tell.
pub fn done_to<T>(node: NodeId, outcome: Result<Done<T>, Error>) -> Answer<(T, bool)> {
    errno(outcome).map(|done| {
        let changes = done.changes_attributes_of(node);
        (done.value, changes)
    })
}

/// What an operation answers, whatever it has changed beside that.
pub fn done<T>(outcome: Result<Done<T>, Error>) -> Answer<T> {
    errno(outcome).map(|done| done.value)
}

pub fn errno<T>(result: Result<T, Error>) -> Answer<T> {
    result.map_err(|error| error.errno())
}

impl Bench {
    pub fn prepare<const N: usize>(fill: impl FnOnce(&[Layer; N], &Layer)) -> Self {
        Self::prepare_in(TempDir::new().unwrap(), fill)
    }

    /// Makes the directories and fills them, but opens no union yet.
    pub fn prepare_in<const N: usize>(dir: TempDir, fill: impl FnOnce(&[Layer; N], &Layer)) -> Self {
        rustix::process::umask(rustix::fs::Mode::empty());
        let layer = |name: String| {
            let layer = Layer { root: dir.path().join(name) };
            std::fs::create_dir(&layer.root).unwrap();
            layer.mode("", 0o755);
            layer
        };
        let lowers: [Layer; N] = std::array::from_fn(|n| layer(format!("lower{n}")));
        let upper = layer("upper".to_owned());
        layer("work".to_owned());
        fill(&lowers, &upper);
        let mut config = UnionConfig::new(lowers.iter().map(|lower| &lower.root))
            .with_upper(&upper.root, Some(dir.path().join("work")));
        // Thousands of copy-ups need not wait for the disk.
        config.durability = Durability::Relaxed;
        Self {
            union: None,
            config,
            lowers: lowers.into(),
            store: Arc::new(Disk),
            before: Vec::new(),
            references: Mutex::default(),
            dir,
        }
    }

    pub fn open(&mut self) {
        self.before = self.lowers.iter().map(Layer::everything).collect();
        self.union = Some(Union::open_on(self.store.clone(), &self.config, None).unwrap());
    }

    /// Lets the engine work on another storage.
    pub fn open_on(&mut self, store: Arc<dyn Store>) {
        self.store = store;
        self.open();
    }

    /// Ends this mount and begins another one over the same layers.
    pub fn reopen(&mut self) {
        self.close();
        self.union = Some(Union::open_on(self.store.clone(), &self.config, None).unwrap());
    }

    /// Ends the mount, checking that it leaves nothing behind.
    pub fn close(&mut self) {
        if self.union.is_some() {
            self.forget_all();
            self.check_work();
            self.union = None;
        }
    }

    /// Ends the mount and begins one with an empty upper, where the upper of before is the top-most lower.
    pub fn reopen_above(&mut self) {
        self.close();
        let lower = self.dir.path().join(format!("upper-before-{}", self.config.lowers.len()));
        std::fs::rename(self.dir.path().join("upper"), &lower).unwrap();
        std::fs::remove_dir_all(self.dir.path().join("work")).unwrap();
        for dir in ["upper", "work"] {
            Layer { root: self.dir.path().join(dir) }.dir("");
        }
        self.config.lowers.insert(0, lower);
        self.reopen();
    }

    /// Ends the mount as a crash does: nothing is given back, nothing checked.
    pub fn abandon(&mut self) {
        self.union = None;
        self.references.lock().unwrap().clear();
    }

    /// Begins a mount on another storage, after [`Bench::close`] or [`Bench::abandon`].
    pub fn reopen_on(&mut self, store: Arc<dyn Store>) {
        self.store = store;
        self.reopen();
    }

    pub fn raw(&self) -> &Union {
        self.union.as_ref().unwrap()
    }

    pub fn upper(&self) -> Layer {
        Layer { root: self.dir.path().join("upper") }
    }

    pub fn lower(&self) -> &Layer {
        &self.lowers[0]
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Another union, which looks at the same layers while this one changes them.
    pub fn view(&self) -> Self {
        let mut config = self.config.clone();
        config.read_only = true;
        let mut view = Self {
            union: None,
            config,
            lowers: self.lowers.clone(),
            store: Arc::new(Disk),
            before: Vec::new(),
            references: Mutex::default(),
            dir: TempDir::new().unwrap(),
        };
        view.open();
        view
    }

    /// Gives all references back, as the kernel does under memory pressure when nothing is in use.
    pub fn forget_all(&self) {
        for (node, count) in std::mem::take(&mut *self.references.lock().unwrap()) {
            self.raw().forget(node, count);
        }
        assert_eq!(self.raw().live_nodes(), 1, "all but the root must be gone when all is forgotten");
    }

    /// Gives back all references to one node.
    pub fn forget(&self, node: NodeId) {
        let count = self.references.lock().unwrap().remove(&node).unwrap();
        self.raw().forget(node, count);
    }

    /// Nothing may be left in the work directory but one whiteout that others are linked to.
    fn check_work(&self) {
        let garbage = self.garbage();
        assert!(garbage.is_empty(), "left in the work directory: {garbage:?}");
    }

    /// What is left in the work directory that should not be.
    pub fn garbage(&self) -> Vec<PathBuf> {
        let writes = self.config.upper.is_some() && !self.config.read_only;
        let Some(work) = self.config.work.as_ref().filter(|_| writes) else {
            return Vec::new();
        };
        let left: Vec<PathBuf> =
            std::fs::read_dir(work.join("work")).unwrap().map(|entry| entry.unwrap().path()).collect();
        let whiteouts = left.iter().filter(|path| is_whiteout(path)).count();
        assert!(whiteouts <= 2, "one shared whiteout is enough: {left:?}");
        left.into_iter().filter(|path| !is_whiteout(path) && !path.ends_with("incompat")).collect()
    }

    fn count(&self, entry: Entry<'_>) -> Attr {
        let attr = entry.give_to_kernel();
        *self.references.lock().unwrap().entry(attr.node).or_default() += 1;
        attr
    }

    /// The parent's node and the last name of a path.
    pub fn split(&self, path: impl AsRef<Path>) -> Answer<(NodeId, OsString)> {
        let path = path.as_ref();
        let name = path.file_name().unwrap_or_else(|| panic!("{path:?} has no last name")).to_owned();
        Ok((self.node(path.parent().unwrap_or(Path::new("")))?, name))
    }

    /// What the union shows under a path; `""` is the root.
    pub fn stat(&self, path: impl AsRef<Path>) -> Answer<Attr> {
        let mut attr = errno(self.raw().getattr(NodeId::ROOT))?;
        for name in path.as_ref().iter() {
            attr = self.look(attr.node, name)?.ok_or(Errno::NOENT)?;
        }
        Ok(attr)
    }

    pub fn look(&self, parent: NodeId, name: impl AsRef<OsStr>) -> Answer<Option<Attr>> {
        Ok(errno(self.raw().lookup(parent, Name::new(name.as_ref()).unwrap()))?
            .map(|entry| self.count(entry)))
    }

    pub fn node(&self, path: impl AsRef<Path>) -> Answer<NodeId> {
        Ok(self.stat(path)?.node)
    }

    pub fn has(&self, path: impl AsRef<Path>) -> bool {
        match self.stat(path) {
            Ok(_) => true,
            Err(Errno::NOENT) => false,
            Err(errno) => panic!("{errno}"),
        }
    }

    pub fn create(&self, path: impl AsRef<Path>) -> Answer<Attr> {
        self.mknod(ROOT, path, Kind::File, 0o644, 0)
    }

    pub fn mknod(
        &self,
        caller: Caller,
        path: impl AsRef<Path>,
        kind: Kind,
        mode: u32,
        rdev: u64,
    ) -> Answer<Attr> {
        let (parent, name) = self.split(path)?;
        errno(self.raw().mknod(caller, parent, as_name(&name)?, kind, mode, rdev))
            .map(|done| self.count(done.value))
    }

    pub fn mkdir(&self, path: impl AsRef<Path>) -> Answer<Attr> {
        self.mkdir_as(ROOT, path, 0o755)
    }

    pub fn mkdir_as(&self, caller: Caller, path: impl AsRef<Path>, mode: u32) -> Answer<Attr> {
        let (parent, name) = self.split(path)?;
        errno(self.raw().mkdir(caller, parent, as_name(&name)?, mode)).map(|done| self.count(done.value))
    }

    pub fn symlink(&self, path: impl AsRef<Path>, target: &str) -> Answer<Attr> {
        let (parent, name) = self.split(path)?;
        errno(self.raw().symlink(ROOT, parent, as_name(&name)?, OsStr::new(target)))
            .map(|done| self.count(done.value))
    }

    pub fn link(&self, existing: impl AsRef<Path>, path: impl AsRef<Path>) -> Answer<Attr> {
        let node = self.node(existing)?;
        self.link_node(node, path)
    }

    pub fn link_node(&self, node: NodeId, path: impl AsRef<Path>) -> Answer<Attr> {
        let (parent, name) = self.split(path)?;
        errno(self.raw().link(node, parent, as_name(&name)?)).map(|done| self.count(done.value))
    }

    pub fn unlink(&self, path: impl AsRef<Path>) -> Answer<()> {
        let (parent, name) = self.split(path)?;
        done(self.raw().unlink(parent, as_name(&name)?))
    }

    pub fn rmdir(&self, path: impl AsRef<Path>) -> Answer<()> {
        let (parent, name) = self.split(path)?;
        done(self.raw().rmdir(parent, as_name(&name)?))
    }

    pub fn rename(&self, from: impl AsRef<Path>, to: impl AsRef<Path>) -> Answer<()> {
        self.rename_with(from, to, RenameMode::Replace)
    }

    pub fn rename_with(&self, from: impl AsRef<Path>, to: impl AsRef<Path>, mode: RenameMode) -> Answer<()> {
        let ((parent, name), (new_parent, new_name)) = (self.split(from)?, self.split(to)?);
        errno(self.raw().rename(parent, as_name(&name)?, new_parent, as_name(&new_name)?, mode)).map(drop)
    }

    pub fn setattr(&self, path: impl AsRef<Path>, change: SetAttr) -> Answer<Attr> {
        let node = self.node(path)?;
        done(self.raw().setattr(ROOT, node, change))
    }

    pub fn chmod(&self, path: impl AsRef<Path>, perm: u32) -> Answer<Attr> {
        self.setattr(path, SetAttr { perm: Some(perm), ..SetAttr::default() })
    }

    pub fn truncate(&self, path: impl AsRef<Path>, size: u64) -> Answer<Attr> {
        self.setattr(path, SetAttr { size: Some(size), ..SetAttr::default() })
    }

    pub fn set_mtime(&self, path: impl AsRef<Path>, sec: i64) -> Answer<Attr> {
        let mtime = Some(NewTime::At(Time { sec, nsec: 7 }));
        self.setattr(path, SetAttr { mtime, ..SetAttr::default() })
    }

    /// Overwrites from the beginning; makes the file when there is none.
    pub fn write(&self, path: impl AsRef<Path>, data: impl AsRef<[u8]>) -> Answer<NodeId> {
        let path = path.as_ref();
        let node = match self.stat(path) {
            Err(Errno::NOENT) => self.create(path)?.node,
            other => other?.node,
        };
        self.write_node(node, 0, data)?;
        Ok(node)
    }

    pub fn write_node(&self, node: NodeId, offset: u64, data: impl AsRef<[u8]>) -> Answer<()> {
        let count = done(self.raw().write(node, offset, data.as_ref(), None))?;
        assert_eq!(count, data.as_ref().len());
        Ok(())
    }

    pub fn text(&self, path: impl AsRef<Path>) -> Answer<String> {
        self.text_of(self.node(path)?)
    }

    /// All that a file holds, as text.
    pub fn text_of(&self, node: NodeId) -> Answer<String> {
        let mut data = vec![0; 1 << 16];
        let count = errno(self.raw().read(node, 0, &mut data))?;
        data.truncate(count);
        Ok(String::from_utf8(data).unwrap())
    }

    pub fn target(&self, path: impl AsRef<Path>) -> Answer<OsString> {
        errno(self.raw().read_link(self.node(path)?))
    }

    pub fn set_xattr(&self, path: impl AsRef<Path>, name: &str, value: impl AsRef<[u8]>) -> Answer<()> {
        let node = self.node(path)?;
        done(self.raw().set_xattr(ROOT, node, OsStr::new(name), value.as_ref(), 0))
    }

    pub fn get_xattr(&self, path: impl AsRef<Path>, name: &str) -> Answer<Vec<u8>> {
        errno(self.raw().get_xattr(self.node(path)?, OsStr::new(name)))
    }

    pub fn remove_xattr(&self, path: impl AsRef<Path>, name: &str) -> Answer<()> {
        done(self.raw().remove_xattr(self.node(path)?, OsStr::new(name)))
    }

    /// The names of a file's attributes, sorted.
    pub fn xattrs(&self, path: impl AsRef<Path>) -> Answer<Vec<String>> {
        let list = String::from_utf8(errno(self.raw().list_xattr(ROOT, self.node(path)?))?).unwrap();
        let mut names: Vec<String> =
            list.split('\0').filter(|name| !name.is_empty()).map(str::to_owned).collect();
        names.sort();
        Ok(names)
    }

    /// One READDIR request that takes at most `limit` entries. Entries with attributes are counted as
    /// references.
    pub fn list_some(
        &self,
        node: NodeId,
        cookie: u64,
        attributes: bool,
        limit: usize,
    ) -> Answer<Vec<DirEntry>> {
        let mut entries: Vec<DirEntry> = Vec::new();
        errno(self.raw().read_dir(node, cookie, attributes, &mut |entry, node| {
            if entries.len() == limit {
                return ControlFlow::Break(());
            }
            if let Some((node, attr)) = node.zip(entry.attr) {
                self.count(Entry { node, attr });
            }
            entries.push(entry);
            ControlFlow::Continue(())
        }))?;
        Ok(entries)
    }

    /// Lists a directory by small requests, as the kernel does; without `.` and `..`.
    pub fn list(&self, path: impl AsRef<Path>) -> Answer<Vec<DirEntry>> {
        let node = self.node(path)?;
        let (mut all, mut cookie) = (Vec::new(), 0);
        loop {
            let some = self.list_some(node, cookie, false, 7)?;
            let Some(last) = some.last() else { break };
            cookie = last.cookie;
            all.extend(some.into_iter().filter(|entry| entry.name != "." && entry.name != ".."));
        }
        Ok(all)
    }

    /// The names in a directory, sorted; each entry is also looked up and must be the one that was listed.
    pub fn names(&self, path: impl AsRef<Path>) -> Answer<Vec<String>> {
        let path = path.as_ref();
        let mut names = Vec::new();
        for entry in self.list(path)? {
            let attr = self.stat(path.join(&entry.name))?;
            assert_eq!((attr.node, attr.kind), (entry.node, entry.kind), "{path:?}: {:?}", entry.name);
            names.push(entry.name.to_string_lossy().into_owned());
        }
        names.sort();
        Ok(names)
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        if std::thread::panicking() {
            return;
        }
        self.close();
        for (layer, before) in self.lowers.iter().zip(&self.before) {
            assert_eq!(&layer.everything(), before, "{} was changed", layer.root.display());
        }
    }
}
