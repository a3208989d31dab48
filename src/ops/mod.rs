//! The operations of the union. Each returns plain values; none knows who asks or how the answer travels.

mod copy_up;
mod door;
pub mod effects;
mod entries;
mod file;
mod lookup;

use std::ffi::OsStr;
use std::sync::{Arc, OnceLock};

use rustix::fs::OFlags;

use crate::config::{Durability, UnionConfig};
use crate::error::{Result, SetupError};
use crate::format::namespace::MarkNamespace;
use crate::layer::dir::{DirOpener, RealDir};
use crate::layer::marker;
use crate::layer::open;
use crate::layer::stack::LayerInfo;
use crate::layer::store::{Disk, Store};
use crate::namespace::changes::Changes;
use crate::namespace::ino::Numbers;
use crate::namespace::node::{Directory, Node};
use crate::namespace::nodes::Nodes;
use crate::namespace::open_files::OpenFiles;
use crate::namespace::refs::{KeptRef, NodeRef};
use crate::namespace::snapshot::Order;
use crate::namespace::walk::DirStack;
use crate::owner::Owners;
use crate::sys::{self, At};
use crate::types::{Kind, NodeId};
use std::os::fd::{AsFd, OwnedFd};

pub use copy_up::long::Work;
pub use file::backing::Data;
pub use lookup::list::Visit;

use copy_up::CopyUp;
use entries::Entries;
use file::File;
use lookup::Lookup;
use lookup::modes::Modes;

/// A union of layers. All operations may be called from any number of threads.
///
/// Lookups, the creating operations and listings with attributes answer with a reference ([`NodeRef`]): as long as it lives, its
/// number finds the node. What is given to a kernel instead is taken back by [`Union::forget`]. The process's umask should be 0, or
/// creation modes are masked twice.
#[derive(Debug)]
pub struct Union {
    up: Arc<CopyUp>,
    entries: Entries,
    file: File,
}

/// Something to be done, once somebody has said what.
struct Hook<T>(OnceLock<Box<dyn Fn(T) + Send + Sync>>);

impl<T> Hook<T> {
    /// Only the first is heard.
    fn set(&self, call: impl Fn(T) + Send + Sync + 'static) {
        self.0.get_or_init(|| Box::new(call));
    }

    fn is_set(&self) -> bool {
        self.0.get().is_some()
    }

    fn call(&self, with: T) {
        if let Some(hook) = self.0.get() {
            hook(with);
        }
    }
}

impl<T> Default for Hook<T> {
    fn default() -> Self {
        Self(OnceLock::new())
    }
}

impl<T> std::fmt::Debug for Hook<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Hook").field(&self.is_set()).finish()
    }
}

#[derive(Debug)]
struct Options {
    redirect_dir: bool,
    /// Where the layers' marks are.
    marks: MarkNamespace,
    durability: Durability,
    /// How many descriptors of removed files are kept before they are parked in the work directory.
    held_limit: usize,
}

impl Union {
    /// Opens the layers. `mountpoint` is where the union will be mounted, so that layers it lies in can be told apart from
    /// the union itself.
    ///
    /// # Errors
    /// Names the option, the path and the remedy. Nothing was created then.
    pub fn open(
        config: &UnionConfig,
        mountpoint: Option<&sys::mount::Mountpoint>,
    ) -> Result<Self, SetupError> {
        Self::open_on(Arc::new(Disk), config, mountpoint)
    }

