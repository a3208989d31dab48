//! A union of layers whose marks are any bytes at all, used in every way.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use unionfuse::NodeRef;
use unionfuse::Union;
use unionfuse::config::{Durability, UnionConfig};
use unionfuse::types::{Caller, Kind, Name, NodeId, RenameMode, SetAttr};

use super::guard::Guard;
use crate::kit::watched::Watched;

const SECRET: &str = "nobody may change this";
const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0, umask: 0 };

/// What can carry marks, in each layer.
const MARKED: [&str; 6] = ["", "a", "a/b", "c", "a/f", "f"];
const LAYERS: [&str; 4] = ["upper", "lower0", "lower1", "lower2"];
const MARKS: [&str; 9] = [
    "redirect",
    "opaque",
    "origin",
    "nlink",
    "impure",
    "whiteout",
    "metacopy",
    "overlay.redirect",
    "unionfuse.wh",
];
const PREFIXES: [&str; 2] = ["trusted.overlay.", "user.overlay."];
/// Names that marks make sense of.
const NAMES: [&str; 9] = ["a", "b", "c", "f", "..", "outside", "x", "escape", "new"];

/// Bytes as choices; zeros when they have run out.
struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    fn byte(&mut self) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        (*first).into()
    }

    fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.byte() % all.len()]
    }

    fn bytes(&mut self) -> &'a [u8] {
        let len = self.byte().min(self.0.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }
}

/// Three lowers and an upper, beside a directory that is none of the union's business.
pub struct Layers {
    dir: tempfile::TempDir,
}

impl Layers {
    pub fn new() -> Self {
        rustix::process::umask(Mode::empty());
        let dir = tempfile::tempdir().unwrap();
        let layers = Self { dir };
        fs::create_dir(layers.path("outside")).unwrap();
        fs::write(layers.path("outside/x"), SECRET).unwrap();
        layers
    }

    fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        self.dir.path().join(path)
    }

    fn build(&self) {
        for layer in LAYERS {
            fs::create_dir_all(self.path(layer).join("a/b")).unwrap();
            fs::create_dir_all(self.path(layer).join("c/x")).unwrap();
            for file in ["a/f", "f", "a/b/f", "c/f"] {
                fs::write(self.path(layer).join(file), layer).unwrap();
            }
            fs::hard_link(self.path(layer).join("f"), self.path(layer).join("c/link")).unwrap();
            std::os::unix::fs::symlink("../outside", self.path(layer).join("escape")).unwrap();
            std::os::unix::fs::symlink("../../outside", self.path(layer).join("a/escape")).unwrap();
            let fifo = self.path(layer).join("a/fifo");
            rustix::fs::mknodat(CWD, &fifo, FileType::Fifo, Mode::RUSR, 0).unwrap();
        }
        fs::create_dir(self.path("work")).unwrap();
    }

    /// Builds the layers, gives them marks and odd names as `data` says, uses the union and removes the layers again.
    pub fn run(&self, data: &[u8]) {
        self.build();
        let mut choices = Choices(data);
        for _ in 0..choices.byte() % 8 {
            self.spoil(&mut choices);
        }
        let mut config = UnionConfig::new(["lower0", "lower1", "lower2"].map(|layer| self.path(layer)))
            .with_upper(self.path("upper"), Some(self.path("work")));
        config.durability = Durability::Relaxed;
        config.redirect_dir = Some(choices.byte() % 4 != 3);
        let outside = ["", "outside", "outside/x"].map(|path| self.path(path));
        let union = Union::open_on(Arc::new(Watched(Guard::new(outside))), &config, None).unwrap();
        Use { union: &union, references: Vec::new() }.everything(&mut choices);
        drop(union);
        assert_eq!(fs::read_to_string(self.path("outside/x")).unwrap(), SECRET);
        assert_eq!(fs::read_dir(self.path("outside")).unwrap().count(), 1);
        for layer in LAYERS.iter().chain(&["work"]) {
            fs::remove_dir_all(self.path(layer)).unwrap();
        }
    }

    fn spoil(&self, choices: &mut Choices<'_>) {
        let layer = self.path(choices.of(&LAYERS));
        match choices.byte() % 8 {
            0 => {
                let mut name = OsString::from(".wh.");
                name.push(choices.of(&NAMES));
                // Names such as `.wh...` are what this is about; one that is there already is no news.
                let _ = fs::write(layer.join(choices.of(&["", "a"])).join(name), choices.bytes());
            }
            1 => {
                let _ = fs::create_dir(layer.join("a").join(choices.of(&[".wh.", ".wh..wh..opq", ".wh..."])));
            }
            _ => {
                let file = layer.join(choices.of(&MARKED));
                let name = [choices.of(&PREFIXES), choices.of(&MARKS)].concat();
                let value = match choices.byte() % 4 {
                    0 => choices.of(&[
                        "y",
                        "x",
                        "/a",
                        "/a/b",
                        "/c",
                        "c",
                        "b",
                        "escape",
                        "/escape/x",
                        "/../outside",
                    ]),
                    1 => choices.of(&[
                        "U+1",
                        "L-1",
                        "U+9223372036854775807",
                        "L-9223372036854775808",
                        "/a/b/../..",
                    ]),
                    _ => "",
                };
                let value = if value.is_empty() { choices.bytes() } else { value.as_bytes() };
                // Without root there are no trusted ones.
                let _ = rustix::fs::lsetxattr(&file, name.as_str(), value, XattrFlags::empty());
            }
        }
    }
}

