//! Capabilities of files: they count for those whose root is the user that they name, which is translated like an owner.
//!
//! `struct vfs_ns_cap_data` (linux/capability.h): a word of revision and flags, two pairs of masks, and in revision 3 the user id
//! of the root of the namespaces they are for. Revision 2 is for that of the filesystem, 0.

use super::idmap::{IdMap, LayerId, NO_ID};

const REVISION_MASK: u32 = 0xff00_0000;
const REVISION_2: u32 = 0x0200_0000;
const REVISION_3: u32 = 0x0300_0000;
const SIZE_2: usize = 20;
const SIZE_3: usize = 24;

/// The attribute's value to show for a stored one; `None` when it is for a root that is nobody in the union, and so for no one
/// (kernel: `get_vfs_caps_from_disk` on an idmapped mount).
pub fn to_union(map: &IdMap, stored: Vec<u8>) -> Option<Vec<u8>> {
    let Some(root) = root_of(&stored).filter(|_| !map.keeps_ids()) else {
        return Some(stored);
    };
    match map.stored_uid_to_union(root) {
        NO_ID => None,
        root => Some(with_root(&stored, root)),
    }
}

/// The value to store for one that was set in the union; `None` when no range holds the root that it is for.
pub fn to_layer(map: &IdMap, shown: &[u8]) -> Option<Vec<u8>> {
    let Some(root) = root_of(shown).filter(|_| !map.keeps_ids()) else {
        return Some(shown.to_vec());
    };
    match map.named_uid_to_layer(root) {
        LayerId::Id(root) => Some(with_root(shown, root)),
        LayerId::Keep | LayerId::Unmapped => None,
    }
}

/// `None` for what is no value of revision 2 or 3: nobody has capabilities by it.
fn root_of(value: &[u8]) -> Option<u32> {
    let word = |at: usize| Some(u32::from_le_bytes(value.get(at..at + 4)?.try_into().ok()?));
    match (word(0)? & REVISION_MASK, value.len()) {
        (REVISION_2, SIZE_2) => Some(0),
        (REVISION_3, SIZE_3) => word(SIZE_2),
        _ => None,
    }
}

fn with_root(value: &[u8], root: u32) -> Vec<u8> {
    let mut value = value[..SIZE_2].to_vec();
    let revision: u8 = if root == 0 { 2 } else { 3 };
    value[3] = revision;
    if root != 0 {
        value.extend_from_slice(&root.to_le_bytes());
    }
    value
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::idmap::IdRanges;

    fn value(revision: u8, root: Option<u32>) -> Vec<u8> {
        let mut value = vec![1, 0, 0, revision];
        value.extend(1..=16);
        value.extend(root.into_iter().flat_map(u32::to_le_bytes));
        value
    }

    fn map(ranges: &[u8]) -> IdMap {
        IdMap { uids: Some(IdRanges::parse(ranges).unwrap()), ..IdMap::default() }
    }

    #[test]
    fn the_root_is_mapped() {
        let map = map(b"100000:0:10:3000:2000:5");
        for (stored, shown) in [
            (value(3, Some(100_000)), value(2, None)),
            (value(3, Some(100_003)), value(3, Some(3))),
            (value(3, Some(3001)), value(3, Some(2001))),
        ] {
            assert_eq!(to_union(&map, stored.clone()), Some(shown.clone()));
            assert_eq!(to_layer(&map, &shown), Some(stored));
        }
    }

    /// As Podman has it: stored for the container's root, and shown for whom that is on the host.
    #[test]
    fn those_of_a_containers_root_are_for_his_namespace() {
        let map = map(b"0:100000:65536");
        assert_eq!(to_union(&map, value(2, None)), Some(value(3, Some(100_000))));
        assert_eq!(to_layer(&map, &value(3, Some(100_000))), Some(value(2, None)));
        assert_eq!(to_union(&map, value(3, Some(100_000))), Some(value(3, Some(100_000))), "mapped already");
    }

    #[test]
    fn who_is_for_another_root_has_none_of_it() {
        let map = map(b"100000:2000:10");
        assert_eq!(to_union(&map, value(2, None)), None, "for the root of the machine");
        assert_eq!(to_union(&map, value(3, Some(77))), None);
        assert_eq!(to_layer(&map, &value(3, Some(10))), None);
    }

    #[test]
    fn what_is_no_capability_is_left_alone() {
        let map = map(b"0:100000:10");
        for value in [Vec::new(), vec![1, 2], value(1, None), value(2, Some(4)), value(9, None)] {
            assert_eq!(to_union(&map, value.clone()), Some(value.clone()));
            assert_eq!(to_layer(&map, &value), Some(value));
        }
        let value = value(2, None);
        assert_eq!(to_union(&IdMap::default(), value.clone()), Some(value));
    }
}
