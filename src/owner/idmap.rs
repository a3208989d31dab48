//! Owners as stored in the layers against owners as shown in the union.
//!
//! Pure arithmetic on numbers; nothing here touches a file. The spelling of the ranges is the one containers/storage
//! uses for `uidmapping=` and `gidmapping=`.

/// Nobody's id, for owners that no range holds: nobody passes as it, and the kernel shows it as 65534
/// (`/proc/sys/kernel/overflowuid`), as it does on an idmapped mount. 65534 itself is somebody, on most systems `nobody`.
pub const NO_ID: u32 = u32::MAX;

/// An owner wanted in the union, as the layer has to store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LayerId {
    /// Store this id.
    Id(u32),
    /// Owners are squashed: the layer keeps whatever the daemon creates.
    Keep,
    /// No range holds this id, so it cannot be stored.
    Unmapped,
}

/// A list of ranges that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdMapError {
    /// A field is empty or not a decimal number below 2^32.
    #[error("'{0}' is not an id")]
    NotANumber(String),
    /// The fields do not come in threes.
    #[error("ranges are STORED:SHOWN:COUNT, in threes")]
    Incomplete,
    /// A range of no ids, or one that runs past the last id.
    #[error("range {0}:{1}:{2} is empty or runs past the last id")]
    BadSize(u32, u32, u32),
    /// Two ranges share ids, so the mapping would not be one to one.
    #[error("range {0}:{1}:{2} overlaps another one")]
    Overlap(u32, u32, u32),
}

/// `len` ids shown from `shown` on, stored from `layer` on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    shown: u32,
    layer: u32,
    len: u32,
}

impl Range {
    fn overlaps(&self, other: &Range) -> bool {
        let meet = |a: u32, b: u32| {
            u64::from(a) < u64::from(b) + u64::from(other.len)
                && u64::from(b) < u64::from(a) + u64::from(self.len)
        };
        meet(self.shown, other.shown) || meet(self.layer, other.layer)
    }
}

/// A one-to-one mapping of id ranges, from `uidmapping=` or `gidmapping=`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdRanges(Vec<Range>);

impl IdRanges {
    /// Reads `[:]A:B:N[:A:B:N…]`: `N` ids stored from `A` on are shown from `B` on, as fuse-overlayfs reads it. For Podman, `A` is the
    /// id in the container, with which layers are stored, and `B` that on the host; it writes the leading colon.
    ///
    /// # Errors
    /// See [`IdMapError`]; an empty list is [`IdMapError::Incomplete`].
    pub fn parse(value: &[u8]) -> Result<Self, IdMapError> {
        let value = value.strip_prefix(b":").unwrap_or(value);
        let numbers = value.split(|&byte| byte == b':').map(parse_id).collect::<Result<Vec<u32>, _>>()?;
        let (triples, rest) = numbers.as_chunks::<3>();
        if !rest.is_empty() {
            return Err(IdMapError::Incomplete);
        }
        let mut ranges = Vec::with_capacity(triples.len());
        for &[layer, shown, len] in triples {
            let range = Range { shown, layer, len };
            if len == 0 || shown.checked_add(len).is_none() || layer.checked_add(len).is_none() {
                return Err(IdMapError::BadSize(layer, shown, len));
            }
            if ranges.iter().any(|other| range.overlaps(other)) {
                return Err(IdMapError::Overlap(layer, shown, len));
            }
            ranges.push(range);
        }
        Ok(Self(ranges))
    }

    /// What is mapped already stays: rootful Podman gives lowerdirs that are idmapped mounts, and the ranges, too.
    fn to_union(&self, id: u32) -> u32 {
        let mapped = self.0.iter().find_map(|range| shift(id, range.layer, range.shown, range.len));
        let is_mapped =
            || self.0.iter().any(|range| shift(id, range.shown, range.layer, range.len).is_some());
        mapped.unwrap_or_else(|| if is_mapped() { id } else { NO_ID })
    }

