//! What each request has in common: that the thread is busy with it, what the kernel is told beside the answer, and the answer.
//! An operation says what it has changed by its value, so that nothing can be forgotten here.

use std::ffi::OsString;

use fuser::{
    Errno, Generation, INodeNo, ReplyAttr, ReplyData, ReplyEmpty, ReplyEntry, ReplyIoctl, ReplyLseek,
    ReplyStatfs, ReplyWrite, ReplyXattr, Request,
};

use super::{Adapter, Busy, Service};
use crate::error::Result;
use crate::fuse::answer::run;
use crate::fuse::{convert, notify};
use crate::namespace::refs::Entry;
use crate::ops::Union;
use crate::ops::effects::{Done, Effect};
use crate::types::{Attr, FsUsage};

impl Adapter {
    /// A request that changes nothing, and whose answer nobody has to take.
    pub(super) fn look<'s, T, R: Answer<T>>(
        &'s self,
        request: &Request,
        what: &'static str,
        node: INodeNo,
        reply: R,
        operation: impl FnOnce(&'s Union) -> Result<T>,
    ) {
        self.serve(self.looking(request), what, node, reply, operation);
    }

    /// A request that makes durable what was changed before.
    pub(super) fn settle<'s, T, R: Answer<T>>(
        &'s self,
        request: &Request,
        what: &'static str,
        node: INodeNo,
        reply: R,
        operation: impl FnOnce(&'s Union) -> Result<T>,
    ) {
        self.serve(self.busy(request), what, node, reply, operation);
    }

    fn serve<'s, T, R: Answer<T>>(
        &'s self,
        _busy: Busy<'_>,
        what: &'static str,
        node: INodeNo,
        reply: R,
        operation: impl FnOnce(&'s Union) -> Result<T>,
    ) {
        reply.answer(self, run(what, node, || operation(&self.union)));
    }

    /// A request that changes something.
    pub(super) fn change<'s, T, R: Answer<T>>(
        &'s self,
        request: &Request,
        what: &'static str,
        node: INodeNo,
        reply: R,
        operation: impl FnOnce(&'s Union) -> Result<Done<T>>,
    ) {
        let _busy = self.busy(request);
        let outcome = run(what, node, || operation(&self.union)).map(|done| self.tell(request, done));
        reply.answer(self, outcome);
    }

    /// Tells the kernel what it remembers and is not so any more, before the request is answered; what a request is about itself, it
    /// knows from the answer. It takes no lock of a node for any of these, so a request may wait for it.
    pub(super) fn tell<T>(&self, request: &Request, done: Done<T>) -> T {
        for effect in done.effects {
            match effect {
                // The kernel knows, but answers about the directory that are on their way to others must count as old. There is nobody
                // to whom one could be.
                Effect::Entries(_) if !self.others.has(request.pid()) => {}
                // After a write the kernel asks for size and times only, and would honour a set-id bit that is gone.
                Effect::Entries(node) | Effect::Attributes(node) => {
                    notify::attributes_changed(&self.notifier, INodeNo(node.0));
                }
                Effect::Parent(directory) => notify::listing_changed(&self.notifier, INodeNo(directory.0)),
            }
        }
        done.value
    }
}

/// The one answer to a request.
pub(super) trait Answer<T> {
    /// Says how it went.
    fn answer(self, service: &Service, outcome: Result<T, Errno>);
}

/// A number of bytes written.
pub(super) struct Written(pub(super) usize);

/// Asks for as many bytes as there is room for; with none, for their number.
pub(super) struct Sized {
    pub(super) reply: ReplyXattr,
    pub(super) size: u32,
}

impl Answer<()> for ReplyEmpty {
    fn answer(self, _: &Service, outcome: Result<(), Errno>) {
        match outcome {
            Ok(()) => self.ok(),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Attr> for ReplyAttr {
    fn answer(self, service: &Service, outcome: Result<Attr, Errno>) {
        match outcome {
            Ok(attr) => self.attr(&service.lifetime(&attr), &convert::attr(&attr)),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Entry<'_>> for ReplyEntry {
    fn answer(self, service: &Service, outcome: Result<Entry<'_>, Errno>) {
        self.answer(service, outcome.map(|entry| Some(entry.give_to_kernel())));
    }
}

impl Answer<Option<Attr>> for ReplyEntry {
    /// Of a node that the kernel was given. That there is nothing is remembered, too.
    fn answer(self, service: &Service, outcome: Result<Option<Attr>, Errno>) {
        match outcome {
            Ok(Some(attr)) => {
                self.entry(&service.lifetime(&attr), &convert::attr(&attr), Generation(0));
            }
            Ok(None) => self.entry(&service.ttl, &convert::nothing(), Generation(0)),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<OsString> for ReplyData {
    fn answer(self, _: &Service, outcome: Result<OsString, Errno>) {
        match outcome {
            Ok(target) => self.data(target.as_encoded_bytes()),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Written> for ReplyWrite {
    fn answer(self, _: &Service, outcome: Result<Written, Errno>) {
        match outcome {
            Ok(Written(count)) => self.written(u32::try_from(count).unwrap_or(u32::MAX)),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<Vec<u8>> for Sized {
    fn answer(self, _: &Service, outcome: Result<Vec<u8>, Errno>) {
        match outcome {
            Ok(value) if self.size == 0 => self.reply.size(u32::try_from(value.len()).unwrap_or(u32::MAX)),
            Ok(value) if value.len() <= self.size as usize => self.reply.data(&value),
            Ok(_) => self.reply.error(Errno::ERANGE),
            Err(errno) => self.reply.error(errno),
        }
    }
}

impl Answer<Vec<u8>> for ReplyIoctl {
    fn answer(self, _: &Service, outcome: Result<Vec<u8>, Errno>) {
        match outcome {
            Ok(data) => self.ioctl(0, &data),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<u64> for ReplyLseek {
    fn answer(self, _: &Service, outcome: Result<u64, Errno>) {
        match outcome {
            Ok(found) => self.offset(i64::try_from(found).unwrap_or(i64::MAX)),
            Err(errno) => self.error(errno),
        }
    }
}

impl Answer<FsUsage> for ReplyStatfs {
    fn answer(self, _: &Service, outcome: Result<FsUsage, Errno>) {
        match outcome {
            Ok(usage) => self.statfs(
                usage.blocks,
                usage.blocks_free,
                usage.blocks_available,
                usage.files,
                usage.files_free,
                usage.block,
                usage.name_max,
                usage.fragment,
            ),
            Err(errno) => self.error(errno),
        }
    }
}
