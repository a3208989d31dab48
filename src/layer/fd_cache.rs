//! A bounded cache of open descriptors, so that neither the number of files nor of directories in use bounds the union.

use std::num::NonZeroUsize;
use std::sync::{Arc, Weak};

use lru::LruCache;
use parking_lot::Mutex;

const SHARDS: usize = 8;

type Shard<T> = Mutex<LruCache<u64, Arc<T>>>;

/// Every cache of the process: descriptors are scarce for all of it at once.
static ALL: Mutex<Vec<Weak<dyn Release>>> = Mutex::new(Vec::new());

trait Release: Send + Sync {
    fn release(&self);
}

/// Closes what all caches keep, except what is in use just now.
pub fn release_all() {
    let caches: Vec<_> = ALL.lock().iter().filter_map(Weak::upgrade).collect();
    caches.iter().for_each(|cache| cache.release());
}

/// Least recently used descriptors are closed first. Values are shared: one that is in use stays open after it left the cache.
#[derive(Debug)]
pub struct FdCache<T> {
    shards: Arc<[Shard<T>; SHARDS]>,
}

impl<T: Send + Sync> Release for [Shard<T>; SHARDS] {
    fn release(&self) {
        self.iter().for_each(empty);
    }
}

fn empty<T>(shard: &Shard<T>) {
    let mut kept = Vec::new();
    {
        let mut shard = shard.lock();
        while let Some(entry) = shard.pop_lru() {
            kept.push(entry);
        }
    }
    drop(kept);
}

impl<T: Send + Sync + 'static> FdCache<T> {
    /// A cache of about `capacity` descriptors.
    pub fn new(capacity: usize) -> Self {
        let each = NonZeroUsize::new(capacity.div_ceil(SHARDS)).unwrap_or(NonZeroUsize::MIN);
        let shards: Arc<[Shard<T>; SHARDS]> =
            Arc::new(std::array::from_fn(|_| Mutex::new(LruCache::new(each))));
        let shared: Weak<dyn Release> = Arc::downgrade(&(shards.clone() as Arc<dyn Release>));
        let mut all = ALL.lock();
        all.retain(|cache| cache.strong_count() > 0);
        all.push(shared);
        Self { shards }
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

    /// Forgets those of which `is_over` says so.
    pub fn close_where(&self, mut is_over: impl FnMut(&T) -> bool) {
        for shard in self.shards.iter() {
            let mut closed = Vec::new();
            {
                let mut shard = shard.lock();
                let keys: Vec<u64> =
                    shard.iter().filter(|(_, value)| is_over(value)).map(|(key, _)| *key).collect();
                closed.extend(keys.iter().filter_map(|key| shard.pop(key)));
            }
            // close(2) comes after the lock.
            drop(closed);
        }
    }

    /// Forgets the descriptor kept under `key`.
    pub fn remove(&self, key: u64) {
        let removed = self.shard(key).lock().pop(&key);
        drop(removed);
    }
}
