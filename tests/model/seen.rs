//! What a union shows.

use std::collections::BTreeMap;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use unionfuse::types::{Attr, Kind, NodeId};

use super::tree::{File, Id, Tree};
use crate::kit::bench::{Answer, Bench, errno};

/// What users see of one entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    /// Not told of directories: what it counts there differs between filesystems.
    pub links: Option<u32>,
    pub size: Option<u64>,
    pub content: Vec<u8>,
    pub attributes: BTreeMap<String, Vec<u8>>,
    /// `None` where it is the time of day.
    pub modified: Option<i64>,
}

/// Everything a union shows, and the number of each entry.
pub type Facts = BTreeMap<Vec<u8>, (Fact, NodeId)>;

/// The content of a file, or the target of a symlink.
pub fn content(bench: &Bench, attr: &Attr) -> Answer<Vec<u8>> {
    match attr.kind {
        Kind::File => {
            // One byte more, to see that there is none.
            let mut data = vec![0; usize::try_from(attr.size).unwrap() + 1];
            let count = errno(bench.raw().read(attr.node, 0, &mut data))?;
            data.truncate(count);
            Ok(data)
        }
        Kind::Symlink => Ok(errno(bench.raw().read_link(attr.node))?.as_bytes().to_vec()),
        _ => Ok(Vec::new()),
    }
}

/// The fact of a node, by whatever name.
pub fn fact(bench: &Bench, attr: &Attr) -> Answer<Fact> {
    let list = errno(bench.raw().list_xattr(crate::kit::bench::ROOT, attr.node))?;
    let mut attributes = BTreeMap::new();
    for name in list.split(|&byte| byte == 0).filter(|name| !name.is_empty()) {
        let value = errno(bench.raw().get_xattr(attr.node, std::ffi::OsStr::from_bytes(name)))?;
        attributes.insert(String::from_utf8_lossy(name).into_owned(), value);
    }
    let of_file = attr.kind != Kind::Directory;
    Ok(Fact {
        kind: attr.kind,
        mode: u32::from(attr.perm),
        owner: (attr.uid, attr.gid),
        links: of_file.then_some(attr.nlink),
        size: of_file.then_some(attr.size),
        content: content(bench, attr)?,
        attributes,
        modified: Some(attr.mtime.sec),
    })
}

/// Everything; each entry of a listing must be found and be the node that was listed.
pub fn everything(bench: &Bench) -> Facts {
    let mut all = Facts::new();
    let mut pending = vec![PathBuf::new()];
    while let Some(path) = pending.pop() {
        let attr = bench.stat(&path).unwrap_or_else(|errno| panic!("stat {path:?}: {errno}"));
        if attr.kind == Kind::Directory {
            let entries = bench.list(&path).unwrap_or_else(|errno| panic!("list {path:?}: {errno}"));
            pending.extend(entries.iter().map(|entry| check_listed(bench, &path, entry)));
        }
        let fact = fact(bench, &attr).unwrap_or_else(|errno| panic!("look at {path:?}: {errno}"));
        let before = all.insert(path.as_os_str().as_bytes().to_vec(), (fact, attr.node));
        assert!(before.is_none(), "{path:?} is listed twice");
    }
    all
}

fn check_listed(bench: &Bench, dir: &Path, entry: &unionfuse::types::DirEntry) -> PathBuf {
    let path = dir.join(&entry.name);
    let attr = bench.stat(&path).unwrap_or_else(|errno| panic!("{path:?} is listed, but: {errno}"));
    assert_eq!((entry.node, entry.kind), (attr.node, attr.kind), "{path:?}: listing and lookup differ");
    path
}

/// What a file of the model must look like.
pub fn expected(file: &File) -> Fact {
    let of_file = !file.is_dir();
    Fact {
        kind: file.kind,
        mode: file.mode,
        owner: file.owner,
        links: of_file.then_some(file.links),
        size: of_file.then_some(file.data.len() as u64),
        content: file.data.clone(),
        attributes: file.attributes.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        modified: file.modified,
    }
}

/// Everything the model holds.
pub fn expected_all(tree: &Tree) -> BTreeMap<Vec<u8>, (Fact, Id)> {
    tree.paths().into_iter().map(|(path, id)| (path, (expected(tree.file(id)), id))).collect()
}

/// How two facts differ, in short: contents may be long.
pub fn difference(expected: Option<&Fact>, found: Option<&Fact>) -> Option<String> {
    let (Some(left), Some(right)) = (expected, found) else {
        return match (expected, found) {
            (None, None) => None,
            (Some(fact), _) => Some(format!("missing, should be {:?}", fact.kind)),
            (_, Some(fact)) => Some(format!("should not be there, but is {:?}", fact.kind)),
        };
    };
    let mut right = right.clone();
    if left.modified.is_none() {
        right.modified = None;
    }
    if *left == right {
        return None;
    }
    let short = |fact: &Fact| {
        let text = fact.content.iter().take(60).copied().collect::<Vec<_>>();
        format!("{:?}, content {}…", Fact { content: Vec::new(), ..fact.clone() }, text.escape_ascii())
    };
    Some(format!("\n        should be {}\n        but is    {}", short(left), short(&right)))
}