/// Uses a union as the kernel would. Errors are answers too; only panics and the guard's complaints count.
struct Use<'a> {
    union: &'a Union,
    references: Vec<NodeId>,
}

impl Use<'_> {
    fn everything(mut self, choices: &mut Choices<'_>) {
        self.walk(NodeId::ROOT, 0);
        for _ in 0..8 {
            self.change(choices);
        }
        self.walk(NodeId::ROOT, 0);
        for node in std::mem::take(&mut self.references) {
            self.union.forget(node, 1);
        }
        assert_eq!(self.union.live_nodes(), 1, "all but the root must be gone when all is forgotten");
    }

    fn look(&mut self, parent: NodeId, name: &OsStr) -> Option<(NodeId, Kind)> {
        let entry = self.union.lookup(parent, Name::new(name).ok()?).ok()??;
        let attr = entry.give_to_kernel();
        self.references.push(attr.node);
        Some((attr.node, attr.kind))
    }

    fn list(&mut self, node: NodeId, attributes: bool) -> Vec<OsString> {
        let mut names = Vec::new();
        let mut seen = Vec::new();
        let _ = self.union.read_dir(node, 0, attributes, &mut |entry, node| {
            assert!(!entry.name.is_empty() && !entry.name.to_string_lossy().contains('/'));
            seen.extend(node.map(NodeRef::give_to_kernel));
            names.push(entry.name);
            ControlFlow::Continue(())
        });
        self.references.extend(seen);
        names
    }

    fn walk(&mut self, dir: NodeId, depth: usize) {
        // Redirects may nest a directory in itself, once per layer.
        assert!(depth < 16, "the tree has no end");
        let plus = self.list(dir, true);
        let plain = self.list(dir, false);
        assert_eq!(plain, plus);
        let dots = plain.iter().filter(|name| *name == "." || *name == "..").count();
        assert!(dots == 2 || plain.is_empty(), "{plain:?}");
        for name in plain.iter().filter(|name| *name != "." && *name != "..") {
            let Some((node, kind)) = self.look(dir, name) else { continue };
            let _ = self.union.getattr(node);
            let _ = self.union.list_xattr(CALLER, node);
            let _ = self.union.read_link(node);
            if kind == Kind::Directory {
                self.walk(node, depth + 1);
            } else {
                let _ = self.union.read(node, 0, &mut [0; 32]);
            }
        }
    }

    fn change(&mut self, choices: &mut Choices<'_>) {
        let (from, to) = (self.dir(choices), self.dir(choices));
        let name = |choices: &mut Choices<'_>| Name::try_from(choices.of(&NAMES));
        // `..` is no name of an entry.
        let (Ok(old), Ok(new)) = (name(choices), name(choices)) else { return };
        let union = self.union;
        let entry = match choices.byte() % 9 {
            0 => union.mknod(CALLER, to, new, Kind::File, 0o644, 0).ok(),
            1 => union.mkdir(CALLER, to, new, 0o755).ok(),
            2 => union.symlink(CALLER, to, new, OsStr::new("/")).ok(),
            3 => {
                let _ = union.unlink(from, old);
                None
            }
            4 => {
                let _ = union.rmdir(from, old);
                None
            }
            5 => {
                let found = self.look(from, old.as_os_str());
                found.and_then(|(node, _)| union.link(node, to, new).ok())
            }
            6 => {
                if let Some((node, _)) = self.look(from, old.as_os_str()) {
                    let _ = union.write(node, 3, b"written", None);
                    let change = SetAttr { perm: Some(0o600), size: None, ..SetAttr::default() };
                    let _ = union.setattr(CALLER, node, change);
                }
                None
            }
            _ => {
                let mode = choices.of(&[RenameMode::Replace, RenameMode::NoReplace, RenameMode::Exchange]);
                let _ = union.rename(from, old, to, new, mode);
                None
            }
        };
        self.references.extend(entry.map(|entry| entry.value.give_to_kernel().node));
    }

    fn dir(&mut self, choices: &mut Choices<'_>) -> NodeId {
        let mut at = NodeId::ROOT;
        for _ in 0..choices.byte() % 3 {
            if let Some((node, Kind::Directory)) =
                self.look(at, OsStr::new(choices.of(&["a", "b", "c", "x"])))
            {
                at = node;
            }
        }
        at
    }
}
