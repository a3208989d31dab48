//! Nodes: the files and directories the kernel knows. State lives here, never on a name.

use std::ffi::{OsStr, OsString};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::{ArcRwLockReadGuard, ArcRwLockWriteGuard, Mutex, RawRwLock, RwLock};

use super::cookie::Spots;
use super::held::{Held, Parked};
use super::walk::DirStack;
use crate::layer::dir::RealDir;
use crate::types::{Birth, Kind, NodeId, RealId};

/// One file or directory of the union, however many names it has.
#[derive(Debug)]
pub struct Node {
    /// Its number.
    pub id: NodeId,
    /// Its kind, which never changes.
    pub kind: Kind,
    /// References: the kernel's lookups and the nodes that have this one as a parent. Changed only by the table, under the
    /// lock of the entry; never raised from zero.
    pub(super) refs: AtomicU64,
    /// Serialises changes of this node: copy-up, and for a directory changes of its entries. Held across system calls, so
    /// never taken while a lock of a table is; several at once only through [`super::locks::lock`].
    pub(super) gate: Mutex<()>,
    /// What the node is at present. Never locked across a system call.
    pub state: RwLock<State>,
}

/// What a node is at present.
#[derive(Debug)]
pub struct State {
    /// Its names in the union that are known; the first is the one to work with. Empty for the root and for removed files.
    pub(super) links: Links,
    /// Where its content is.
    pub body: Body,
}

impl State {
    /// The names in the union that are known; the first is the one to work with. None for the root and for removed files.
    pub fn links(&self) -> &[CountedLink] {
        &self.links
    }
}

/// A name in the union, as it is or was at some moment.
#[derive(Debug, Clone)]
pub struct Link {
    /// The directory.
    pub parent: Arc<Node>,
    /// The name in it.
    pub name: Arc<OsStr>,
    /// The upperdir has the file under this name; always so for a directory's or file's only name once it is copied up.
    pub in_upper: bool,
}

impl Link {
    /// Whether this is that name.
    pub fn is(&self, parent: &Arc<Node>, name: &OsStr) -> bool {
        Arc::ptr_eq(&self.parent, parent) && *self.name == *name
    }
}

/// A name that a node bears: a reference to its directory. Only the table makes and dissolves them.
#[derive(Debug)]
pub struct CountedLink(pub(super) Link);

impl std::ops::Deref for CountedLink {
    type Target = Link;

    fn deref(&self) -> &Link {
        &self.0
    }
}

/// The known names of a node: nearly always one.
pub type Links = smallvec::SmallVec<[CountedLink; 1]>;

/// A name and the version of its directory in which it was seen.
#[derive(Debug, Clone)]
pub struct Seen {
    /// The name.
    pub link: Link,
    /// `None`: the directory's gate is held, so nobody can have changed the name since.
    pub version: Option<Version>,
}

/// Where a node's content is.
#[derive(Debug)]
pub enum Body {
    /// In a lowerdir.
    Lower(LowerFile),
    /// In the upperdir.
    Upper(Box<UpperFile>),
    /// A directory, in any number of layers.
    Directory(Box<Directory>),
}

/// A file that has not been copied up. Its place never changes.
#[derive(Debug, Clone)]
pub struct LowerFile {
    /// Its directory in the lowerdir.
    pub dir: Arc<RealDir>,
    /// Its name there.
    pub name: Arc<OsStr>,
    /// Its identity.
    pub real: RealId,
    /// When it was made.
    pub birth: Birth,
    /// It has other names in the lowerdir.
    pub has_links: bool,
}

/// A file of the upperdir.
#[derive(Debug, Clone)]
pub struct UpperFile {
    /// Its identity.
    pub real: RealId,
    /// When it was made.
    pub birth: Birth,
    /// The lower file that this mount copied it from.
    pub copied_from: Option<RealId>,
    /// How it is reached.
    pub home: Home,
    /// All its names in lowerdirs stand for it too: it was copied up by this mount, or is in the index.
    pub covers_links: bool,
    /// Without an index: how many of its names in the union are those of lowerdirs only.
    pub extra_links: i64,
    /// Its entry in the index.
    pub index: Option<Arc<IndexEntry>>,
}

/// A copied-up hard link's entry in the index.
#[derive(Debug)]
pub struct IndexEntry {
    /// Name in the index directory.
    pub name: OsString,
    /// Number of links in the union less the number of links of the upper file.
    pub extra_links: AtomicI64,
    /// The mark `overlay.nlink` says just that, so that it stays right when a link is made or removed.
    pub noted: AtomicBool,
}

/// How an upper file, or a directory that was removed, is reached.
#[derive(Debug, Clone)]
pub enum Home {
    /// By the name of its first link, which is in the upperdir; of a removed directory: there is no upper one.
    Named,
    /// By its entry in the index: no name of it is in the upperdir yet.
    Indexed,
    /// By a descriptor: it has no name that we know of.
    Held(Arc<Held>),
    /// By a name in the work directory: it was removed while in use, and descriptors were scarce.
    Parked(Arc<Parked>),
}

