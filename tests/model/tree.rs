//! A filesystem in memory, as POSIX has it: what a union must look like from above.

use std::collections::BTreeMap;

use rustix::io::Errno;
use unionfuse::types::{Kind, RenameMode};

use super::name::Name;
use super::script::may_have;
use crate::kit::bench::Answer;

/// A file of the model. Files are never reused, so this is an identity.
pub type Id = usize;

pub const ROOT: Id = 0;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    pub kind: Kind,
    pub mode: u32,
    pub owner: (u32, u32),
    /// The content, or the target of a symlink.
    pub data: Vec<u8>,
    pub attributes: BTreeMap<&'static str, Vec<u8>>,
    /// A union counts the names that hide in lowers too; not kept for directories.
    pub links: u32,
    /// `None` once the script has touched it: then it is the time of day.
    pub modified: Option<i64>,
    pub entries: BTreeMap<Vec<u8>, Id>,
    /// A directory that has no name any more.
    pub removed: bool,
}

impl File {
    pub fn new(kind: Kind, mode: u32) -> Self {
        Self {
            kind,
            mode,
            owner: (0, 0),
            data: Vec::new(),
            attributes: BTreeMap::new(),
            links: 1,
            modified: None,
            entries: BTreeMap::new(),
            removed: false,
        }
    }

    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }
}

#[derive(Debug, Clone)]
pub struct Tree {
    files: Vec<File>,
}

impl Tree {
    pub fn new(root: File) -> Self {
        Self { files: vec![root] }
    }

    pub fn file(&self, id: Id) -> &File {
        &self.files[id]
    }

    pub fn file_mut(&mut self, id: Id) -> &mut File {
        &mut self.files[id]
    }

    pub fn add(&mut self, file: File) -> Id {
        self.files.push(file);
        self.files.len() - 1
    }

    /// Every path there is.
    pub fn paths(&self) -> BTreeMap<Vec<u8>, Id> {
        let mut all = BTreeMap::from([(Vec::new(), ROOT)]);
        let mut pending = vec![(Vec::new(), ROOT)];
        while let Some((path, id)) = pending.pop() {
            for (name, &child) in &self.files[id].entries {
                let path = if path.is_empty() { name.clone() } else { [&path[..], b"/", name].concat() };
                pending.push((path.clone(), child));
                all.insert(path, child);
            }
        }
        all
    }

    fn child(&self, dir: Id, name: &[u8]) -> Answer<Option<Id>> {
        if !self.files[dir].is_dir() {
            return Err(Errno::NOTDIR);
        }
        Ok(self.files[dir].entries.get(name).copied())
    }

    fn walk(&self, path: &[u8]) -> Answer<Id> {
        let mut at = ROOT;
        for name in path.split(|&byte| byte == b'/').filter(|name| !name.is_empty()) {
            at = self.child(at, name)?.ok_or(Errno::NOENT)?;
        }
        Ok(at)
    }

    pub fn find(&self, name: Name) -> Answer<Id> {
        self.walk(name.0)
    }

    fn parent(&self, name: Name) -> Answer<(Id, &'static [u8])> {
        let (dir, last) = name.split();
        Ok((self.walk(dir)?, last))
    }

    pub fn make(&mut self, name: Name, file: File) -> Answer<Id> {
        let (dir, last) = self.parent(name)?;
        self.make_in(dir, last, file)
    }

    pub fn make_in(&mut self, dir: Id, last: &[u8], file: File) -> Answer<Id> {
        let taken = self.child(dir, last)?.is_some();
        if self.files[dir].removed {
            return Err(Errno::NOENT);
        }
        if taken {
            return Err(Errno::EXIST);
        }
        let id = self.add(file);
        self.enter(dir, last, id);
        Ok(id)
    }

    fn enter(&mut self, dir: Id, last: &[u8], id: Id) {
        self.files[dir].entries.insert(last.to_vec(), id);
        self.files[dir].modified = None;
    }

    fn leave(&mut self, dir: Id, last: &[u8]) {
        self.files[dir].entries.remove(last);
        self.files[dir].modified = None;
    }

    /// What loses a name, its last one perhaps.
    fn lose(&mut self, id: Id) {
        let file = &mut self.files[id];
        if file.is_dir() {
            file.removed = true;
        } else {
            file.links -= 1;
        }
    }

    pub fn link(&mut self, from: Name, to: Name) -> Answer<()> {
        let id = self.find(from)?;
        self.link_file(id, to)
    }