    /// Like [`Union::open`], on another storage than the machine's.
    ///
    /// # Errors
    /// As [`Union::open`].
    pub fn open_on(
        store: Arc<dyn Store>,
        config: &UnionConfig,
        mountpoint: Option<&sys::mount::Mountpoint>,
    ) -> Result<Self, SetupError> {
        let stack = open::stack(&store, config, mountpoint)?;
        let budget = Budget::of_process();
        let dirs = DirOpener::new(store.clone(), budget.dirs);
        let upper_root = stack.upper.as_ref().map(|upper| upper.root.clone());
        let changes_unseen = stack.upper.as_ref().is_some_and(|upper| upper.read_only);
        let root = root_node(&*store, stack.marks, &dirs, (upper_root, changes_unseen), stack.lowers.clone())
            .map_err(|error| SetupError::new("lowerdir", None, error, ""))?;
        let files = OpenFiles::new(budget.files);
        let options = Options {
            redirect_dir: config
                .redirect_dir
                .unwrap_or_else(|| stack.upper.as_ref().is_some_and(|upper| upper.format.is_trusted())),
            marks: stack.marks,
            durability: config.durability,
            held_limit: budget.held,
        };
        let lookup = Lookup {
            store,
            nodes: Arc::new(Nodes::new(Numbers::new(stack.filesystems), root, dirs, files)),
            upper: stack.upper,
            roots: stack.lowers,
            order: Order::default(),
            options,
            owners: Owners::of_process(config.id_map.clone()),
            modes: Modes::default(),
            changes: Changes::default(),
            attributes_changed: Hook::default(),
        };
        let up = Arc::new(CopyUp { lookup, long_work: Hook::default() });
        Ok(Self { entries: Entries::new(up.clone()), file: File::new(up.clone()), up })
    }

    /// Takes back what opening made: for when the union could not be mounted after all. Nothing was changed through it yet.
    pub fn undo_open(self) {
        let made = self.up.upper.as_ref().map_or(&[][..], |upper| &upper.made);
        made.iter().for_each(|made| made.undo(&*self.up.store));
    }

    /// Whom to tell of a node whose attributes have changed in passing: other ones than those that the operation in hand is known
    /// to change, such as the time of change (ctime) of a directory that was copied up for a file in it. Called with locks of
    /// nodes held, so it must neither come back to the union nor wait for anybody who does.
    pub fn set_attributes_changed(&self, hook: impl Fn(NodeId, Kind) + Send + Sync + 'static) {
        self.up.attributes_changed.set(move |(node, kind)| hook(node, kind));
    }

    /// Who does what takes long, and is waited for: a thread that serves others, or that gets to run only while nobody else wants to,
    /// had better give it to another one.
    pub fn set_long_work(&self, give: impl Fn(Work) + Send + Sync + 'static) {
        self.up.long_work.set(give);
    }

    /// Whether nothing can be changed: there is no upperdir, or it is only looked at.
    pub fn is_read_only(&self) -> bool {
        self.up.is_read_only()
    }

    /// Whether somebody else may change the upperdir meanwhile: whatever was answered may be different at the next moment.
    pub fn is_view(&self) -> bool {
        self.up.is_view()
    }

    /// The union has been mounted: as a filesystem with this device number, where that is known. Tells other mounts.
    pub fn mounted(&self, device: Option<(u32, u32)>) {
        if let Some(claim) = self.up.upper.as_ref().and_then(|upper| upper.claim.as_ref()) {
            claim.lock().mounted(device);
        }
    }

