//! Open descriptors of files, kept for those who use them next.
//!
//! What is open for writing is closed when nobody has used it for a while: an idle union does not keep the upperdir's filesystem from
//! being remounted read-only, frozen or unmounted elsewhere.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::layer::fd_cache::FdCache;
use crate::layer::stack::LayerInfo;
use crate::layer::waiting::Whereabouts;
use crate::types::NodeId;

/// What is not used for as long is closed, at the latest after twice as long.
const LIFE: Duration = Duration::from_secs(2);

/// An open file of a layer.
#[derive(Debug)]
pub struct OpenFile {
    /// Its descriptor.
    pub fd: Arc<OwnedFd>,
    /// The layer of a lower file, which is of no use once there is a copied-up one; `None`: in the upperdir.
    pub lower: Option<Arc<LayerInfo>>,
    /// It may be written to.
    pub writable: bool,
    /// It is append-only (`chattr +a`): open for writing at its end, and for nothing else.
    pub append_only: bool,
    /// When it was last used, by the clock.
    used: AtomicU32,
}

impl OpenFile {
    /// A file of the upperdir if `lower` is `None`.
    pub fn new(fd: OwnedFd, lower: Option<Arc<LayerInfo>>, writable: bool) -> Self {
        Self { fd: Arc::new(fd), lower, writable, append_only: false, used: AtomicU32::new(0) }
    }

    /// A file of the upperdir that can be written to at its end only.
    pub fn for_appending(fd: OwnedFd) -> Self {
        Self { append_only: true, ..Self::new(fd, None, true) }
    }

    /// Its descriptor, for a call.
    pub fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The files that are kept open, at most one for each node.
#[derive(Debug)]
pub struct OpenFiles {
    files: Arc<FdCache<OpenFile>>,
    clock: Arc<Clock>,
    closer: OnceLock<Closer>,
}

impl OpenFiles {
    /// Keeps about `capacity` of them.
    pub fn new(capacity: usize) -> Self {
        Self { files: Arc::new(FdCache::new(capacity)), clock: Arc::default(), closer: OnceLock::new() }
    }

    /// Starts the thread that closes what is open for writing and not used; it ends with the union.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn close_idle(&self) -> io::Result<()> {
        let (files, clock) = (Arc::downgrade(&self.files), self.clock.clone());
        let body = move || while close_idle(&files, &clock) {};
        let thread = thread::Builder::new().name("idle".to_owned()).spawn(body)?;
        self.closer.get_or_init(|| Closer(thread.thread().clone()));
        Ok(())
    }

    /// The file that is kept open for a node, which is in use now. From here on the thread is where that lies.
    pub fn get(&self, node: NodeId) -> Option<Arc<OpenFile>> {
        let file = self.files.get(node.0)?;
        file.used.store(self.clock.now(), Ordering::Relaxed);
        Whereabouts::enter(file.lower.as_ref().map_or(0, |layer| layer.index));
        Some(file)
    }

    /// Keeps a node's file open.
    pub fn keep(&self, node: NodeId, file: Arc<OpenFile>) {
        let writable = file.writable;
        file.used.store(self.clock.now(), Ordering::Relaxed);
        self.files.insert(node.0, file);
        if writable
            && !self.clock.runs.load(Ordering::Relaxed)
            && !self.clock.runs.swap(true, Ordering::Release)
            && let Some(Closer(thread)) = self.closer.get()
        {
            thread.unpark();
        }
    }

    /// Keeps no file of a node any more.
    pub fn forget(&self, node: NodeId) {
        self.files.remove(node.0);
    }
}

/// Counts spans of [`LIFE`] while something is open for writing.
#[derive(Debug, Default)]
struct Clock {
    now: AtomicU32,
    /// Whether something may be open for writing that is to be closed one day.
    runs: AtomicBool,
}

impl Clock {
    fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }
}

/// Wakes the thread that closes.
#[derive(Debug)]
struct Closer(Thread);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

/// Waits for as long as files live, and closes those that were not used meanwhile; for the first file, when there is none. Whether
/// there is still a union.
fn close_idle(files: &Weak<FdCache<OpenFile>>, clock: &Clock) -> bool {
    if !clock.runs.load(Ordering::Acquire) {
        if files.strong_count() == 0 {
            return false;
        }
        thread::park();
        return true;
    }
    let until = Instant::now() + LIFE;
    while let Some(left) = until.checked_duration_since(Instant::now())
        && !left.is_zero()
    {
        thread::park_timeout(left);
        if files.strong_count() == 0 {
            return false;
        }
    }
    let Some(files) = files.upgrade() else { return false };
    let now = clock.now.fetch_add(1, Ordering::Relaxed) + 1;
    // Before the look: what comes meanwhile starts it again.
    clock.runs.store(false, Ordering::Relaxed);
    let mut left = false;
    files.close_where(|file| {
        let idle = file.writable && now.wrapping_sub(file.used.load(Ordering::Relaxed)) > 1;
        left |= file.writable && !idle;
        idle
    });
    if left {
        clock.runs.store(true, Ordering::Relaxed);
    }
    true
}
