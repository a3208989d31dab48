//! What is open for writing is closed when nobody has used it for a while: an idle union does not keep the upperdir's filesystem from
//! being remounted read-only, frozen or unmounted elsewhere.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use super::Union;
use super::file::OpenFile;
use crate::layer::fd_cache::FdCache;

/// What is not used for as long is closed, at the latest after twice as long.
const LIFE: Duration = Duration::from_secs(2);

/// Counts spans of [`LIFE`] while something is open for writing.
#[derive(Debug, Default)]
pub(super) struct Clock {
    now: AtomicU32,
    /// Whether something may be open for writing that is to be closed one day.
    runs: AtomicBool,
}

impl Clock {
    pub(super) fn now(&self) -> u32 {
        self.now.load(Ordering::Relaxed)
    }
}

/// Wakes the thread that closes.
#[derive(Debug)]
pub(super) struct Closer(Thread);

impl Drop for Closer {
    fn drop(&mut self) {
        self.0.unpark();
    }
}

impl Union {
    /// Starts the thread that closes what is open for writing and not used, which ends with the union.
    ///
    /// # Errors
    /// Those of starting a thread.
    pub fn close_idle_files(&mut self) -> io::Result<()> {
        let (files, clock) = (Arc::downgrade(&self.files), self.clock.clone());
        let body = move || while close_idle(&files, &clock) {};
        let thread = thread::Builder::new().name("idle".to_owned()).spawn(body)?;
        self.closer = Some(Closer(thread.thread().clone()));
        Ok(())
    }

    /// Keeps a file that was opened.
    pub(super) fn keep_open(&self, node: u64, file: Arc<OpenFile>) {
        let writable = file.writable;
        self.files.insert(node, file);
        if writable
            && !self.clock.runs.load(Ordering::Relaxed)
            && !self.clock.runs.swap(true, Ordering::Release)
            && let Some(Closer(thread)) = &self.closer
        {
            thread.unpark();
        }
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
