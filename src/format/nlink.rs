//! `overlay.nlink`: how many links an indexed file has in the union, in terms of those that files of layers have.

use std::fmt;

/// A number of links in the union, noted relative to that of a file that changes with it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// So many more than the upper file has (`U±n`).
    OfUpper(i32),
    /// So many more than the lower file has (`L±n`).
    OfLower(i32),
}

impl fmt::Display for Links {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OfUpper(more) => write!(f, "U{more:+}"),
            Self::OfLower(more) => write!(f, "L{more:+}"),
        }
    }
}

impl Links {
    /// `None` for what is no number of links: none has more than 32 bits count, and what claims so must not be calculated with.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let (base, number) = value.split_first()?;
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        match base {
            b'U' => Some(Self::OfUpper(number)),
            b'L' => Some(Self::OfLower(number)),
            _ => None,
        }
    }

    /// How many more there are in the union than the upper file has. `None` where it was noted relative to a lower one that is not
    /// known.
    pub fn beside_upper(self, upper: u32, lower: Option<u32>) -> Option<i64> {
        match self {
            Self::OfUpper(more) => Some(more.into()),
            Self::OfLower(more) => Some(i64::from(lower?) + i64::from(more) - i64::from(upper)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noted_is_understood() {
        for links in [Links::OfUpper(0), Links::OfUpper(-1), Links::OfLower(7), Links::OfLower(i32::MIN)] {
            assert_eq!(Links::parse(links.to_string().as_bytes()), Some(links));
        }
        assert_eq!(
            (Links::OfUpper(1).to_string(), Links::OfLower(-2).to_string()),
            ("U+1".into(), "L-2".into())
        );
        for broken in ["", "U", "X+1", "U+99999999999", "L one", "U+1 "] {
            assert_eq!(Links::parse(broken.as_bytes()), None, "{broken:?}");
        }
    }

    #[test]
    fn links_are_counted_from_either_file() {
        assert_eq!(Links::OfUpper(-1).beside_upper(9, None), Some(-1));
        assert_eq!(Links::OfLower(1).beside_upper(2, Some(3)), Some(2));
        assert_eq!(Links::OfLower(1).beside_upper(2, None), None);
    }
}
