//! What serves the kernel: the union, and what has to be told to the kernel beside replies.

mod requests;
mod serve;

use std::ops::{ControlFlow, Deref};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use fuser::{INodeNo, Notifier, ReplyOpen, Request};

use super::convert;
use super::crew::{Crew, Errand, Sitting};
use super::notify;
use super::other_clients::OtherClients;
use super::passthrough::{Access, Passthrough, Way};
use super::prefetch::Prefetch;
use super::scheduling::{Follow, Following, STREAM, following};
use crate::config::SessionConfig;
use crate::error::Result;
use crate::namespace::refs::NodeRef;
use crate::ops::Union;
use crate::types::{Attr, Caller, DirEntry};

/// "For ever", in a form that the kernel can add to its clock.
const FOREVER: Duration = Duration::from_secs(1 << 31);

/// Carries requests of the kernel to the union.
#[derive(Clone)]
pub(super) struct Adapter {
    service: Arc<Service>,
    /// Whether the threads that use it were started later, when others were stuck.
    extra: bool,
}

/// What all threads share.
pub(super) struct Service {
    union: Arc<Union>,
    config: SessionConfig,
    ttl: Duration,
    /// Others may change what was answered; then nothing of it is to be kept.
    is_view: bool,
    notifier: Arc<OnceLock<Notifier>>,
    follow: Option<Arc<Follow>>,
    crew: Arc<Crew>,
    others: OtherClients,
    passthrough: Option<Passthrough>,
    prefetch: Option<Prefetch>,
}

/// A request in hand.
pub(super) struct Busy<'a> {
    _sitting: Sitting<'a>,
    _following: Following<'a>,
}

impl Deref for Adapter {
    type Target = Service;

    fn deref(&self) -> &Service {
        &self.service
    }
}

impl Adapter {
    /// `notifier` is filled in once there is a session to have one.
    pub(super) fn new(
        union: Arc<Union>,
        config: SessionConfig,
        notifier: Arc<OnceLock<Notifier>>,
        follow: Option<Arc<Follow>>,
        crew: Arc<Crew>,
    ) -> Self {
        let service = Service::new(union, config, notifier, follow, crew);
        Self { service: Arc::new(service), extra: false }
    }

    /// What makes others for threads that come later, as long as there is this one.
    pub(super) fn for_extra_threads(&self) -> impl Fn() -> Option<Self> + Send + Sync + 'static {
        let service = Arc::downgrade(&self.service);
        move || Some(Self { service: service.upgrade()?, extra: true })
    }

    /// To be held until the request is answered.
    fn busy(&self, request: &Request) -> Busy<'_> {
        self.begin(request, Errand::Change, request.pid())
    }

    /// The same for a request that looks only: nobody has to know whether its answer was taken.
    fn looking(&self, request: &Request) -> Busy<'_> {
        self.begin(request, Errand::Look, request.pid())
    }

    /// The same for a request that nobody waits for yet.
    fn looking_ahead(&self, request: &Request) -> Busy<'_> {
        self.begin(request, Errand::Look, STREAM)
    }

    fn begin(&self, request: &Request, errand: Errand, client: u32) -> Busy<'_> {
        let sitting = self.crew.sit(request, errand, self.extra);
        if client != STREAM {
            self.others.note(client);
        }
        // Those that come later do not stand by: they are there because others cannot go on.
        let follow = if self.extra { None } else { self.follow.as_ref() };
        Busy { _sitting: sitting, _following: following(follow, client) }
    }
}

impl Service {
    fn new(
        union: Arc<Union>,
        config: SessionConfig,
        notifier: Arc<OnceLock<Notifier>>,
        follow: Option<Arc<Follow>>,
        crew: Arc<Crew>,
    ) -> Self {
        let is_view = union.is_view();
        let ttl = match is_view {
            true => Duration::ZERO,
            false => config.cache_seconds.map_or(FOREVER, Duration::from_secs),
        };
        let passthrough = (config.passthrough && !is_view).then(Passthrough::default);
        // What changes unseen may be out of date as soon as it is listed.
        let unchanging =
            config.list_ahead && config.cache_seconds.is_none() && !config.passthrough && !is_view;
        let prefetch = if unchanging { Prefetch::new(union.clone()) } else { None };
        let others = OtherClients::new();
        Self { union, config, ttl, is_view, notifier, follow, crew, others, passthrough, prefetch }
    }

    /// Lists a directory with attributes, see [`Union::read_dir`]. The nodes of the entries that `visit` takes are the kernel's.
    fn list(
        &self,
        ino: INodeNo,
        cookie: u64,
        visit: &mut dyn FnMut(&DirEntry) -> ControlFlow<()>,
    ) -> Result<()> {
        let node = convert::node(ino);
        match &self.prefetch {
            Some(prefetch) => prefetch.list(node, cookie, visit),
            None => self.union.read_dir(node, cookie, true, &mut |entry, node| {
                let flow = visit(&entry);
                if flow.is_continue() {
                    node.map(NodeRef::give_to_kernel);
                }
                flow
            }),
        }
    }

    /// Lets the kernel ask for the mode again before it runs the file: after a write it asks for size and times only, and
    /// would honour a set-id bit that is gone. Without offset the kernel takes no lock for it, so a request may wait for it.
    fn mode_changed(&self, ino: INodeNo, changed: bool) {
        if changed {
            self.attributes_changed(ino);
        }
    }

    fn attributes_changed(&self, ino: INodeNo) {
        notify::attributes_changed(&self.notifier, ino);
    }

    /// How long the kernel may keep attributes.
    fn lifetime(&self, attr: &Attr) -> Duration {
        self.passthrough.as_ref().map_or(self.ttl, |open| open.lifetime(attr.node, self.ttl))
    }

    /// Opens a file in the layers.
    fn open_through(
        &self,
        open: &Passthrough,
        caller: Caller,
        ino: INodeNo,
        access: Access,
        reply: &ReplyOpen,
    ) -> Result<Way> {
        let node = convert::node(ino);
        let emptied = if access.empties { Some(self.union.empty(caller, node)?) } else { None };
        let mode_changed = emptied.is_some_and(|done| done.changes_attributes_of(node));
        let seen_before = !open.changes_unseen(node);
        let way = open.open(&self.union, node, access, |file| reply.open_backing(file))?;
        // What the kernel remembers of the file is from a time when it could not change unseen.
        self.mode_changed(ino, mode_changed || (seen_before && open.changes_unseen(node)));
        Ok(way)
    }
}
