//! Views: unions that only look at an upperdir that another one may be changing. Whatever is found counts more than what is known.

use std::sync::Arc;

use crate::layer::dir::RealDir;
use crate::namespace::node::{Body, Link, Node, UpperFile};
use crate::namespace::walk::{DirStack, Found, Located};
use crate::ops::lookup::Lookup;

impl Lookup {
    /// Lets a directory's node be what was found just now: it may have been copied up, moved or marked since.
    pub(in crate::ops) fn catch_up_dir(&self, node: &Arc<Node>, located: &Located) {
        let upper = located.upper.as_ref();
        let known = node.stack();
        let known_upper = known.as_ref().and_then(|stack| stack.upper.as_ref());
        let is_where_it_was = match (known_upper, upper) {
            (Some(dir), Some(found)) => dir.ino() == found.stat.ino && dir.is_at(&found.dir, &found.name),
            (None, None) => true,
            _ => false,
        };
        let same_lowers = known.as_ref().is_some_and(|stack| are(&stack.lowers, &located.lowers));
        if is_where_it_was && same_lowers {
            return;
        }
        let stack = DirStack {
            upper: upper.map(|found| self.open_upper_dir(found)),
            lowers: match known.as_ref().filter(|_| same_lowers) {
                Some(stack) => stack.lowers.clone(),
                None => located.lowers.iter().map(Found::open_dir).collect(),
            },
        };
        let before = node.with_dir(|directory| {
            directory.redirect = upper.and_then(|found| found.marks.redirect.as_deref().map(Box::from));
            directory.changes += 1;
            std::mem::replace(&mut directory.stack, stack)
        });
        self.nodes.snapshots.forget(node.id);
        before.iter().flat_map(DirStack::all).for_each(|dir| self.nodes.dirs.close(dir));
    }

    /// Lets a file's node be what was found just now, under the name that it was found by: the file may have been copied up, and
    /// the name that it is known by may be gone.
    pub(in crate::ops) fn catch_up_file(&self, node: &Node, link: Link, upper: UpperFile) {
        self.nodes.found_elsewhere(node, link, |known| {
            let copied_from = match known {
                Body::Lower(lower) => Some(lower.real),
                Body::Upper(known) => known.copied_from,
                Body::Directory(_) => return None,
            };
            Some(Body::Upper(Box::new(UpperFile { copied_from, ..upper })))
        });
    }
}

/// Whether these directories are those that were found.
fn are(dirs: &[Arc<RealDir>], found: &[Found]) -> bool {
    let is = |dir: &RealDir, found: &Found| {
        dir.layer().index == found.dir.layer().index && dir.ino() == found.stat.ino
    };
    dirs.len() == found.len() && dirs.iter().zip(found).all(|(dir, found)| is(dir, found))
}
