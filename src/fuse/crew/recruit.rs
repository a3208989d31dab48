//! More threads for a session that runs already.
//!
//! fuser starts all threads of a session at once, so those that come later are another session on the same device. A session
//! begins with the kernel's INIT, which the kernel sends once: the further ones are sent one by ourselves, through a socket whose
//! place the device takes then.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::thread;

use fuser::{Filesystem, SessionACL};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use crate::sys::process;

/// `FUSE_INIT` (linux/fuse.h).
const INIT: u32 = 26;
/// A version that fuser knows. What is agreed on counts for nothing.
const VERSION: [u32; 2] = [7, 36];

/// Starts `count` threads that serve `device` by `filesystem`, whose `init` is to do nothing.
///
/// # Errors
/// EAGAIN where no more threads are allowed; EMFILE.
pub(in crate::fuse) fn start<F: Filesystem + 'static>(
    filesystem: F,
    device: BorrowedFd<'_>,
    count: usize,
) -> io::Result<()> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    rustix::io::write(&ours, &init_request())?;
    let mut options = fuser::Config::default();
    options.n_threads = Some(count);
    let session = fuser::Session::from_fd(filesystem, theirs, SessionACL::All, options)?;
    process::replace_descriptor(device, session.as_fd())?;
    let run = move || {
        if let Err(error) = session.run() {
            log::error!("further threads: {error}");
        }
    };
    thread::Builder::new().name("recruits".to_owned()).spawn(run).map(drop)
}

/// `fuse_in_header` and `fuse_init_in`: all zeros but length, operation and version.
fn init_request() -> [u8; 104] {
    let mut request = [0; 104];
    let mut put = |at: usize, value: u32| request[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    put(0, 104);
    put(4, INIT);
    put(40, VERSION[0]);
    put(44, VERSION[1]);
    request
}