    pub fn link_file(&mut self, id: Id, to: Name) -> Answer<()> {
        let (dir, last) = self.parent(to)?;
        let taken = self.child(dir, last)?;
        if self.files[id].is_dir() {
            return Err(Errno::PERM);
        }
        if self.files[id].links == 0 {
            return Err(Errno::NOENT);
        }
        if taken.is_some() {
            return Err(Errno::EXIST);
        }
        self.files[id].links += 1;
        self.enter(dir, last, id);
        Ok(())
    }

    pub fn unlink(&mut self, name: Name) -> Answer<()> {
        let (dir, last) = self.parent(name)?;
        let id = self.child(dir, last)?.ok_or(Errno::NOENT)?;
        if self.files[id].is_dir() {
            return Err(Errno::ISDIR);
        }
        self.leave(dir, last);
        self.lose(id);
        Ok(())
    }

    pub fn rmdir(&mut self, name: Name) -> Answer<()> {
        let (dir, last) = self.parent(name)?;
        let id = self.child(dir, last)?.ok_or(Errno::NOENT)?;
        if !self.files[id].is_dir() {
            return Err(Errno::NOTDIR);
        }
        if !self.files[id].entries.is_empty() {
            return Err(Errno::NOTEMPTY);
        }
        self.leave(dir, last);
        self.lose(id);
        Ok(())
    }

    pub fn rename(&mut self, from: Name, to: Name, mode: RenameMode) -> Answer<()> {
        let ((dir, last), (new_dir, new_last)) = (self.parent(from)?, self.parent(to)?);
        // The engine looks at both parents before it looks at a name.
        self.child(new_dir, new_last)?;
        let source = self.child(dir, last)?.ok_or(Errno::NOENT)?;
        let target = self.child(new_dir, new_last)?;
        if self.is_inside(new_dir, source) {
            return Err(Errno::INVAL);
        }
        match (target, mode) {
            (None, RenameMode::Exchange) => return Err(Errno::NOENT),
            (Some(_), RenameMode::NoReplace) => return Err(Errno::EXIST),
            (Some(target), RenameMode::Exchange) if self.is_inside(dir, target) => return Err(Errno::INVAL),
            (Some(target), RenameMode::Replace) => self.may_replace(source, target)?,
            _ => {}
        }
        if target == Some(source) {
            return Ok(());
        }
        self.leave(dir, last);
        if let Some(target) = target {
            match mode {
                RenameMode::Exchange => self.enter(dir, last, target),
                _ => self.lose(target),
            }
        }
        self.enter(new_dir, new_last, source);
        Ok(())
    }

    fn may_replace(&self, source: Id, target: Id) -> Answer<()> {
        let (from, to) = (&self.files[source], &self.files[target]);
        match (from.is_dir(), to.is_dir()) {
            (true, false) => Err(Errno::NOTDIR),
            (false, true) => Err(Errno::ISDIR),
            _ if source != target && !to.entries.is_empty() => Err(Errno::NOTEMPTY),
            _ => Ok(()),
        }
    }

    fn is_inside(&self, dir: Id, ancestor: Id) -> bool {
        dir == ancestor || self.files[ancestor].entries.values().any(|&child| self.is_inside(dir, child))
    }

    pub fn write(&mut self, id: Id, offset: usize, data: &[u8]) -> Answer<()> {
        let file = self.data_of(id)?;
        let end = offset + data.len();
        file.data.resize(file.data.len().max(end), 0);
        file.data[offset..end].copy_from_slice(data);
        file.modified = None;
        Ok(())
    }

    pub fn truncate(&mut self, id: Id, size: usize) -> Answer<()> {
        let file = self.data_of(id)?;
        file.data.resize(size, 0);
        file.modified = None;
        Ok(())
    }

    fn data_of(&mut self, id: Id) -> Answer<&mut File> {
        match self.files[id].kind {
            Kind::File => Ok(&mut self.files[id]),
            Kind::Directory => Err(Errno::ISDIR),
            _ => Err(Errno::INVAL),
        }
    }

    pub fn chmod(&mut self, id: Id, perm: u32) -> Answer<()> {
        if self.files[id].kind == Kind::Symlink {
            return Err(Errno::OPNOTSUPP);
        }
        self.files[id].mode = perm;
        Ok(())
    }

    pub fn set_attribute(&mut self, id: Id, name: &'static str, value: Vec<u8>) -> Answer<()> {
        let file = &mut self.files[id];
        may_have(file.kind, name)?;
        file.attributes.insert(name, value);
        Ok(())
    }

    pub fn remove_attribute(&mut self, id: Id, name: &str) -> Answer<()> {
        let file = &mut self.files[id];
        may_have(file.kind, name)?;
        file.attributes.remove(name).map(drop).ok_or(Errno::NODATA)
    }
}