    /// Starts the thread that closes what is open for writing and not used, which ends with the union.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn close_idle_files(&self) -> std::io::Result<()> {
        self.up.nodes.files.close_idle()
    }

    /// Takes back `count` references to a node that a kernel was given (`NodeRef::give_to_kernel`).
    pub fn forget(&self, id: NodeId, count: u64) {
        self.up.nodes.forget(id, count);
    }

    /// Remembers nothing of a node that can be asked again: its open file, the names in it. For whoever has changed a layer by other ways
    /// than the union.
    pub fn refresh(&self, id: NodeId) {
        self.up.nodes.files.forget(id);
        self.up.nodes.snapshots.forget(id);
        // What others were answered is old now.
        drop(self.up.changes.begin());
    }

    /// The number of nodes in memory.
    pub fn live_nodes(&self) -> usize {
        self.up.nodes.len()
    }

    /// All layers, the upperdir first if there is one.
    pub fn layers(&self) -> impl Iterator<Item = &LayerInfo> {
        let upper = self.up.upper.iter().map(|upper| &upper.root);
        upper.chain(self.up.roots.iter()).map(|root| &**root.layer())
    }

    /// The directories that the union reads, and (`true`) those in which it makes changes.
    ///
    /// # Errors
    /// `ENOSPC`, `EDQUOT` while there is no room for a workdir: which ones it will be is not known.
    pub fn directories(&self) -> Result<Vec<(Arc<OwnedFd>, bool)>> {
        let mut all = Vec::new();
        for root in self.up.roots.iter() {
            all.push((self.up.nodes.dirs.open(root)?, false));
        }
        if let Some(upper) = &self.up.upper {
            all.push((self.up.nodes.dirs.open(&upper.root)?, !upper.read_only));
            let work = if upper.read_only { None } else { Some(upper.staging.dir()?) };
            for dir in work.into_iter().chain(upper.staging.index()) {
                let dir =
                    self.up.store.open(At::new(dir, OsStr::new(".")), OFlags::PATH | OFlags::DIRECTORY, 0)?;
                all.push((Arc::new(dir), !upper.read_only));
            }
        }
        Ok(all)
    }

    /// When anything was changed, for those who keep what they were answered.
    pub fn changes(&self) -> &Changes {
        &self.up.changes
    }

    /// Whether a node's file is one of the upperdir.
    pub fn is_in_upper(&self, id: NodeId) -> bool {
        self.up.node(id).is_ok_and(|node| node.is_upper())
    }

    /// A reference that may be kept for any time, and dropped by any thread.
    pub fn keep(&self, node: NodeRef<'_>) -> KeptRef {
        node.keep(&self.up.nodes)
    }
}

/// How often something is tried that must not fail any more.
const TRIES: usize = 3;

/// What comes after a change that has been made: only what fails again and again fails.
fn insist<T>(attempt: impl Fn() -> Result<T>) -> Result<T> {
    let mut outcome = attempt();
    for _ in 1..TRIES {
        if outcome.is_ok() {
            break;
        }
        outcome = attempt();
    }
    outcome
}

/// How many descriptors are kept, each for what it is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Budget {
    dirs: usize,
    files: usize,
    held: usize,
}

impl Budget {
    /// What requests in hand have open at a time, and whatever else the process opens later.
    const TRANSIENT: usize = 24;

    /// To be asked when the layers are open, each of which takes one.
    fn of_process() -> Self {
        let open = sys::process::open_files().unwrap_or_else(|error| {
            log::debug!("how many files are open is not known: {error}");
            0
        });
        Self::new(sys::process::fd_limit(), open)
    }

    fn new(limit: usize, open: usize) -> Self {
        let each = limit.saturating_sub(open + Self::TRANSIENT) / 4;
        Self { dirs: each.clamp(4, 8192), files: each.clamp(4, 4096), held: each }
    }
}

fn root_node(
    store: &dyn Store,
    namespace: MarkNamespace,
    dirs: &DirOpener,
    (upper, changes_unseen): (Option<Arc<RealDir>>, bool),
    lowers: Arc<[Arc<RealDir>]>,
) -> Result<Node> {
    let mut impure = false;
    for dir in upper.iter().chain(lowers.iter()) {
        let fd = dirs.open(dir)?;
        let marks = marker::read(store, namespace, At::this(fd.as_fd()))?;
        dir.note_marks(&marks);
        // An opaque directory keeps that mark when whiteouts come into it; the root is merged all the same.
        if dir.layer().is_upper() && (marks.opaque || changes_unseen) {
            dir.set_xattr_whiteouts();
        }
        impure |= marks.impure && dir.layer().is_upper();
    }
    let directory = Directory { impure, ..Directory::new(DirStack { upper, lowers }) };
    Ok(Node::root(directory))
}
