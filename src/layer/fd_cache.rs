//! A bounded cache of open descriptors, so that neither the number of files nor of directories in use bounds the union.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use parking_lot::Mutex;

const SHARDS: usize = 8;

type Shard<T> = Mutex<LruCache<u64, Arc<T>>>;

/// Least recently used descriptors are closed first. Values are shared: one that is in use stays open after it left the cache.
#[derive(Debug)]
pub struct FdCache<T> {
    shards: Box<[Shard<T>]>,
}

impl<T> FdCache<T> {
    /// A cache of about `capacity` descriptors.
    pub fn new(capacity: usize) -> Self {
        let each = NonZeroUsize::new(capacity.div_ceil(SHARDS)).unwrap_or(NonZeroUsize::MIN);
        Self { shards: (0..SHARDS).map(|_| Mutex::new(LruCache::new(each))).collect() }
    }

    fn shard(&self, key: u64) -> &Shard<T> {
        // Inode numbers of one directory are neighbours; multiplying spreads them over the shards.
        let spread = key.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 61;
        &self.shards[usize::try_from(spread).unwrap_or(0) % SHARDS]
    }

    /// The descriptor kept under `key`.
    pub fn get(&self, key: u64) -> Option<Arc<T>> {
        self.shard(key).lock().get(&key).cloned()
    }

    /// Keeps a descriptor.
    pub fn insert(&self, key: u64, value: Arc<T>) {
        // Bound to a name so that a close(2) caused by the eviction happens after the lock is gone.
        let evicted = self.shard(key).lock().push(key, value);
        drop(evicted);
    }

    /// Forgets the descriptor kept under `key`.
    pub fn remove(&self, key: u64) {
        let removed = self.shard(key).lock().pop(&key);
        drop(removed);
    }

    /// Forgets all descriptors.
    pub fn clear(&self) {
        for shard in &self.shards {
            let mut kept = Vec::new();
            {
                let mut shard = shard.lock();
                while let Some(entry) = shard.pop_lru() {
                    kept.push(entry);
                }
            }
            drop(kept);
        }
    }
}
