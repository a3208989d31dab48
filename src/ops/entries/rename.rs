//! Rename: everything is looked at and made ready first, then one `renameat2` changes the union.

use std::ffi::{OsStr, OsString};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::sync::Arc;

use rustix::fs::RenameFlags;
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::format::marks::Mark;
use crate::format::redirect::Redirect;
use crate::layer::dir::RealDir;
use crate::layer::staging::Prepared;
use crate::namespace::locks;
use crate::namespace::node::{Home, Link, Node};
use crate::namespace::refs::NodeRef;
use crate::ops::copy_up::ensure::Extent;
use crate::ops::entries::Entries;
use crate::ops::entries::keep::{KeptDir, Parking};
use crate::ops::lookup::UpperDir;
use crate::ops::lookup::find::until_undisturbed;
use crate::ops::lookup::locate::stands_for;
use crate::types::{Name, NodeId, RenameMode};

/// One end of a rename.
struct End<'a> {
    parent: Arc<Node>,
    name: Arc<OsStr>,
    dir: UpperDir,
    node: Option<NodeRef<'a>>,
}

/// What one end needs, as seen with all gates held.
#[derive(Debug, Clone, Copy)]
struct Situation {
    /// The upperdir has a whiteout under the name.
    whiteout: bool,
    /// The upperdir has the file or directory itself under the name.
    in_upper: bool,
    /// Something of a lowerdir would show when the name left the upperdir.
    covers: bool,
}

/// How the one `renameat2` is made, decided from the two situations alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Plan {
    /// Both names change places.
    Exchange,
    /// A directory takes the place of a whiteout, which a directory cannot simply replace; the whiteout comes to the old
    /// name, where it stays if it is needed.
    SwapWithWhiteout { keep: bool },
    /// Move, replacing what the upperdir has under the new name, if anything; leave a whiteout behind if needed.
    Move { replace: bool, whiteout: bool },
}

/// What became of an attempt with the gates held.
enum Outcome {
    Renamed,
    /// A name does not stand for its node any more.
    Disturbed,
    /// The directory's redirect does not fit on it: it has to go without lowerdirs.
    DoesNotFit(Arc<Node>),
}

/// What keeps a replaced file or directory reachable for those who have it open.
enum Remains<'a> {
    /// Nothing needs to: it is in a lowerdir only.
    Nothing,
    File(Home),
    Directory(Arc<RealDir>, Arc<OwnedFd>),
    /// This directory, in the place of one that is like it. Dropped, it is removed.
    ParkedDirectory(Parking, Arc<RealDir>, Prepared<'a>),
}

impl Plan {
    fn decide(mode: RenameMode, is_dir: bool, from: Situation, to: Situation) -> Self {
        if mode == RenameMode::Exchange {
            return Self::Exchange;
        }
        if is_dir && to.whiteout {
            return Self::SwapWithWhiteout { keep: from.covers };
        }
        Self::Move { replace: to.in_upper || to.whiteout, whiteout: from.covers }
    }
}

impl Entries {
    /// [`Union::rename`](crate::Union::rename).
    pub(in crate::ops) fn rename(
        &self,
        parent: NodeId,
        name: Name<'_>,
        new_parent: NodeId,
        new_name: Name<'_>,
        mode: RenameMode,
    ) -> Result<Vec<NodeId>> {
        self.upper()?;
        let (old_parent, new_parent) = (self.dir_node(parent)?.0, self.dir_node(new_parent)?.0);
        let (name, new_name) = (name.as_os_str(), new_name.as_os_str());
        self.check_new_name(&new_parent, new_name)?;
        until_undisturbed(|| self.try_rename((&old_parent, name), (&new_parent, new_name), mode))
    }

