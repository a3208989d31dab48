//! The users and groups that POSIX ACLs name, translated like owners.
//!
//! An ACL in an attribute is a header and entries of eight bytes (`struct posix_acl_xattr_entry`, linux/posix_acl_xattr.h).

use super::idmap::{IdMap, LayerId, NO_ID};

const HEADER: usize = 4;
const ENTRY: usize = 8;
/// `ACL_USER` and `ACL_GROUP`: the entries that name somebody (linux/posix_acl.h).
const USER: u16 = 0x02;
const GROUP: u16 = 0x08;

/// An ACL names somebody whom no range holds, so it cannot be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unmapped;

/// The ACL to show for a stored one. Entries for those who are nobody in the union are left out: they concern no one there,
/// and the kernel refuses an ACL that names no valid id, and with it everyone's access.
pub fn to_union(map: &IdMap, stored: Vec<u8>) -> Vec<u8> {
    if map.keeps_ids() {
        return stored;
    }
    let Some((header, entries)) = split(&stored) else { return stored };
    let mut shown = header.to_vec();
    for entry in entries {
        let id = match tag(entry) {
            USER => map.stored_uid_to_union(id(entry)),
            GROUP => map.stored_gid_to_union(id(entry)),
            _ => id(entry),
        };
        if matches!(tag(entry), USER | GROUP) && id == NO_ID {
            continue;
        }
        push(&mut shown, entry, id);
    }
    shown
}

/// The ACL to store for one that was set in the union.
///
/// # Errors
/// [`Unmapped`] for an entry whose id no range holds.
pub fn to_layer(map: &IdMap, shown: &[u8]) -> Result<Vec<u8>, Unmapped> {
    let Some((header, entries)) = split(shown).filter(|_| !map.keeps_ids()) else {
        return Ok(shown.to_vec());
    };
    let mut stored = header.to_vec();
    for entry in entries {
        let mapped = match tag(entry) {
            USER => map.named_uid_to_layer(id(entry)),
            GROUP => map.named_gid_to_layer(id(entry)),
            _ => LayerId::Id(id(entry)),
        };
        let LayerId::Id(id) = mapped else { return Err(Unmapped) };
        push(&mut stored, entry, id);
    }
    Ok(stored)
}

/// `None` for what is no ACL: the filesystem refuses it.
fn split(value: &[u8]) -> Option<(&[u8], &[[u8; ENTRY]])> {
    let (header, rest) = value.split_at_checked(HEADER)?;
    let (entries, rest) = rest.as_chunks::<ENTRY>();
    rest.is_empty().then_some((header, entries))
}

fn tag(entry: &[u8; ENTRY]) -> u16 {
    u16::from_le_bytes([entry[0], entry[1]])
}

fn id(entry: &[u8; ENTRY]) -> u32 {
    u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]])
}

fn push(value: &mut Vec<u8>, entry: &[u8; ENTRY], id: u32) {
    value.extend_from_slice(&entry[..4]);
    value.extend_from_slice(&id.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::owner::idmap::IdRanges;

    fn acl(entries: &[(u16, u16, u32)]) -> Vec<u8> {
        let mut value = 2u32.to_le_bytes().to_vec();
        for (tag, perm, id) in entries {
            value.extend_from_slice(&tag.to_le_bytes());
            value.extend_from_slice(&perm.to_le_bytes());
            value.extend_from_slice(&id.to_le_bytes());
        }
        value
    }

    fn map() -> IdMap {
        let ranges = |value: &[u8]| Some(IdRanges::parse(value).unwrap());
        IdMap { uids: ranges(b"100000:0:10"), gids: ranges(b"200000:0:10"), ..IdMap::default() }
    }

    #[test]
    fn those_who_are_named_are_mapped_and_nobody_else() {
        let stored =
            acl(&[(1, 6, NO_ID), (USER, 4, 100_005), (4, 4, NO_ID), (GROUP, 4, 200_007), (0x20, 0, NO_ID)]);
        let shown = acl(&[(1, 6, NO_ID), (USER, 4, 5), (4, 4, NO_ID), (GROUP, 4, 7), (0x20, 0, NO_ID)]);
        assert_eq!(to_union(&map(), stored.clone()), shown);
        assert_eq!(to_layer(&map(), &shown), Ok(stored));
    }

    #[test]
    fn who_is_nobody_in_the_union_is_left_out_and_cannot_be_stored() {
        let stored = acl(&[(1, 6, NO_ID), (USER, 7, 50), (GROUP, 7, 100_001), (0x20, 0, NO_ID)]);
        assert_eq!(to_union(&map(), stored), acl(&[(1, 6, NO_ID), (0x20, 0, NO_ID)]));
        assert_eq!(to_layer(&map(), &acl(&[(USER, 7, 10)])), Err(Unmapped));
        assert_eq!(to_layer(&map(), &acl(&[(GROUP, 7, NO_ID)])), Err(Unmapped));
    }

    #[test]
    fn what_is_no_acl_is_left_alone() {
        for value in [&b""[..], b"x", b"\x02\0\0\0x", b"\x02\0\0\0"] {
            assert_eq!(to_union(&map(), value.to_vec()), value);
            assert_eq!(to_layer(&map(), value), Ok(value.to_vec()));
        }
        let value = acl(&[(USER, 4, 5)]);
        assert_eq!(to_union(&IdMap::default(), value.clone()), value);
        let squashed = IdMap { squash_uid: Some(7), ..IdMap::default() };
        assert_eq!(to_union(&squashed, value.clone()), value);
    }
}
