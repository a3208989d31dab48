use super::*;
use crate::layer::store::Disk;
use crate::namespace::node::{Directory, Home, UpperFile};
use crate::namespace::walk::DirStack;
use crate::types::Birth;

fn file(ino: u64) -> Body {
    Body::Upper(Box::new(UpperFile {
        real: RealId { dev: 1, ino },
        birth: Birth::default(),
        copied_from: None,
        home: Home::Named,
        covers_links: false,
        extra_links: 0,
        index: None,
    }))
}

fn nodes() -> Nodes {
    let root = Node::root(Directory::new(DirStack { upper: None, lowers: Arc::new([]) }));
    Nodes::new(Numbers::new(Vec::new()), root, DirOpener::new(Arc::new(Disk), 4), OpenFiles::new(4))
}

fn seen_in(nodes: &Nodes, dir: NodeId, name: &str) -> Seen {
    let parent = (*nodes.get(dir).unwrap()).clone();
    Seen { link: Link { parent, name: Arc::from(std::ffi::OsStr::new(name)), in_upper: true }, version: None }
}

fn intern_as<'t>(
    nodes: &'t Nodes,
    wanted: Option<u64>,
    ino: u64,
    seen: &Seen,
    is_same: impl Fn(&Node) -> bool,
) -> Option<Interned<'t>> {
    let real = RealId { dev: 1, ino };
    let found = Sighting { seen, kind: Kind::File, real, wanted: wanted.map(NodeId) };
    nodes.intern(&found, is_same, || file(ino))
}

fn intern(nodes: &Nodes, wanted: u64, ino: u64) -> Interned<'_> {
    let seen = seen_in(nodes, NodeId::ROOT, &format!("{ino}"));
    let is_same =
        |node: &Node| matches!(&node.state.read().body, Body::Upper(upper) if upper.real.ino == ino);
    intern_as(nodes, Some(wanted), ino, &seen, is_same).unwrap()
}

#[test]
fn a_file_has_one_node_until_it_is_forgotten() {
    let nodes = nodes();
    let first = intern(&nodes, 10, 10);
    let second = intern(&nodes, 10, 10);
    assert!(first.created && !second.created && Arc::ptr_eq(&first.node, &second.node));
    drop(first);
    assert_eq!(nodes.len(), 2);
    drop(second);
    assert!(nodes.get(NodeId(10)).is_none());
    assert_eq!(nodes.len(), 1);
}

#[test]
fn what_the_kernel_was_given_stays_until_it_forgets() {
    let nodes = nodes();
    let first = intern(&nodes, 10, 10).node;
    first.clone().give_to_kernel();
    first.give_to_kernel();
    nodes.forget(NodeId(10), 1);
    assert_eq!(nodes.get(NodeId(10)).map(|node| node.id()), Some(NodeId(10)));
    nodes.forget(NodeId(10), 1);
    assert!(nodes.get(NodeId(10)).is_none());
}

#[test]
fn two_files_never_share_a_number() {
    let nodes = nodes();
    let first = intern(&nodes, 10, 10).node;
    let second = intern(&nodes, 10, 11).node;
    assert_ne!(first.id, second.id);
    assert_eq!(intern(&nodes, 10, 11).node.id, second.id);
    drop(second);
    assert_eq!(nodes.renumbered(RealId { dev: 1, ino: 11 }), None);
}

/// Another file has got the number of the node that was known, between the look at it and the lock of its entry.
#[test]
fn a_number_that_is_known_no_more_is_not_taken() {
    let nodes = nodes();
    let real = RealId { dev: 1, ino: 12 };
    let other = intern(&nodes, 10, 10).node;
    nodes.renumber(real, NodeId(10));
    let seen = seen_in(&nodes, NodeId::ROOT, "other");
    let overtaken = |_: &Node| {
        nodes.unnumber(real);
        false
    };
    let found = intern_as(&nodes, Some(12), 12, &seen, overtaken).unwrap();
    assert!(found.created && !Arc::ptr_eq(&found.node, &other));
    assert_eq!(found.node.id, NodeId(12));
}

#[test]
fn a_count_never_rises_from_zero() {
    let nodes = nodes();
    let node = intern(&nodes, 10, 10).node;
    let link =
        Link { parent: (*node).clone(), name: Arc::from(std::ffi::OsStr::new("in it")), in_upper: true };
    let counted = nodes.count_link(link.clone()).unwrap();
    drop(node);
    assert!(nodes.get(NodeId(10)).is_some());
    nodes.dissolve(counted);
    assert!(nodes.get(NodeId(10)).is_none());
    assert!(nodes.count_link(link).is_none());
}

/// Whoever has a reference to a node that the kernel has forgotten more often than it was told takes none of the node's that comes after
/// it.
#[test]
fn a_reference_is_of_its_own_node_only() {
    let nodes = nodes();
    let first = intern(&nodes, 10, 10).node;
    nodes.forget(NodeId(10), 5);
    let second = intern(&nodes, 10, 10).node;
    assert!(!Arc::ptr_eq(&first, &second));
    drop(first);
    assert!(Arc::ptr_eq(&second, &nodes.get(NodeId(10)).unwrap()));
}

#[test]
fn a_directory_lives_as_long_as_what_is_in_it() {
    let nodes = nodes();
    intern(&nodes, 10, 10).node.give_to_kernel();
    let inner = intern_as(&nodes, Some(11), 11, &seen_in(&nodes, NodeId(10), "in it"), |_| false).unwrap();
    nodes.forget(NodeId(10), 1);
    assert_eq!(nodes.len(), 3);
    drop(inner);
    assert_eq!(nodes.len(), 1);
}

#[test]
fn what_is_refused_leaves_nothing() {
    let nodes = nodes();
    let first = intern(&nodes, 10, 10).node;
    let before = nodes.get(NodeId::ROOT).unwrap().version();
    let seen = Seen { version: before, ..seen_in(&nodes, NodeId::ROOT, "gone") };
    nodes.get(NodeId::ROOT).unwrap().with_dir(|directory| directory.changes += 1);
    for wanted in [None, Some(10), Some(12)] {
        assert!(intern_as(&nodes, wanted, 12, &seen, |_| false).is_none());
        assert_eq!((nodes.len(), nodes.renumbered(RealId { dev: 1, ino: 12 })), (2, None));
    }
    drop(first);
    assert_eq!(nodes.len(), 1);
}

#[test]
fn the_root_is_never_forgotten() {
    let nodes = nodes();
    nodes.forget(NodeId::ROOT, 100);
    drop(nodes.get(NodeId::ROOT).unwrap());
    assert!(nodes.get(NodeId::ROOT).is_some());
}