    fn try_rename(
        &self,
        from: (&Arc<Node>, &OsStr),
        to: (&Arc<Node>, &OsStr),
        mode: RenameMode,
    ) -> Result<Option<Vec<NodeId>>> {
        let mut from = self.end(from.0.clone(), from.1)?;
        let mut to = self.end(to.0.clone(), to.1)?;
        let source = from.node.as_ref().ok_or(Error::refused(Errno::NOENT, "no such name"))?;
        check(source, &from, &to, mode)?;
        if let Some(target) = &to.node
            && Arc::ptr_eq(source, target)
        {
            return self.find(&from.parent, &from.name).map(|_| Some(Vec::new()));
        }
        self.make_movable(source, &from)?;
        match &to.node {
            Some(target) if mode == RenameMode::Exchange => self.make_movable(target, &to)?,
            Some(target) if !target.is_dir() => self.prepare_removal(target, &to.parent, &to.name)?,
            _ => {}
        }
        let nodes: Vec<&Arc<Node>> =
            [Some(&from.parent), Some(&to.parent), Some(&**source), to.node.as_deref()]
                .into_iter()
                .flatten()
                .collect();
        let gates = locks::lock(&nodes);
        let times = (from.parent.times_change(), to.parent.times_change());
        (from.dir, to.dir) = (self.upper_dir(&from.parent)?, self.upper_dir(&to.parent)?);
        match self.rename_gated(source, &from, &to, mode)? {
            Outcome::Renamed => {}
            Outcome::Disturbed => return Ok(None),
            Outcome::DoesNotFit(node) => {
                drop((times, gates));
                self.copy_up_tree(&node)?;
                return Ok(None);
            }
        }
        let exchanged = to.node.as_ref().filter(|_| mode == RenameMode::Exchange);
        let moved = [Some(source), exchanged].into_iter().flatten();
        let has_new_parent = |node: &&NodeRef<'_>| node.is_dir() && !Arc::ptr_eq(&from.parent, &to.parent);
        Ok(Some(moved.filter(has_new_parent).map(|node| node.id).collect()))
    }

