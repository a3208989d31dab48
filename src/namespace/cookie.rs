//! Where a listing goes on, in a number.
//!
//! There are no directory handles, so the number says it all; and programs without large-file support (32 bits, old) refuse a
//! directory with a number of more than 31 bits (getdents(2), EOVERFLOW). So:
//!
//! | bits | meaning of the low 29 |
//! |---|---|
//! | neither 29 nor 30 | an offset of the layer, in a directory that only one layer has |
//! | 30 | a position in the order of a merged listing |
//! | 29 | the number of a place that is remembered |
//!
//! Of ext4's offsets, 63 bits of hash, those 29 are the highest; of positions there are that many. Where that does not tell two
//! entries apart, the place between them is remembered: of a million entries about a thousand are (birthday paradox). Offsets of
//! other filesystems are small; one that is not keeps its bits, behind bit 61, as on the layer itself.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;

use crate::layer::stack::Offsets;

const BITS: u32 = 29;
const REMEMBERED: u64 = 1 << BITS;
const MERGED: u64 = 1 << (BITS + 1);
const LARGE: u64 = 1 << 61;

/// The low bits behind the last entry.
pub const END: u32 = (1 << BITS) - 1;
/// The positions of `.` and `..`.
pub const DOT: u32 = 1;
/// See [`DOT`].
pub const DOT_DOT: u32 = 2;
/// The first position of a name.
pub const FIRST_POSITION: u32 = 3;

/// How far the bits of a hash that are kept lie from its end.
const HASH_SHIFT: u32 = 63 - BITS;
/// Where ext4 has `..`: before all hashes of names, but for some that share its first bits.
const DOT_DOT_AT: u64 = 1 << 32;

impl Offsets {
    /// Whether the bits kept of `next`, where a listing goes on after an entry, tell that from `own`, where the entry is itself.
    pub fn tells_apart(self, own: u64, next: u64) -> bool {
        self != Self::Hashes || first_bits(own) != first_bits(next)
    }

    /// The number for an offset.
    pub fn cookie_of(self, offset: u64) -> u64 {
        const LAST: [u64; 2] = [i32::MAX as u64, i64::MAX as u64];
        match self {
            _ if LAST.contains(&offset) => END.into(),
            Self::Hashes => first_bits(offset),
            Self::Small | Self::Unknown if offset < END.into() => offset,
            Self::Small | Self::Unknown => LARGE | (offset & (LARGE - 1)),
        }
    }

    /// The first of the offsets that have these bits.
    fn offset_of(self, low: u64) -> u64 {
        match low {
            low if self != Self::Hashes => low,
            0 | 1 => low * DOT_DOT_AT,
            2 | 3 => DOT_DOT_AT + 1,
            low => (low - 3) << HASH_SHIFT,
        }
    }
}

/// What is kept of a hash. `.` and `..` have numbers of their own, or each directory would have a place to remember.
fn first_bits(offset: u64) -> u64 {
    match offset {
        0 => 0,
        1..=DOT_DOT_AT => 1,
        _ => ((offset >> HASH_SHIFT) + 3).min(u64::from(END) - 1),
    }
}

/// Where a listing goes on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Spot {
    /// At the beginning.
    Beginning,
    /// At an offset of the layer.
    Offset(u64),
    /// After all that stand at a position of a merged listing.
    Position(u32),
    /// After a name that shares its position with others.
    Name(u32, Arc<OsStr>),
    /// Nowhere: it has come to its end, or the number is none of ours.
    End,
}

/// The number for a position of a merged listing.
pub fn of_position(position: u32) -> u64 {
    MERGED | u64::from(position)
}

/// The spots of one directory that have to be remembered.
#[derive(Debug, Default)]
pub struct Spots {
    all: Vec<Spot>,
    numbers: HashMap<Spot, u64>,
}

/// Nobody lists a directory in which so many are in use. More would be those of names that have long gone.
const MOST: usize = 1 << 20;

impl Spots {
    /// The number for a place, always the same.
    pub fn remember(&mut self, spot: Spot) -> u64 {
        if let Some(number) = self.numbers.get(&spot) {
            return REMEMBERED | number;
        }
        if self.all.len() == MOST {
            *self = Self::default();
        }
        let number = self.all.len() as u64;
        self.all.push(spot.clone());
        self.numbers.insert(spot, number);
        REMEMBERED | number
    }

