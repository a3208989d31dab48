//! `-o passthrough`: the kernel reads and writes files in the layers by itself.
//!
//! While an inode is open, the kernel wants all its opens to be of one way: through one backing file, or through its own page
//! cache and us (`fs/fuse/iomode.c`; it answers EIO to whoever breaks the rule). A lower file's place is taken by another one
//! when it is copied up, so it goes through us, and so does everyone who opens it while somebody has it open that way. They all
//! see what is written, as without this mode. What is in the upperdir stays where it is, and goes through the backing file.

use std::io;
use std::os::fd::BorrowedFd;
use std::sync::Arc;
use std::time::Duration;

use dashmap::DashMap;
use dashmap::mapref::entry::Entry;
use fuser::{
    BackingId, FileAttr, FileHandle, FopenFlags, Generation, InitFlags, KernelConfig, OpenAccMode, OpenFlags,
    ReplyCreate, ReplyOpen,
};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::ops::Union;
use crate::types::NodeId;

/// What is asked of the kernel for it. `O_TRUNC` comes with the open, so that no data is copied up that is not wanted.
const WANTED: InitFlags = InitFlags::FUSE_PASSTHROUGH.union(InitFlags::FUSE_ATOMIC_O_TRUNC);

/// Layers that are stacked filesystems themselves are served without: so others can still be stacked on the union.
const STACK_DEPTH: u32 = 1;

/// How the data of an open file travels.
#[derive(Debug, Clone)]
pub(super) enum Way {
    /// By requests to us, and the page cache of the union.
    Cached,
    /// Directly, by this file.
    Direct(Arc<BackingId>),
}

/// Opens are told apart by what they were for, which comes with their release.
const NO_HANDLE: FileHandle = FileHandle(0);

impl Way {
    pub(super) fn reply_opened(&self, reply: ReplyOpen) {
        match self {
            Self::Cached => reply.opened(NO_HANDLE, FopenFlags::FOPEN_KEEP_CACHE),
            Self::Direct(file) => reply.opened_passthrough(NO_HANDLE, FopenFlags::empty(), file),
        }
    }

