//! What the kernel is told beside replies.
//!
//! Both notifications take no lock of the inode (`fuse_reverse_inval_inode`), so a request may wait for them if somebody uses the
//! inode meanwhile. One that the kernel is about to give up is waited for until its pages are written, which may be the very
//! request in hand.

use std::cell::Cell;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, OnceLock};
use std::thread;

use fuser::{INodeNo, Notifier};
use parking_lot::Mutex;

use crate::types::Kind;

thread_local! {
    static ANSWERING: Cell<Option<INodeNo>> = const { Cell::new(None) };
}

/// The request in hand is a change of this node that the kernel knows of: until dropped, it is not told of it again.
pub(super) struct Answering;

/// To be held while such a request is served.
pub(super) fn answering(ino: INodeNo) -> Answering {
    ANSWERING.set(Some(ino));
    Answering
}

impl Drop for Answering {
    fn drop(&mut self) {
        ANSWERING.set(None);
    }
}

/// Tells the kernel of nodes whose attributes have changed in passing.
pub(super) struct Notices {
    notifier: Arc<OnceLock<Notifier>>,
    files: Sender<INodeNo>,
    /// Those that wait to be told of: each once, however often it changes.
    waiting: Arc<Mutex<HashSet<INodeNo>>>,
}

impl Notices {
    /// Starts the thread that waits in the place of requests.
    pub(super) fn start(notifier: Arc<OnceLock<Notifier>>) -> io::Result<Self> {
        let (files, changed) = mpsc::channel();
        let waiting: Arc<Mutex<HashSet<INodeNo>>> = Arc::default();
        let (told, still) = (notifier.clone(), waiting.clone());
        let body = move || {
            changed.iter().for_each(|ino| {
                // What changes from now on has to be told again.
                still.lock().remove(&ino);
                attributes_changed(&told, ino);
            });
        };
        thread::Builder::new().name("notices".to_owned()).spawn(body)?;
        Ok(Self { notifier, files, waiting })
    }

    pub(super) fn attributes_changed(&self, ino: INodeNo, kind: Kind) {
        if ANSWERING.get() == Some(ino) {
            return;
        }
        // Directories have no pages to be written, so nobody waits long for one.
        if kind == Kind::Directory {
            attributes_changed(&self.notifier, ino);
        } else if self.waiting.lock().insert(ino) && self.files.send(ino).is_err() {
            log::warn!("stale attributes of node {}: the thread that tells of them has ended", ino.0);
        }
    }
}

/// Lets the kernel ask for a node's attributes again, and count answers that are on their way as old.
pub(super) fn attributes_changed(notifier: &OnceLock<Notifier>, ino: INodeNo) {
    tell(notifier, "attributes", ino, |notifier| notifier.inval_inode(ino, -1, 0));
}

/// Lets the kernel read a directory anew.
pub(super) fn listing_changed(notifier: &OnceLock<Notifier>, ino: INodeNo) {
    tell(notifier, "listing", ino, |notifier| notifier.inval_inode(ino, 0, 0));
}

/// Lets the kernel look a name up anew.
pub(super) fn entry_changed(notifier: &OnceLock<Notifier>, dir: INodeNo, name: &OsStr) {
    tell(notifier, "name", dir, |notifier| notifier.inval_entry(dir, name));
}

fn tell(
    notifier: &OnceLock<Notifier>,
    what: &str,
    ino: INodeNo,
    send: impl FnOnce(&Notifier) -> io::Result<()>,
) {
    // Until there is a session, nothing was answered.
    let Some(notifier) = notifier.get() else { return };
    match send(notifier) {
        // It has forgotten the node.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => log::warn!("stale {what} of node {}: {error}", ino.0),
        Ok(()) => {}
    }
}
