//! The names that nodes bear. Each is a reference to its directory.

use std::ffi::OsStr;
use std::sync::Arc;

use super::node::{Body, Link, Links, Node};
use super::nodes::Nodes;

/// Names of a file that are remembered at most. Others are found again when they are looked up: they cost neither memory nor the time
/// to look through all of them, however many somebody makes.
const MOST_LINKS: usize = 1024;

impl Nodes {
    /// Remembers another name of a file with several: the latest ones of very many. A name in a directory that was forgotten is
    /// found again when that is.
    pub fn add_link(&self, node: &Node, link: Link) {
        let crowded_out = {
            let mut state = node.state.write();
            let known = state.links.iter_mut().find(|known| known.is(&link.parent, &link.name));
            if let Some(known) = known {
                known.0.in_upper |= link.in_upper;
                return;
            }
            let Some(link) = self.count_link(link) else { return };
            // The first is the one to work with.
            let crowded_out = (state.links.len() >= MOST_LINKS).then(|| state.links.remove(1));
            state.links.push(link);
            crowded_out
        };
        crowded_out.into_iter().for_each(|link| self.dissolve(link));
    }

    /// Forgets a name of a node, because it was removed. Whether the node still has known names.
    pub fn drop_link(&self, node: &Node, parent: &Arc<Node>, name: &OsStr) -> bool {
        let (dropped, left) = {
            let mut state = node.state.write();
            let position = state.links.iter().position(|link| link.is(parent, name));
            let dropped = position.map(|position| state.links.remove(position));
            (dropped, !state.links.is_empty())
        };
        dropped.into_iter().for_each(|link| self.dissolve(link));
        left
    }

    /// One of a node's names has become another one, in a directory that the caller holds a reference to.
    pub fn move_link(&self, node: &Node, (parent, name): (&Arc<Node>, &OsStr), to: Link) {
        let Some(to) = self.count_link(to) else {
            log::error!("a directory was forgotten while something was moved into it");
            return;
        };
        let old = {
            let mut state = node.state.write();
            match state.links.iter_mut().find(|known| known.is(parent, name)) {
                Some(known) => Some(std::mem::replace(known, to)),
                None => {
                    state.links.push(to);
                    None
                }
            }
        };
        old.into_iter().for_each(|link| self.dissolve(link));
    }

    /// A node's file is elsewhere than it was known to be, as `change` says, and under this name.
    pub fn found_elsewhere(&self, node: &Node, link: Link, change: impl FnOnce(&Body) -> Option<Body>) {
        let before = {
            let mut state = node.state.write();
            let Some(body) = change(&state.body) else { return };
            let body = std::mem::replace(&mut state.body, body);
            let is_known = state.links.first().is_some_and(|known| known.is(&link.parent, &link.name));
            let link = if is_known { None } else { self.count_link(link) };
            let links = link.map(|link| std::mem::replace(&mut state.links, Links::from_iter([link])));
            (body, links)
        };
        // What the body held is given back without the lock.
        drop(before.0);
        before.1.into_iter().flatten().for_each(|link| self.dissolve(link));
    }
}
