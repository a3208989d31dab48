//! What a thread that serves a request is at, for others to see: which layer it waits for, and whether it had better give up.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use super::stack::LayerIndex;

thread_local! {
    static HERE: Arc<Whereabouts> = Arc::default();
}

/// In place of a layer while none was entered.
const NOWHERE: u32 = 0;

/// Of one thread. Only that thread says where it is.
#[derive(Debug, Default)]
pub struct Whereabouts {
    layer: AtomicU32,
    interrupted: AtomicBool,
}

impl Whereabouts {
    /// Those of the calling thread.
    pub fn here() -> Arc<Self> {
        HERE.with(Arc::clone)
    }

    /// A request begins.
    pub fn begin(&self) {
        self.layer.store(NOWHERE, Ordering::Relaxed);
        self.interrupted.store(false, Ordering::Relaxed);
    }

    /// The calling thread is about to make calls on a layer.
    pub fn enter(layer: LayerIndex) {
        HERE.with(|here| here.layer.store(u32::from(layer) + 1, Ordering::Relaxed));
    }

    /// The layer that was entered last by the request in hand.
    pub fn layer(&self) -> Option<LayerIndex> {
        LayerIndex::try_from(self.layer.load(Ordering::Relaxed).checked_sub(1)?).ok()
    }

    /// Nobody waits for the request in hand any more: what takes long ends with `EINTR` at the next opportunity.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Relaxed);
    }

    /// Whether nobody waits any more.
    pub fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_tells_where_it_is() {
        let here = Whereabouts::here();
        here.begin();
        assert_eq!(here.layer(), None);
        Whereabouts::enter(0);
        assert_eq!(here.layer(), Some(0));
        Whereabouts::enter(LayerIndex::MAX);
        assert_eq!(here.layer(), Some(LayerIndex::MAX));
        std::thread::spawn(|| Whereabouts::enter(3)).join().unwrap();
        assert_eq!(here.layer(), Some(LayerIndex::MAX));
        here.interrupt();
        assert!(here.is_interrupted());
        here.begin();
        assert!(!here.is_interrupted() && here.layer().is_none());
    }
}