    fn end(&self, parent: Arc<Node>, name: &OsStr) -> Result<End<'_>> {
        let name: Arc<OsStr> = Arc::from(name);
        let node = self.find_if_any(&parent, &name)?;
        let dir = self.ensure_upper_dir(&parent)?;
        Ok(End { parent, name, dir, node })
    }

    /// Gets the node completely into the upperdir under this name, so that one rename can move it.
    fn make_movable(&self, node: &Arc<Node>, end: &End<'_>) -> Result<()> {
        if !node.is_dir() {
            self.ensure_upper(node, Extent::All)?;
            return self.ensure_name_in_upper(node, &end.parent, &end.name);
        }
        let has_lowers = !self.dir_stack(node)?.lowers.is_empty();
        let can_redirect = self.options.redirect_dir && self.upper()?.format.has_xattrs();
        if has_lowers && !can_redirect {
            self.copy_up_tree(node)
        } else {
            self.ensure_upper_dir(node).map(drop)
        }
    }

    /// The caller holds the gates of both parents and both nodes.
    fn rename_gated(
        &self,
        source: &Arc<Node>,
        from: &End<'_>,
        to: &End<'_>,
        mode: RenameMode,
    ) -> Result<Outcome> {
        let (Some(from_now), Some(to_now)) = (self.situation(from)?, self.situation(to)?) else {
            return Ok(Outcome::Disturbed);
        };
        if !from_now.in_upper {
            return Ok(Outcome::Disturbed);
        }
        let plan = Plan::decide(mode, source.is_dir(), from_now, to_now);
        if !self.mark_for_move(source, from, to, to_now.covers)? {
            return Ok(Outcome::DoesNotFit(source.clone()));
        }
        if let (Plan::Exchange, Some(target)) = (plan, &to.node)
            && !self.mark_for_move(target, to, from, from_now.covers)?
        {
            return Ok(Outcome::DoesNotFit((**target).clone()));
        }
        for end in [from, to] {
            self.announce_name(&end.dir, &end.name)?;
        }
        let replaced = match (&to.node, plan) {
            (Some(target), Plan::Move { .. } | Plan::SwapWithWhiteout { .. }) => {
                Some((target, self.prepare_replacement(target, to, to_now)?))
            }
            _ => None,
        };
        self.execute(plan, from, to)?;
        if let Some((target, remains)) = replaced {
            self.replaced(target, to, remains);
        }
        self.moved(source, from, to);
        if let (Plan::Exchange, Some(target)) = (plan, &to.node) {
            self.moved(target, to, from);
        }
        for end in [from, to] {
            end.parent.with_dir(|directory| directory.changes += 1);
        }
        Ok(Outcome::Renamed)
    }

    fn situation(&self, end: &End<'_>) -> Result<Option<Situation>> {
        if end.parent.peek_dir(|directory| directory.removed) == Some(true) {
            return Err(Error::refused(Errno::NOENT, "the directory was removed"));
        }
        let located = self.locate(&end.parent, &self.dir_stack(&end.parent)?, &end.name)?;
        let undisturbed = match &end.node {
            Some(node) => stands_for(&located, node),
            None => located.is_absent(),
        };
        if !undisturbed {
            return Ok(None);
        }
        Ok(Some(Situation {
            whiteout: located.whiteout,
            in_upper: located.upper.is_some(),
            covers: self.shown_by_lowers(&end.parent, &end.name)?.is_some(),
        }))
    }

    /// Writes the marks that make `node` the same at its new place. They change nothing at the old one. `false` when the path that
    /// a redirect is to hold is longer than the filesystem takes (ext4 says ENOSPC then, above about 4,000 bytes).
    fn mark_for_move(&self, node: &Arc<Node>, from: &End<'_>, to: &End<'_>, covers: bool) -> Result<bool> {
        if self.may_have_origin(node) {
            self.mark_impure(&to.parent, &to.dir)?;
        }
        if !node.is_dir() {
            return Ok(true);
        }
        let upper = self.upper_dir(node)?;
        if self.dir_stack(node)?.lowers.is_empty() {
            // Without lower directories of its own it must not merge with one at the new place.
            if covers {
                self.set_opaque(upper.this())?;
            }
            return Ok(true);
        }
        let stays = Arc::ptr_eq(&from.parent, &to.parent);
        let fits = |redirect: &[u8]| stays || Redirect::is_absolute(redirect);
        if node.peek_dir(|directory| directory.redirect.as_deref().is_some_and(fits)) == Some(true) {
            return Ok(true);
        }
        let redirect = if stays { from.name.as_bytes().to_vec() } else { self.lower_path(node)? };
        match self.set_mark(upper.this(), Mark::Redirect, &redirect) {
            Err(error) if matches!(error.errno(), Errno::NOSPC | Errno::TOOBIG | Errno::RANGE) => {
                log::info!("a directory is moved by copying its tree up: its redirect is too long: {error}");
                return Ok(false);
            }
            other => other?,
        }
        node.with_dir(|directory| directory.redirect = Some(redirect.into()));
        Ok(true)
    }

    /// The path of a directory from the root, by the names that its lower directories have (kernel: `ovl_get_redirect`).
    fn lower_path(&self, node: &Arc<Node>) -> Result<Vec<u8>> {
        let mut parts: Vec<OsString> = Vec::new();
        let mut at = node.clone();
        while at.id != NodeId::ROOT {
            let link = at.link().ok_or(Error::refused(Errno::NOENT, "the directory was removed"))?;
            let redirect = at.peek_dir(|directory| directory.redirect.clone()).flatten();
            match redirect {
                Some(redirect) if Redirect::is_absolute(&redirect) => {
                    parts.push(OsStr::from_bytes(&redirect[1..]).to_owned());
                    break;
                }
                Some(redirect) => parts.push(OsStr::from_bytes(&redirect).to_owned()),
                None => parts.push((*link.name).to_owned()),
            }
            at = link.parent;
        }
        let mut path = Vec::new();
        for part in parts.iter().rev() {
            path.push(b'/');
            path.extend_from_slice(part.as_bytes());
        }
        Ok(path)
    }

    /// Makes sure that what is replaced is an empty directory and stays reachable.
    fn prepare_replacement(&self, target: &Arc<Node>, to: &End<'_>, now: Situation) -> Result<Remains<'_>> {
        if !target.is_dir() {
            let home = now.in_upper.then(|| self.home_without(target, &to.parent, &to.name)).transpose()?;
            return Ok(home.map_or(Remains::Nothing, Remains::File));
        }
        if !self.is_empty(target)? {
            return Err(Error::refused(Errno::NOTEMPTY, "directory not empty"));
        }
        let Some(mut upper) = self.dir_stack(target)?.upper else {
            return Ok(Remains::Nothing);
        };
        let way = self.way_to_keep_dir()?;
        if way.is_parked() || !self.is_physically_empty(&upper)? {
            let held = self.nodes.dirs.open(&upper)?;
            let (emptied, old) = self.make_physically_empty(target, &to.parent, &to.dir, &to.name)?;
            // Whoever is on the way into the old one finds that the directory was removed.
            upper.detach(held);
            self.nodes.unnumber(upper.real_id());
            if let KeptDir::Parked(parking) = way {
                return Ok(Remains::ParkedDirectory(parking, upper, old));
            }
            upper = emptied;
        }
        let held = self.nodes.dirs.open(&upper)?;
        Ok(Remains::Directory(upper, held))
    }

    fn execute(&self, plan: Plan, from: &End<'_>, to: &End<'_>) -> Result<()> {
        let (source, target) = (from.dir.at(&from.name), to.dir.at(&to.name));
        match plan {
            Plan::Exchange => Ok(self.store.rename(source, target, RenameFlags::EXCHANGE)?),
            Plan::Move { replace: false, whiteout: true }
                if to.node.is_none() && self.whiteouts_are_attributes() =>
            {
                self.swap_with_new_whiteout((&from.dir, &from.name), (&to.dir, &to.name))
            }
            Plan::Move { replace, whiteout } => {
                self.move_away((&from.dir, &from.name), target, whiteout, replace)
            }
            Plan::SwapWithWhiteout { keep } => {
                if keep {
                    self.announce_xattr_whiteouts(&from.dir)?;
                }
                self.store.rename(source, target, RenameFlags::EXCHANGE)?;
                // Hiding nothing, a whiteout that is left over does no harm.
                if !keep && let Err(error) = self.store.unlink(source) {
                    log::warn!("whiteout {:?} that is no longer needed: {error}", from.name);
                }
                Ok(())
            }
        }
    }

    fn replaced(&self, target: &Arc<Node>, to: &End<'_>, remains: Remains<'_>) {
        match remains {
            Remains::File(home) => return self.name_removed(target, &to.parent, &to.name, home),
            Remains::Directory(upper, held) => {
                let home = self.keep_dir(KeptDir::Held, &upper, held, None);
                target.with_dir(|directory| directory.home = home);
            }
            Remains::ParkedDirectory(parking, old, place) => {
                let home = parking.park(&old, place);
                let replaced = target.with_dir(|directory| {
                    directory.home = home;
                    directory.stack.upper.replace(old)
                });
                // What has its number next is another one.
                replaced.flatten().iter().for_each(|gone| self.nodes.unnumber(gone.real_id()));
            }
            Remains::Nothing => {}
        }
        if target.is_dir() {
            self.dir_removed(target, &to.parent, &to.name);
        } else {
            target.loses_lower_name();
            self.nodes.drop_link(target, &to.parent, &to.name);
        }
    }

    fn moved(&self, node: &Arc<Node>, from: &End<'_>, to: &End<'_>) {
        if let Some(upper) = node.stack().and_then(|stack| stack.upper) {
            upper.moved(&to.dir.real, to.name.clone());
        }
        let link = Link { parent: to.parent.clone(), name: to.name.clone(), in_upper: true };
        self.nodes.move_link(node, (&from.parent, &from.name), link);
    }
}

