//! The threads that serve, confined to what they need.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};

use super::{Failure, system};
use crate::config::MountConfig;
use crate::error::SetupError;
use crate::fuse::{NotStarted, Session, SessionHandle};
use crate::ops::Union;
use crate::sys::sandbox::{self, Allowed, Unconfined};

/// A session that runs. All its threads descend from one that was confined before it began.
pub(super) struct Serving {
    thread: JoinHandle<io::Result<Arc<Union>>>,
    handle: SessionHandle,
}

impl Serving {
    /// Greets the kernel, and serves from then on.
    ///
    /// # Errors
    /// Those of [`Session::start`]; with `sandbox=on`, what keeps the threads from being confined. Nothing that was made to open the
    /// union is left then.
    pub(super) fn start(union: Union, device: OwnedFd, config: &MountConfig) -> Result<Self, Failure> {
        let (session, wanted) = (config.session, config.sandbox);
        let (tell, told) = mpsc::sync_channel(1);
        let body = move || {
            let started = match confine(&union, wanted) {
                Ok(()) => Session::start(union, device, &session)
                    .map_err(|NotStarted { error, union }| (system("FUSE handshake")(error), union)),
                Err(failure) => Err((failure, Some(Box::new(union)))),
            };
            let (outcome, session) = match started {
                Ok(session) => (Ok(session.handle()), Some(session)),
                Err(failed) => (Err(failed), None),
            };
            tell.send(outcome).map_err(|_| io::Error::other("nobody waits for the session"))?;
            session.map_or(Err(io::Error::other("there is no session")), Session::run)
        };
        let thread = thread::Builder::new().name("session".to_owned()).spawn(body);
        let thread = thread.map_err(system("start a thread"))?;
        match told.recv() {
            Ok(Ok(handle)) => Ok(Self { thread, handle }),
            Ok(Err((failure, union))) => {
                // What was made may lie where a confined thread has no way to.
                union.into_iter().for_each(|union| union.undo_open());
                Err(failure)
            }
            Err(error) => Err(system("start the session")(io::Error::other(error))),
        }
    }

    pub(super) fn handle(&self) -> &SessionHandle {
        &self.handle
    }

    /// Waits until the union is unmounted, and gives it back.
    ///
    /// # Errors
    /// As [`Session::run`].
    pub(super) fn wait(self) -> io::Result<Arc<Union>> {
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the session has panicked")))
    }
}

/// Confines the calling thread, if that is wanted, or nobody said that it is not.
fn confine(union: &Union, wanted: Option<bool>) -> Result<(), Failure> {
    if wanted == Some(false) {
        return Ok(());
    }
    let outcome =
        union.directories().map_err(|error| Unconfined::new(&error)).and_then(|dirs| {
            sandbox::confine(dirs.iter().map(|(dir, changes)| {
                (dir.as_fd(), if *changes { Allowed::Changes } else { Allowed::Reading })
            }))
        });
    match outcome {
        Ok(()) => Ok(()),
        Err(reason) if wanted == Some(true) => {
            let remedy = "leave the option out, or use a kernel from Linux 6.2 on, with Landlock";
            Err(SetupError::new("sandbox", None, reason, remedy).into())
        }
        Err(reason) => {
            log::debug!("the threads that serve are not confined: {reason}");
            Ok(())
        }
    }
}
