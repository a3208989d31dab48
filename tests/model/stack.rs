//! Random layers: as directories for the engine, merged for the model.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use rustix::fs::FileType;
use unionfuse::testing::{Disk, Store};
use unionfuse::types::Kind;

use super::name::{Name, name};
use super::tree::{File, Id, ROOT, Tree};
use crate::kit::bench::Bench;
use crate::kit::layer::Layer;

/// What a layer has under a name.
#[derive(Debug, Clone)]
pub enum Item {
    File { byte: u8, len: usize, mode: u32 },
    Dir { mode: u32 },
    OpaqueDir,
    Symlink,
    Fifo,
    Whiteout,
    LinkTo(Name),
}

/// Items in the order they are made; those whose place is taken or lacks a directory are left out.
pub type Plan = Vec<(Name, Item)>;

/// A stack of layers, top-most lower first, and how it is mounted.
#[derive(Clone)]
pub struct Stack {
    pub upper: Plan,
    pub lowers: Vec<Plan>,
    pub redirect_dir: bool,
}

impl fmt::Debug for Stack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = |f: &mut fmt::Formatter<'_>, plan: &Plan| {
            plan.iter().try_for_each(|(name, item)| write!(f, "\n        {name:?}: {item:?}"))
        };
        write!(f, "redirect_dir: {}\n    upper:", self.redirect_dir)?;
        all(f, &self.upper)?;
        for (n, lower) in self.lowers.iter().enumerate() {
            write!(f, "\n    lower {n}:")?;
            all(f, lower)?;
        }
        writeln!(f)
    }
}

fn item() -> impl Strategy<Value = Item> {
    let mode = prop_oneof![Just(0o644_u32), 0..0o1000_u32];
    let len = prop_oneof![8 => 0..20_usize, 1 => 60_000..70_000_usize];
    prop_oneof![
        6 => (b'a'..=b'z', len, mode.clone()).prop_map(|(byte, len, mode)| Item::File { byte, len, mode }),
        4 => mode.prop_map(|mode| Item::Dir { mode }),
        1 => Just(Item::OpaqueDir),
        1 => Just(Item::Symlink),
        1 => Just(Item::Fifo),
        2 => Just(Item::Whiteout),
        3 => name().prop_map(Item::LinkTo),
    ]
}

/// One to three lowers, or so many that directories are looked at in another way (`MANY_LOWERS`).
pub fn stack() -> impl Strategy<Value = Stack> {
    let plan = |most: usize| vec((name(), item()), 0..most);
    let lowers = prop_oneof![
        4 => vec(plan(14), 1..=3),
        1 => vec(plan(5), 9..=9),
    ];
    (plan(10), lowers, prop::bool::weighted(0.8)).prop_map(|(upper, lowers, redirect_dir)| Stack {
        upper,
        lowers,
        redirect_dir,
    })
}

impl Stack {
    /// A union of these layers, in temporary directories.
    pub fn open(&self) -> Bench {
        self.open_on(Arc::new(Disk))
    }

    /// The same on another storage.
    pub fn open_on(&self, store: Arc<dyn Store>) -> Bench {
        let mut bench = match self.lowers.len() {
            1 => self.prepare::<1>(),
            2 => self.prepare::<2>(),
            3 => self.prepare::<3>(),
            _ => self.prepare::<9>(),
        };
        bench.config.redirect_dir = Some(self.redirect_dir);
        bench.open_on(store);
        bench
    }

    fn prepare<const N: usize>(&self) -> Bench {
        Bench::prepare(|lowers: &[Layer; N], upper| {
            for (depth, (layer, made)) in std::iter::once(upper).chain(lowers).zip(self.made()).enumerate() {
                made.build(layer, depth);
            }
        })
    }

    /// The layers as they come out, the upper first.
    fn made(&self) -> impl Iterator<Item = Made> {
        std::iter::once(&self.upper).chain(&self.lowers).map(Made::new)
    }

    /// What the union must show.
    pub fn merged(&self) -> Tree {
        let layers: Vec<Made> = self.made().collect();
        let mut tree = Tree::new(File { modified: Some(time(0)), ..File::new(Kind::Directory, 0o755) });
        let mut merge = Merge { layers: &layers, tree: &mut tree, known: BTreeMap::new() };
        let all: Vec<usize> = (0..layers.len()).collect();
        merge.directory(ROOT, b"", &all);
        tree
    }
}

fn time(depth: usize) -> i64 {
    500_000_000 + i64::try_from(depth).unwrap()
}

/// One layer as it comes out: what is under each path. Hard links have one item, by number.
struct Made {
    paths: BTreeMap<Vec<u8>, usize>,
    items: Vec<Item>,
}

impl Made {
    fn new(plan: &Plan) -> Self {
        let mut made = Self { paths: BTreeMap::new(), items: Vec::new() };
        plan.iter().for_each(|(name, item)| made.put(name.0, item));
        made
    }

    fn item(&self, path: &[u8]) -> Option<&Item> {
        self.paths.get(path).map(|&n| &self.items[n])
    }

    fn put(&mut self, path: &'static [u8], item: &Item) {
        let parents = path.iter().enumerate().filter(|(_, byte)| **byte == b'/').map(|(at, _)| &path[..at]);
        let is_dir = |item: Option<&Item>| item.is_none_or(is_dir);
        if self.paths.contains_key(path) || !parents.clone().all(|parent| is_dir(self.item(parent))) {
            return;
        }
        let linked = match item {
            Item::LinkTo(other) => match self.item(other.0) {
                None | Some(Item::Dir { .. } | Item::OpaqueDir | Item::Whiteout) => return,
                Some(_) => Some(self.paths[other.0]),
            },
            _ => None,
        };
        for parent in parents {
            if !self.paths.contains_key(parent) {
                self.insert(parent, Item::Dir { mode: 0o755 });
            }
        }
        match linked {
            Some(number) => drop(self.paths.insert(path.to_vec(), number)),
            None => self.insert(path, item.clone()),
        }
    }