fn check(source: &Arc<Node>, from: &End<'_>, to: &End<'_>, mode: RenameMode) -> Result<()> {
    if source.is_dir() && is_inside(&to.parent, source) {
        return Err(Error::refused(Errno::INVAL, "a directory cannot be moved into itself"));
    }
    match (&to.node, mode) {
        (None, RenameMode::Exchange) => Err(Error::refused(Errno::NOENT, "nothing to exchange with")),
        (Some(_), RenameMode::NoReplace) => Err(Error::refused(Errno::EXIST, "the new name exists")),
        (Some(target), RenameMode::Exchange) if target.is_dir() && is_inside(&from.parent, target) => {
            Err(Error::refused(Errno::INVAL, "a directory cannot be moved into itself"))
        }
        (Some(target), RenameMode::Replace) => match (source.is_dir(), target.is_dir()) {
            (true, false) => Err(Error::refused(Errno::NOTDIR, "a directory cannot replace a file")),
            (false, true) => Err(Error::refused(Errno::ISDIR, "a file cannot replace a directory")),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn is_inside(node: &Arc<Node>, ancestor: &Arc<Node>) -> bool {
    let mut at = Some(node.clone());
    while let Some(node) = at {
        if Arc::ptr_eq(&node, ancestor) {
            return true;
        }
        at = node.link().map(|link| link.parent);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn situation(whiteout: bool, in_upper: bool, covers: bool) -> Situation {
        Situation { whiteout, in_upper, covers }
    }

    #[test]
    fn every_case_has_its_plan() {
        use RenameMode::{Exchange, NoReplace, Replace};
        let upper = situation(false, true, false);
        let covering = situation(false, true, true);
        let nothing = situation(false, false, false);
        let lower = situation(false, false, true);
        let whiteout = situation(true, false, true);
        let moves = |replace, whiteout| Plan::Move { replace, whiteout };
        assert_eq!(Plan::decide(Exchange, true, upper, covering), Plan::Exchange);
        assert_eq!(Plan::decide(Replace, false, upper, nothing), moves(false, false));
        assert_eq!(Plan::decide(NoReplace, false, covering, nothing), moves(false, true));
        assert_eq!(Plan::decide(Replace, false, covering, lower), moves(false, true));
        assert_eq!(Plan::decide(Replace, false, upper, covering), moves(true, false));
        assert_eq!(Plan::decide(Replace, false, covering, whiteout), moves(true, true));
        assert_eq!(Plan::decide(Replace, true, upper, whiteout), Plan::SwapWithWhiteout { keep: false });
        assert_eq!(Plan::decide(Replace, true, covering, whiteout), Plan::SwapWithWhiteout { keep: true });
    }
}
