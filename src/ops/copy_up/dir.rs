//! Copy-up of directories.

use std::os::fd::AsFd;
use std::sync::Arc;

use rustix::fs::{OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::marks::Mark;
use crate::layer::dir::RealDir;
use crate::namespace::locks;
use crate::namespace::node::Node;
use crate::namespace::walk::DirStack;
use crate::ops::copy_up::CopyUp;
use crate::ops::copy_up::ensure::OnCopy;
use crate::ops::lookup::modes::Widening;

impl CopyUp {
    /// Whether it was this call that has copied the directory up, which is then as `on_copy` has left it.
    pub(in crate::ops) fn copy_up_dir(&self, node: &Arc<Node>, on_copy: &OnCopy<'_>) -> Result<bool> {
        let staging = &self.upper()?.staging;
        let _gates = locks::lock(&[node]);
        if node.is_upper() {
            return Ok(false);
        }
        let link = node.link().ok_or(Error::refused(Errno::NOENT, "the directory was removed"))?;
        let parent = self.upper_dir(&link.parent)?;
        let source = self.place(node)?;
        let stat = self.stat(node)?;
        let prepared = staging.prepare()?;
        self.store.mkdir(prepared.at(), 0o700)?;
        self.copy_metadata(source.at(), &stat, prepared.at())?;
        on_copy(prepared.at(), &stat)?;
        if let Some(lower) = node.peek_dir(|directory| directory.stack.lowers.first().cloned()).flatten()
            && let Some(origin) = self.origin_of(source.at(), &lower)?
        {
            self.set_mark(prepared.at(), Mark::Origin, &origin)?;
            self.mark_impure(&link.parent, &parent)?;
        }
        let copy = self.store.stat(prepared.at())?.ok_or(Error::refused(Errno::IO, "staged copy is gone"))?;
        self.announce_name(&parent, &link.name)?;
        let _times = link.parent.times_stay();
        let times = self.store.stat(parent.this())?;
        // A directory that has not the number of its lower one would not be found by that.
        let lower = self.dir_stack(node)?.lowers.first().cloned();
        if lower.and_then(|lower| self.nodes.numbers().of(lower.layer(), &stat)) != Some(node.id) {
            self.nodes.renumber(copy.real_id(), node.id);
        }
        let to = parent.at(&link.name);
        let publish = || Ok(self.store.rename(prepared.at(), to, RenameFlags::NOREPLACE)?);
        let widenings = [
            Widening { this: parent.this(), found_at: parent.this(), bits: 0o300 },
            // Only who may write to a directory may move it.
            Widening { this: prepared.at(), found_at: to, bits: 0o200 },
        ];
        self.despite_modes(&widenings, publish).inspect_err(|_| self.nodes.unnumber(copy.real_id()))?;
        prepared.published();
        self.restore_times(&parent, times);
        let real = RealDir::child(&parent.real, link.name.clone(), copy.ino);
        node.with_dir(|directory| directory.stack.upper = Some(real));
        self.mark_in_upper(node, &link);
        Ok(true)
    }

    /// A removed directory that somebody still has open gets a copy without a name when its attributes change.
    pub(in crate::ops) fn copy_up_removed_dir(&self, node: &Arc<Node>, on_copy: &OnCopy<'_>) -> Result<bool> {
        let upper = self.upper()?;
        let _gates = locks::lock(&[node]);
        if node.is_upper() {
            return Ok(false);
        }
        let prepared = upper.staging.prepare()?;
        self.store.mkdir(prepared.at(), 0o700)?;
        let stat = self.stat(node)?;
        self.copy_metadata(self.place(node)?.at(), &stat, prepared.at())?;
        on_copy(prepared.at(), &stat)?;
        let fd = self.store.open(prepared.at(), OFlags::PATH | OFlags::DIRECTORY, 0)?;
        let ino = self.store.stat_fd(fd.as_fd())?.ino;
        let real = RealDir::held(upper.root.layer().clone(), ino, Arc::new(fd));
        let stack = DirStack { upper: Some(real), lowers: Arc::new([]) };
        node.with_dir(|directory| directory.stack = stack);
        Ok(true)
    }
}
