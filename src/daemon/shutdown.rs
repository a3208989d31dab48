//! The end of a daemon by signal: flush, unmount, and never longer than [`GRACE`].

use std::io;
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use super::EXIT_SYSTEM;
use crate::mount::MountedAt;
use crate::sys::limits;

/// From the first signal to the end of the process, whatever hangs.
const GRACE: Duration = Duration::from_secs(5);
/// How much of that the flush may take, and each of the two tries to unmount.
const FLUSH: Duration = Duration::from_secs(3);
const UNMOUNT: Duration = Duration::from_millis(900);

/// Stops the signals from ending the process; they wait until [`watch`] looks. SIGHUP stays ignored if it is (`nohup`).
pub fn subscribe() -> io::Result<Signals> {
    let signals = [SIGTERM, SIGINT, SIGHUP];
    let count = if limits::outlives_terminal() { 2 } else { 3 };
    Signals::new(&signals[..count])
}

/// Handles the signals from now on, in a thread of its own.
pub fn watch(mut signals: Signals, place: Option<MountedAt>) -> io::Result<()> {
    let unmounted = Arc::new(AtomicBool::new(false));
    let body = move || {
        for (count, signal) in signals.forever().enumerate() {
            log::info!("signal {signal}");
            if count > 0 {
                end(&unmounted);
            }
            begin(place.clone(), &unmounted);
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(body).map(drop)
}

fn begin(place: Option<MountedAt>, unmounted: &Arc<AtomicBool>) {
    if let Err(error) = sd_notify::notify(false, &[sd_notify::NotifyState::Stopping]) {
        log::debug!("sd_notify: {error}");
    }
    let Some(place) = place else {
        // Most likely somebody else has mounted, and did not tell us where: all we can do is end, and the mount is dead.
        log::warn!("where the union is mounted is not known: the mount stays, and answers no more");
        unmounted.store(true, Ordering::Relaxed);
        end(unmounted);
    };
    let done = Arc::clone(unmounted);
    let worker = thread::Builder::new().name("unmount".to_owned()).spawn(move || {
        done.store(flush_and_unmount(&place), Ordering::Relaxed);
    });
    let done = Arc::clone(unmounted);
    let timer = thread::Builder::new().name("deadline".to_owned()).spawn(move || {
        thread::sleep(GRACE);
        log::warn!("still in use {} seconds after the signal: ending anyway", GRACE.as_secs());
        end(&done);
    });
    if let Err(error) = worker.and(timer) {
        log::error!("start a thread: {error}");
        end(unmounted);
    }
}

fn end(unmounted: &AtomicBool) -> ! {
    process::exit(if unmounted.load(Ordering::Relaxed) { 0 } else { i32::from(EXIT_SYSTEM) })
}

/// Whether the mount is gone from the tree.
fn flush_and_unmount(place: &MountedAt) -> bool {
    let path = place.mountpoint();
    let Some(mounted) = place.mounted() else {
        log::warn!("'{}' is no longer our mount; not unmounting", path.display());
        return false;
    };
    // Writes back what the kernel still holds, while the workers serve.
    if let Err(error) = mounted.flush_apart(FLUSH) {
        log::warn!("flush '{}': {error}", path.display());
    }
    let Err(busy) = mounted.unmount_apart(false, UNMOUNT) else {
        return true;
    };
    log::info!("umount '{}': {busy}; detaching it", path.display());
    match mounted.unmount_apart(true, UNMOUNT) {
        Ok(()) => true,
        Err(error) => {
            log::error!("umount '{}': {error}", path.display());
            false
        }
    }
}
