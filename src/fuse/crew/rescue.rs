//! Clients that were killed and wait for a request that does not end.
//!
//! The kernel's overlayfs frees them where the system call can be interrupted. Here the call is made by another thread, which
//! nobody has killed: so the client is answered, and the thread goes on for nobody.

use std::fs;
use std::os::fd::OwnedFd;

use super::seat::{Glance, Seat};

/// `SIGKILL` in a mask of signals. Each signal that ends a process becomes one (`complete_signal` in kernel/signal.c).
const KILLED: u64 = 1 << (libc::SIGKILL - 1);

/// Frees the client of a request that is stuck, if it was killed.
pub(super) fn client_of(seat: &Seat, glance: &Glance, device: &OwnedFd) {
    let Some(number) = glance.number() else { return };
    let client = seat.client();
    if client == 0 || !is_killed(client) {
        return;
    }
    seat.interrupt();
    if seat.take_over(number) {
        log::info!("process {client} was killed: it is let go from request {number}, which does not end");
        if let Err(error) = rustix::io::write(device, &interrupted(number)) {
            log::debug!("answer request {number}: {error}");
        }
    }
}

/// Whether a thread is to end as soon as it can.
fn is_killed(thread: u32) -> bool {
    fs::read(format!("/proc/{thread}/status")).is_ok_and(|status| has_pending_kill(&status))
}

/// `SigPnd` and `ShdPnd` (proc_pid_status(5)).
fn has_pending_kill(status: &[u8]) -> bool {
    let masks = status.split(|byte| *byte == b'\n').filter_map(|line| {
        let mask = line.strip_prefix(b"SigPnd:\t").or(line.strip_prefix(b"ShdPnd:\t"))?;
        u64::from_str_radix(str::from_utf8(mask).ok()?, 16).ok()
    });
    masks.fold(0, |all, mask| all | mask) & KILLED != 0
}

/// `fuse_out_header` with `EINTR`.
fn interrupted(number: u64) -> [u8; 16] {
    let mut answer = [0; 16];
    answer[..4].copy_from_slice(&16_u32.to_ne_bytes());
    answer[4..8].copy_from_slice(&(-libc::EINTR).to_ne_bytes());
    answer[8..].copy_from_slice(&number.to_ne_bytes());
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_was_killed_is_known() {
        assert!(has_pending_kill(b"Name:\tx\nSigPnd:\t0000000000000100\nShdPnd:\t0000000000000000\n"));
        assert!(has_pending_kill(b"SigPnd:\t0000000000000000\nShdPnd:\t0000000000000100\n"));
        assert!(!has_pending_kill(b"Name:\tSigPnd\nSigPnd:\t0000000000004000\nSigBlk:\t0000000000000100\n"));
        assert!(!has_pending_kill(b""));
        assert!(!is_killed(std::process::id()));
    }
}