/// A directory.
#[derive(Debug)]
pub struct Directory {
    /// The layers' directories it is made of.
    pub stack: DirStack,
    /// The mark `overlay.redirect` on the upper one.
    pub redirect: Option<Box<[u8]>>,
    /// The upper one is marked `overlay.impure`.
    pub impure: bool,
    /// Whether it has a default ACL; `None`: not yet asked.
    pub default_acl: Option<bool>,
    /// Removed from the union; nothing can be made in it any more.
    pub removed: bool,
    /// How the upper one is reached when it was removed.
    pub home: Home,
    /// Tells it from all others, also from those that have had its number.
    pub key: DirKey,
    /// The lower directory that it has been cut off from: listings that began there go on there, and new ones are merged, so that the
    /// two kinds of cookies are told apart.
    pub cut_off_from: Option<Arc<RealDir>>,
    /// Spots in listings of it that their number does not tell by itself.
    pub spots: Option<Box<Spots>>,
    /// Counts changes of its entries.
    pub changes: u64,
    /// Counts entries that were copied up, which changes nothing that is shown.
    pub copies: u64,
    /// Who may change the directory's times: all who change entries of it (readers of the lock), or one who publishes a copy in it and
    /// puts the times back (its writer). The last lock of an operation: taken when all its gates are, and held across system calls.
    pub times: Arc<RwLock<()>>,
}

/// What tells one directory's node from all others there have been.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DirKey(u64);

impl DirKey {
    /// One that nobody has.
    #[allow(clippy::new_without_default, reason = "no two are the same")]
    pub fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

impl Directory {
    /// A directory of the union, of which nothing is known but its layers.
    pub fn new(stack: DirStack) -> Self {
        Self {
            stack,
            redirect: None,
            impure: false,
            default_acl: None,
            removed: false,
            home: Home::Named,
            key: DirKey::new(),
            cut_off_from: None,
            spots: None,
            changes: 0,
            copies: 0,
            times: Arc::default(),
        }
    }
}

/// What a directory's entries were when they were looked at: equal as long as each is where it was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    changes: u64,
    copies: u64,
}

impl Drop for Node {
    /// Parents that only this node referred to go one by one: directories can be nested deeper than a stack is high.
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.state.get_mut().links);
        while let Some(link) = pending.pop() {
            if let Some(mut parent) = Arc::into_inner(link.0.parent) {
                pending.append(&mut parent.state.get_mut().links);
            }
        }
    }
}

impl Node {
    /// The root, which is never forgotten.
    pub fn root(directory: Directory) -> Self {
        let body = Body::Directory(Box::new(directory));
        Self::new(NodeId::ROOT, Kind::Directory, Links::new(), body)
    }

    /// A node with one reference.
    pub(super) fn new(id: NodeId, kind: Kind, links: Links, body: Body) -> Self {
        Self {
            id,
            kind,
            refs: AtomicU64::new(1),
            gate: Mutex::new(()),
            state: RwLock::new(State { links, body }),
        }
    }

    /// Whether this is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Directory
    }

    /// The directory's layers; `None` for other files.
    pub fn stack(&self) -> Option<DirStack> {
        match &self.state.read().body {
            Body::Directory(directory) => Some(directory.stack.clone()),
            _ => None,
        }
    }

    /// The name to work with.
    pub fn link(&self) -> Option<Link> {
        self.state.read().links.first().map(|link| link.0.clone())
    }

    /// The upperdir has the file under this name now.
    pub fn is_in_upper_as(&self, parent: &Arc<Node>, name: &OsStr) {
        let mut state = self.state.write();
        if let Some(known) = state.links.iter_mut().find(|link| link.is(parent, name)) {
            known.0.in_upper = true;
        }
    }

    /// Lets this name be the one to work with; `false` when the node does not bear it any more.
    pub fn prefer_link(&self, parent: &Arc<Node>, name: &OsStr) -> bool {
        let mut state = self.state.write();
        let known = state.links.iter().position(|link| link.is(parent, name));
        known.inspect(|position| state.links.swap(0, *position)).is_some()
    }

    /// Whether the file is in the upperdir (for a directory: has an upper part).
    pub fn is_upper(&self) -> bool {
        match &self.state.read().body {
            Body::Lower(_) => false,
            Body::Upper(_) => true,
            Body::Directory(directory) => directory.stack.upper.is_some(),
        }
    }

    /// Runs `change` on the directory's state; `None` for other files.
    pub fn with_dir<T>(&self, change: impl FnOnce(&mut Directory) -> T) -> Option<T> {
        match &mut self.state.write().body {
            Body::Directory(directory) => Some(change(directory)),
            _ => None,
        }
    }

    /// Runs `look` on the directory's state; `None` for other files.
    pub fn peek_dir<T>(&self, look: impl FnOnce(&Directory) -> T) -> Option<T> {
        match &self.state.read().body {
            Body::Directory(directory) => Some(look(directory)),
            _ => None,
        }
    }

    /// What the directory's entries are now; `None` for other files.
    pub fn version(&self) -> Option<Version> {
        self.peek_dir(|directory| Version { changes: directory.changes, copies: directory.copies })
    }

    /// To be held while entries of the directory change, so that no copy-up puts the times back that it had before. Never
    /// waits for one that waits itself, so two directories may be taken one after the other.
    pub fn times_change(&self) -> Option<ArcRwLockReadGuard<RawRwLock, ()>> {
        self.peek_dir(|directory| directory.times.clone()).map(|times| times.read_arc_recursive())
    }

    /// To be held from the look at the directory's times until they are put back.
    pub fn times_stay(&self) -> Option<ArcRwLockWriteGuard<RawRwLock, ()>> {
        self.peek_dir(|directory| directory.times.clone()).map(|times| times.write_arc())
    }

    /// One of an upper file's names is in the upperdir now, or is gone, that only lowerdirs had, and no index tells of it.
    pub fn loses_lower_name(&self) {
        if let Body::Upper(upper) = &mut self.state.write().body
            && upper.index.is_none()
        {
            upper.extra_links = (upper.extra_links - 1).max(0);
        }
    }

    /// The upper file's entry in the index.
    pub fn index_entry(&self) -> Option<Arc<IndexEntry>> {
        match &self.state.read().body {
            Body::Upper(upper) => upper.index.clone(),
            _ => None,
        }
    }
}