    fn to_layer(&self, id: u32) -> LayerId {
        let found = self.0.iter().find_map(|range| shift(id, range.shown, range.layer, range.len));
        found.map_or(LayerId::Unmapped, LayerId::Id)
    }
}

/// Reads a decimal id.
///
/// # Errors
/// [`IdMapError::NotANumber`] for anything but digits, and for numbers of more than 32 bits.
pub fn parse_id(field: &[u8]) -> Result<u32, IdMapError> {
    let not_a_number = || IdMapError::NotANumber(String::from_utf8_lossy(field).into_owned());
    // `u32::from_str` accepts a sign, which no id has.
    if !field.iter().all(u8::is_ascii_digit) {
        return Err(not_a_number());
    }
    let digits = str::from_utf8(field).map_err(|_| not_a_number())?;
    digits.parse().map_err(|_| not_a_number())
}

fn shift(id: u32, from: u32, to: u32, len: u32) -> Option<u32> {
    let offset = id.checked_sub(from).filter(|offset| *offset < len)?;
    to.checked_add(offset)
}

/// How owners are translated. The default changes nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct IdMap {
    /// Ranges of user ids; `None`: every id is shown as stored.
    pub uids: Option<IdRanges>,
    /// Ranges of group ids; `None`: every id is shown as stored.
    pub gids: Option<IdRanges>,
    /// Show every file as owned by this user, whatever is stored.
    pub squash_uid: Option<u32>,
    /// Show every file as owned by this group, whatever is stored.
    pub squash_gid: Option<u32>,
}

impl IdMap {
    /// Whether owners are shown exactly as stored.
    pub fn is_identity(&self) -> bool {
        *self == Self::default()
    }

    /// Whether ids other than those of owners are shown as stored: squashing is about owners alone.
    pub(super) fn keeps_ids(&self) -> bool {
        self.uids.is_none() && self.gids.is_none()
    }

    pub(super) fn stored_uid_to_union(&self, uid: u32) -> u32 {
        to_union(None, self.uids.as_ref(), uid)
    }

    pub(super) fn stored_gid_to_union(&self, gid: u32) -> u32 {
        to_union(None, self.gids.as_ref(), gid)
    }

    pub(super) fn named_uid_to_layer(&self, uid: u32) -> LayerId {
        to_layer(None, self.uids.as_ref(), uid)
    }

    pub(super) fn named_gid_to_layer(&self, gid: u32) -> LayerId {
        to_layer(None, self.gids.as_ref(), gid)
    }

    /// The user to show for a stored one; [`NO_ID`] when no range holds it.
    pub fn uid_to_union(&self, uid: u32) -> u32 {
        to_union(self.squash_uid, self.uids.as_ref(), uid)
    }

    /// The group to show for a stored one; [`NO_ID`] when no range holds it.
    pub fn gid_to_union(&self, gid: u32) -> u32 {
        to_union(self.squash_gid, self.gids.as_ref(), gid)
    }

    /// How to store a user of the union.
    pub fn uid_to_layer(&self, uid: u32) -> LayerId {
        to_layer(self.squash_uid, self.uids.as_ref(), uid)
    }

    /// How to store a group of the union.
    pub fn gid_to_layer(&self, gid: u32) -> LayerId {
        to_layer(self.squash_gid, self.gids.as_ref(), gid)
    }
}

fn to_union(squash: Option<u32>, ranges: Option<&IdRanges>, id: u32) -> u32 {
    squash.unwrap_or_else(|| ranges.map_or(id, |ranges| ranges.to_union(id)))
}

