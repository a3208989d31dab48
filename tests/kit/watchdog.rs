//! Turns a hanging mount into a failing test.

use std::path::Path;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use super::mode::{announce, test_name};
use super::mount::abort_all_under;

/// While this lives, the mounts under an area may take `UNIONFUSE_TEST_TIMEOUT` (60) seconds; then they are aborted, which makes
/// the calls that wait for them fail, and with them the test.
pub struct Watchdog {
    _alive: Sender<()>,
}

impl Watchdog {
    pub fn over(area: &Path) -> Watchdog {
        let seconds = std::env::var("UNIONFUSE_TEST_TIMEOUT").ok().and_then(|s| s.parse().ok()).unwrap_or(60);
        let (alive, ended) = channel();
        let (area, test) = (area.to_owned(), test_name());
        std::thread::spawn(move || watch(&ended, Duration::from_secs(seconds), &area, &test));
        Watchdog { _alive: alive }
    }
}

fn watch(ended: &Receiver<()>, limit: Duration, area: &Path, test: &str) {
    if ended.recv_timeout(limit) == Err(RecvTimeoutError::Disconnected) {
        return;
    }
    announce(&format!("TIMEOUT: {test}: no end after {limit:?}; aborting its mounts"));
    // Again and again: the test may mount anew on its way out.
    loop {
        abort_all_under(area);
        match ended.recv_timeout(Duration::from_secs(2)) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
    }
}