    fn insert(&mut self, path: &[u8], item: Item) {
        self.paths.insert(path.to_vec(), self.items.len());
        self.items.push(item);
    }

    fn links(&self, number: usize) -> u32 {
        u32::try_from(self.paths.values().filter(|&&other| other == number).count()).unwrap()
    }

    fn build(&self, layer: &Layer, depth: usize) {
        let mut first: BTreeMap<usize, PathBuf> = BTreeMap::new();
        for (path, &number) in &self.paths {
            let path = path_of(path);
            if let Some(existing) = first.get(&number) {
                std::fs::hard_link(layer.path(existing), layer.path(&path)).unwrap();
                continue;
            }
            first.insert(number, path.clone());
            match &self.items[number] {
                Item::File { byte, len, mode } => layer.file(&path, vec![*byte; *len]).mode(&path, *mode),
                Item::Dir { mode } => layer.dir(&path).mode(&path, *mode),
                Item::OpaqueDir => layer.opaque(&path),
                Item::Symlink => layer.symlink(&path, "target"),
                Item::Fifo => layer.node(&path, FileType::Fifo, 0o644, 0),
                Item::Whiteout | Item::LinkTo(_) => layer.whiteout(&path),
            };
            if !is_whiteout(&self.items[number]) {
                layer.owner(&path, owner(number).0, owner(number).1);
            }
            if is_marked(&self.items[number], number) {
                layer.set(&path, MARK, MARK_VALUE);
            }
        }
        for path in self.paths.keys() {
            layer.time(path_of(path), time(depth));
        }
        layer.time("", time(depth));
    }
}

const MARK: &str = "user.layer";
const MARK_VALUE: &[u8] = b"kept";

fn path_of(path: &[u8]) -> PathBuf {
    OsStr::from_bytes(path).into()
}

fn is_dir(item: &Item) -> bool {
    matches!(item, Item::Dir { .. } | Item::OpaqueDir)
}

fn is_whiteout(item: &Item) -> bool {
    matches!(item, Item::Whiteout | Item::LinkTo(_))
}

/// Every third thing belongs to somebody else.
fn owner(number: usize) -> (u32, u32) {
    if number % 3 == 2 { (1000, 1001) } else { (0, 0) }
}

/// Every second file and directory has an attribute.
fn is_marked(item: &Item, number: usize) -> bool {
    number % 2 == 1 && (is_dir(item) || matches!(item, Item::File { .. }))
}

/// Merges layers by the rules of overlayfs.
struct Merge<'a> {
    layers: &'a [Made],
    tree: &'a mut Tree,
    /// Files of layers that have a name already.
    known: BTreeMap<(usize, usize), Id>,
}

impl Merge<'_> {
    /// Fills the directory `into` with what the layers `depths` have under `path`.
    fn directory(&mut self, into: Id, path: &[u8], depths: &[usize]) {
        let prefix = if path.is_empty() { Vec::new() } else { [path, b"/"].concat() };
        let mut names: Vec<Vec<u8>> = Vec::new();
        for &depth in depths {
            let inside = self.layers[depth].paths.keys().filter_map(|path| path.strip_prefix(&prefix[..]));
            names.extend(inside.filter(|rest| !rest.is_empty() && !rest.contains(&b'/')).map(<[u8]>::to_vec));
        }
        names.sort();
        names.dedup();
        for name in names {
            let path = [&prefix[..], &name].concat();
            if let Some(id) = self.entry(&path, depths) {
                self.tree.file_mut(into).entries.insert(name, id);
            }
        }
    }

    fn entry(&mut self, path: &[u8], depths: &[usize]) -> Option<Id> {
        let layers = self.layers;
        let mut merged: Vec<usize> = Vec::new();
        for &depth in depths {
            match layers[depth].item(path) {
                None => {}
                Some(item) if !is_dir(item) => {
                    if merged.is_empty() && !is_whiteout(item) {
                        return Some(self.file(depth, layers[depth].paths[path]));
                    }
                    break;
                }
                Some(item) => {
                    merged.push(depth);
                    if matches!(item, Item::OpaqueDir) {
                        break;
                    }
                }
            }
        }
        let &top = merged.first()?;
        let id = self.file(top, layers[top].paths[path]);
        self.directory(id, path, &merged);
        Some(id)
    }

    fn file(&mut self, depth: usize, number: usize) -> Id {
        if let Some(&id) = self.known.get(&(depth, number)) {
            return id;
        }
        let made = &self.layers[depth];
        let item = &made.items[number];
        let mut file = match item {
            Item::File { byte, len, mode } => {
                File { data: vec![*byte; *len], ..File::new(Kind::File, *mode) }
            }
            Item::Dir { mode } => File::new(Kind::Directory, *mode),
            Item::OpaqueDir => File::new(Kind::Directory, 0o755),
            Item::Symlink => File { data: b"target".to_vec(), ..File::new(Kind::Symlink, 0o777) },
            Item::Fifo => File::new(Kind::Fifo, 0o644),
            Item::Whiteout | Item::LinkTo(_) => {
                unreachable!("whiteouts are not shown, links have their target's item")
            }
        };
        file.owner = owner(number);
        file.links = made.links(number);
        file.modified = Some(time(depth));
        if is_marked(item, number) {
            file.attributes.insert(MARK, MARK_VALUE.to_vec());
        }
        let id = self.tree.add(file);
        self.known.insert((depth, number), id);
        id
    }
}