    fn get(&self, number: u64) -> Option<Spot> {
        self.all.get(usize::try_from(number).ok()?).cloned()
    }
}

/// Whether a number was given out by a merged listing, or says nothing of which kind it was.
pub fn is_merged(cookie: u64, spots: Option<&Spots>) -> bool {
    match cookie {
        _ if cookie & LARGE != 0 => false,
        _ if cookie & MERGED != 0 => true,
        _ if cookie & REMEMBERED != 0 => {
            matches!(spots.and_then(|spots| spots.get(cookie & !REMEMBERED)), Some(Spot::Name(..)))
        }
        _ => false,
    }
}

/// What a number stands for in a directory whose layer has such `offsets`.
pub fn spot(cookie: u64, offsets: Offsets, spots: Option<&Spots>) -> Spot {
    let low = cookie & u64::from(END);
    match cookie {
        0 => Spot::Beginning,
        _ if cookie & LARGE != 0 => Spot::Offset(cookie & (LARGE - 1)),
        _ if cookie & MERGED != 0 => Spot::Position(u32::try_from(low).unwrap_or(END)),
        _ if cookie & REMEMBERED != 0 => spots.and_then(|spots| spots.get(low)).unwrap_or(Spot::End),
        _ if low == u64::from(END) => Spot::End,
        _ => Spot::Offset(offsets.offset_of(low)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_survive_the_way_through_a_cookie() {
        for offset in [2u64, 4, 1 << 28, 1 << 40, (1 << 60) + 7] {
            let cookie = Offsets::Small.cookie_of(offset);
            assert_eq!(spot(cookie, Offsets::Small, None), Spot::Offset(offset));
            assert_eq!(cookie < 1 << 31, offset < 1 << 29, "{offset}");
        }
        // Resumed from the beginning of what has the same first bits.
        let hash = 0x1234_5678_9abc_def0;
        let cookie = Offsets::Hashes.cookie_of(hash);
        let Spot::Offset(offset) = spot(cookie, Offsets::Hashes, None) else { panic!("an offset") };
        assert!(cookie < 1 << 29 && offset <= hash && !Offsets::Hashes.tells_apart(offset, hash));
        assert!(Offsets::Hashes.tells_apart(hash, hash + (1 << HASH_SHIFT)));
        for first in [1, DOT_DOT_AT] {
            assert!(Offsets::Hashes.tells_apart(0, first));
            assert_eq!(
                spot(Offsets::Hashes.cookie_of(first), Offsets::Hashes, None),
                Spot::Offset(DOT_DOT_AT)
            );
        }
        for hash in [DOT_DOT_AT + 1, 1 << HASH_SHIFT, 3 << 40, (1 << 63) - (1 << 33)] {
            let Spot::Offset(offset) = spot(Offsets::Hashes.cookie_of(hash), Offsets::Hashes, None) else {
                panic!("an offset")
            };
            assert!(
                DOT_DOT_AT < offset && offset <= hash && first_bits(offset) == first_bits(hash),
                "{hash:x}"
            );
        }
        for last in [i64::MAX as u64, i32::MAX as u64] {
            for offsets in [Offsets::Small, Offsets::Hashes] {
                assert_eq!(spot(offsets.cookie_of(last), offsets, None), Spot::End);
            }
        }
    }

    #[test]
    fn what_is_remembered_is_found_again() {
        let mut spots = Spots::default();
        let name = Spot::Name(7, Arc::from(OsStr::new("a")));
        let first = spots.remember(name.clone());
        let second = spots.remember(Spot::Offset(1 << 50));
        assert_eq!(spots.remember(name.clone()), first);
        assert!(first != second && first < 1 << 31 && second < 1 << 31);
        assert_eq!(spot(first, Offsets::Small, Some(&spots)), name);
        assert_eq!(spot(second, Offsets::Hashes, Some(&spots)), Spot::Offset(1 << 50));
        assert_eq!(spot(second + 1, Offsets::Small, Some(&spots)), Spot::End);
        assert!(is_merged(first, Some(&spots)) && !is_merged(second, Some(&spots)));
    }

    #[test]
    fn positions() {
        let cookie = of_position(12345);
        assert!(cookie < 1 << 31 && is_merged(cookie, None));
        assert_eq!(spot(cookie, Offsets::Hashes, None), Spot::Position(12345));
        assert_eq!(spot(0, Offsets::Small, None), Spot::Beginning);
    }
}
