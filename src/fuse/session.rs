//! A mounted union, from the first message to the last.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, OnceLock};

use fuser::{INodeNo, Notifier, SessionACL};

use super::adapter::Adapter;
use super::crew::{self, Crew};
use super::handle::SessionHandle;
use super::notify::Notices;
use super::scheduling::Follow;
use super::worker::Worker;
use crate::config::SessionConfig;
use crate::ops::Union;
use crate::sys::mount::served_by;

/// More threads than cores: a request may wait for the disk while others can be answered.
const DEFAULT_THREADS: usize = 4;

/// What a session is made of, before it has greeted the kernel.
struct Parts {
    threads: usize,
    follow: Option<Arc<Follow>>,
    notifier: Arc<OnceLock<Notifier>>,
}

impl Parts {
    fn prepare(union: &Union, device: &OwnedFd, config: &SessionConfig) -> io::Result<Self> {
        let threads = if config.threads == 0 { DEFAULT_THREADS } else { config.threads };
        let follow = if config.follow && threads > 1 { Follow::new(device.try_clone()?) } else { None };
        let follow = follow.map(Arc::new);
        if let Some(follow) = &follow {
            // The union may outlive the session, whose device must be closed then.
            let follow = Arc::downgrade(follow);
            let worker = Worker::start()?;
            union.set_long_work(move |work| match follow.upgrade() {
                Some(follow) if follow.hand_over() => worker.take(work),
                _ => work(),
            });
        }
        union.close_idle_files()?;
        let notifier = Arc::new(OnceLock::new());
        let notices = Notices::start(notifier.clone())?;
        union.set_attributes_changed(move |node, kind| notices.attributes_changed(INodeNo(node.0), kind));
        Ok(Self { threads, follow, notifier })
    }

    fn assemble(self, union: &Arc<Union>, device: OwnedFd, config: &SessionConfig) -> io::Result<Session> {
        let mut options = fuser::Config::default();
        options.n_threads = Some(self.threads + usize::from(self.follow.is_some()));
        let crew = Arc::new(Crew::new(device.try_clone()?, union.clone(), self.threads));
        let adapter = Adapter::new(union.clone(), *config, self.notifier.clone(), self.follow, crew.clone());
        let (more, shared) = (adapter.for_extra_threads(), device.try_clone()?);
        crew.set_recruit(move |count| match more() {
            Some(adapter) => crew::recruit(adapter, shared.as_fd(), count),
            None => Ok(()),
        });
        let connection = served_by(&device).map(|(_, minor)| minor);
        let handle = SessionHandle::new(union, &crew, &self.notifier, connection);
        drop(crew);
        // Who may enter the mount is the kernel's decision (allow_other), made before a request is sent.
        let inner = fuser::Session::from_fd(adapter, device, SessionACL::All, options)?;
        self.notifier.get_or_init(|| inner.notifier());
        Ok(Session { inner, handle, union: union.clone() })
    }
}

/// Why there is no session.
pub struct NotStarted {
    /// What has failed.
    pub error: io::Error,
    /// The union, where it can be had: what was made to open it is to be undone.
    pub union: Option<Box<Union>>,
}

/// A union being served to the kernel.
pub struct Session {
    inner: fuser::Session<Adapter>,
    handle: SessionHandle,
    union: Arc<Union>,
}

impl Session {
    /// Greets the kernel on `device`, a mounted `/dev/fuse` descriptor, and agrees on what it may cache.
    ///
    /// # Errors
    /// When the kernel is too old (Linux 5.4 is enough, but not for `passthrough`) or the mount is gone already.
    pub fn start(union: Union, device: OwnedFd, config: &SessionConfig) -> Result<Self, NotStarted> {
        let prepared = Parts::prepare(&union, &device, config);
        let union = Arc::new(union);
        prepared
            .and_then(|parts| parts.assemble(&union, device, config))
            .map_err(|error| NotStarted { error, union: Arc::into_inner(union).map(Box::new) })
    }

    /// For those who do not serve in it.
    pub fn handle(&self) -> SessionHandle {
        self.handle.clone()
    }

    /// Answers requests until the union is unmounted, and gives the union back. Dropping one with many nodes takes a while; a
    /// process that is about to end had better not.
    ///
    /// # Errors
    /// When the device fails; being unmounted is no failure.
    pub fn run(self) -> io::Result<Arc<Union>> {
        self.inner.run()?;
        Ok(self.union)
    }
}