fn to_layer(squash: Option<u32>, ranges: Option<&IdRanges>, id: u32) -> LayerId {
    if squash.is_some() {
        return LayerId::Keep;
    }
    match ranges {
        _ if id == NO_ID => LayerId::Unmapped,
        Some(ranges) => ranges.to_layer(id),
        None => LayerId::Id(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(value: &str) -> IdMap {
        IdMap { uids: Some(IdRanges::parse(value.as_bytes()).unwrap()), ..IdMap::default() }
    }

    #[test]
    fn the_default_changes_nothing() {
        let map = IdMap::default();
        assert!(map.is_identity());
        for id in [0, 1000, 65_534, u32::MAX - 1] {
            assert_eq!(map.uid_to_union(id), id);
            assert_eq!(map.gid_to_layer(id), LayerId::Id(id));
        }
    }

    #[test]
    fn podmans_leading_colon_is_accepted() {
        assert_eq!(IdRanges::parse(b":0:1000:1:1:100000:65536"), IdRanges::parse(b"0:1000:1:1:100000:65536"));
    }

    #[test]
    fn stored_ids_are_shown_and_back() {
        let map = ranges(":1000:0:1:100000:1:65536");
        assert!(!map.is_identity());
        for (stored, shown) in [(1000, 0), (100_000, 1), (165_535, 65_536)] {
            assert_eq!(map.uid_to_union(stored), shown);
            assert_eq!(map.uid_to_layer(shown), LayerId::Id(stored));
        }
        assert_eq!(map.gid_to_union(1000), 1000);
    }

    #[test]
    fn ids_outside_every_range() {
        let map = ranges("1000:0:1:100000:1:600");
        for stored in [999, 1001, 99_999, 100_600] {
            assert_eq!(map.uid_to_union(stored), NO_ID);
        }
        assert_eq!(map.uid_to_layer(601), LayerId::Unmapped);
    }

    #[test]
    fn what_is_mapped_already_is_shown_as_it_is() {
        let map = ranges("0:100000:1000");
        assert_eq!(
            [0, 999, 100_000, 100_999].map(|id| map.uid_to_union(id)),
            [100_000, 100_999, 100_000, 100_999]
        );
        assert_eq!([1000, 99_999, 101_000].map(|id| map.uid_to_union(id)), [NO_ID; 3]);
        assert_eq!(map.uid_to_layer(100_005), LayerId::Id(5));
        // Where both could be meant, it is not mapped yet.
        let both = ranges("0:500:1000");
        assert_eq!((both.uid_to_union(600), both.uid_to_union(1200)), (1100, 1200));
    }

    #[test]
    fn squashing_wins_over_ranges_and_is_per_kind() {
        let map = IdMap { squash_uid: Some(0), ..ranges("1000:0:1") };
        assert!(!map.is_identity());
        assert_eq!(map.uid_to_union(1000), 0);
        assert_eq!(map.uid_to_union(77), 0);
        assert_eq!(map.uid_to_layer(77), LayerId::Keep);
        assert_eq!(map.gid_to_union(77), 77);
        assert_eq!(map.gid_to_layer(77), LayerId::Id(77));
    }

    #[test]
    fn bad_ranges_are_refused() {
        let not_a_number = |field: &str| Err(IdMapError::NotANumber(field.to_owned()));
        assert_eq!(IdRanges::parse(b""), not_a_number(""));
        assert_eq!(IdRanges::parse(b"::1:2:3"), not_a_number(""));
        assert_eq!(IdRanges::parse(b"0:x:1"), not_a_number("x"));
        assert_eq!(IdRanges::parse(b"0:+1:1"), not_a_number("+1"));
        assert_eq!(IdRanges::parse(b"0:4294967296:1"), not_a_number("4294967296"));
        assert_eq!(IdRanges::parse(b"0:1"), Err(IdMapError::Incomplete));
        assert_eq!(IdRanges::parse(b"0:1:0"), Err(IdMapError::BadSize(0, 1, 0)));
        assert_eq!(IdRanges::parse(b"0:4294967295:1"), Err(IdMapError::BadSize(0, u32::MAX, 1)));
        assert_eq!(IdRanges::parse(b"0:10:5:4:20:5"), Err(IdMapError::Overlap(4, 20, 5)));
        assert_eq!(IdRanges::parse(b"0:10:5:5:14:5"), Err(IdMapError::Overlap(5, 14, 5)));
    }

    #[test]
    fn the_whole_range_fits() {
        let map = ranges("0:0:4294967295");
        assert_eq!(map.uid_to_union(u32::MAX - 1), u32::MAX - 1);
    }
}