    pub(super) fn reply_created(&self, lifetime: Duration, attr: &FileAttr, reply: ReplyCreate) {
        let (first, none) = (Generation(0), FopenFlags::empty());
        match self {
            Self::Cached => reply.created(&lifetime, attr, first, NO_HANDLE, FopenFlags::FOPEN_KEEP_CACHE),
            Self::Direct(file) => reply.created_passthrough(&lifetime, attr, first, NO_HANDLE, none, file),
        }
    }
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Access {
    /// Its data will change.
    pub(super) writes: bool,
    /// It is written to at its end only.
    pub(super) appends: bool,
    /// Its data goes away at once.
    pub(super) empties: bool,
    /// Data can be written through it. `O_TRUNC` does not count: the release does not tell of it (`do_dentry_open`).
    is_writer: bool,
    /// It may be mapped for writing, and no request tells of writes to a mapping.
    maps: bool,
}

impl Access {
    pub(super) fn of(flags: OpenFlags) -> Self {
        let mode = flags.acc_mode();
        let empties = flags.0 & libc::O_TRUNC != 0;
        let is_writer = mode != OpenAccMode::O_RDONLY;
        let writes = empties || is_writer;
        let appends = flags.0 & libc::O_APPEND != 0;
        Self { writes, appends, empties, is_writer, maps: mode == OpenAccMode::O_RDWR }
    }
}

/// A node that is open.
#[derive(Debug)]
struct OpenNode {
    way: Way,
    opens: usize,
    /// How many of the opens are for writing.
    writers: usize,
    /// How many of the opens may be mapped for writing.
    maps: usize,
}

/// The ways of all open nodes. A file is released before its node is forgotten, so no other node comes by its way.
#[derive(Debug, Default)]
pub(super) struct Passthrough {
    opened: DashMap<NodeId, OpenNode>,
}

/// Agrees with the kernel on the mode.
///
/// # Errors
/// When the kernel does not have it.
pub(super) fn negotiate(config: &mut KernelConfig) -> io::Result<()> {
    let lacks = |_| {
        io::Error::other(
            "option 'passthrough': the kernel does not have it (Linux 6.9, CONFIG_FUSE_PASSTHROUGH); mount without",
        )
    };
    config.add_capabilities(WANTED).map_err(lacks)?;
    config.set_max_stack_depth(STACK_DEPTH).map_err(|_| io::Error::other("stack depth"))?;
    Ok(())
}

impl Passthrough {
    /// Counts one more open of `node` and says how its data travels. `register` tells the kernel of a backing file.
    pub(super) fn open(
        &self,
        union: &Union,
        node: NodeId,
        access: Access,
        register: impl FnOnce(BorrowedFd<'_>) -> io::Result<BackingId>,
    ) -> Result<Way> {
        let is_direct = || self.opened.get(&node).is_some_and(|opened| matches!(opened.way, Way::Direct(_)));
        if access.writes && !access.appends && is_direct() {
            // The kernel opens the file for itself, and does not look at its flags.
            union.check_overwriting(node)?;
        }
        if let Some(mut opened) = self.opened.get_mut(&node) {
            return Ok(opened.join(access));
        }
        let way = match union.open_data(node, access.writes)? {
            Some(data) => way_through(register(std::os::fd::AsFd::as_fd(&data)))?,
            None => Way::Cached,
        };
        // Of two that come here at once the first decides; the other's file is let go when no lock is held any more.
        let (way, _unused) = match self.opened.entry(node) {
            Entry::Occupied(mut opened) => (opened.get_mut().join(access), Some(way)),
            Entry::Vacant(free) => {
                (free.insert(OpenNode { way, opens: 0, writers: 0, maps: 0 }).join(access), None)
            }
        };
        Ok(way)
    }

    /// Takes one open back.
    pub(super) fn release(&self, node: NodeId, access: Access) {
        let last = self.opened.remove_if_mut(&node, |_, opened| {
            opened.opens = opened.opens.saturating_sub(1);
            opened.writers = opened.writers.saturating_sub(usize::from(access.is_writer));
            opened.maps = opened.maps.saturating_sub(usize::from(access.maps));
            opened.opens == 0
        });
        // The system call that lets the file go comes after the lock.
        drop(last);
    }

    /// Whether attributes of `node` may change without anybody's telling.
    pub(super) fn changes_unseen(&self, node: NodeId) -> bool {
        self.opened.get(&node).is_some_and(|opened| opened.changes_unseen())
    }

    /// Whether data of `node` may be written without our seeing it.
    pub(super) fn is_written_unseen(&self, node: NodeId) -> bool {
        self.opened
            .get(&node)
            .is_some_and(|opened| opened.writers > 0 && matches!(opened.way, Way::Direct(_)))
    }

    /// How long attributes of `node` may be remembered that could be remembered for `usual`.
    pub(super) fn lifetime(&self, node: NodeId, usual: Duration) -> Duration {
        if self.changes_unseen(node) { Duration::ZERO } else { usual }
    }
}

impl OpenNode {
    fn join(&mut self, access: Access) -> Way {
        self.opens += 1;
        self.writers += usize::from(access.is_writer);
        self.maps += usize::from(access.maps);
        self.way.clone()
    }

    fn changes_unseen(&self) -> bool {
        self.maps > 0 && matches!(self.way, Way::Direct(_))
    }
}

/// A file of a kind the kernel does not pass data through to is served as usual. Any other failure is temporary: the file may
/// be mapped, and one that is must not be read in another way.
fn way_through(registered: io::Result<BackingId>) -> Result<Way> {
    match registered {
        Ok(id) => Ok(Way::Direct(Arc::new(id))),
        Err(error) => match error.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::LOOP | Errno::INVAL | Errno::OPNOTSUPP | Errno::PERM) => {
                log::debug!("a file is not passed through: {error}");
                Ok(Way::Cached)
            }
            errno => Err(Error::refused(errno.unwrap_or(Errno::IO), "no backing file for passthrough")),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel forgets `O_TRUNC` when a file is open.
    #[test]
    fn what_an_open_counts_its_release_takes_back() {
        for flags in [libc::O_RDONLY, libc::O_WRONLY, libc::O_RDWR] {
            let opened = Access::of(OpenFlags(flags | libc::O_TRUNC));
            let node = NodeId(7);
            let passthrough = Passthrough::default();
            let entry = OpenNode { way: Way::Cached, opens: 1, writers: 0, maps: 0 };
            passthrough.opened.insert(node, entry);
            passthrough.opened.get_mut(&node).unwrap().join(opened);
            passthrough.release(node, Access::of(OpenFlags(flags)));
            let left = passthrough.opened.get(&node).unwrap();
            assert_eq!((left.opens, left.writers, left.maps), (1, 0, 0), "{flags}");
        }
    }
}
