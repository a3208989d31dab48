//! `override_stat`: the owner, mode and kind that a file stands for, where it could not be made so (containers/storage,
//! `pkg/idtools`; fuse-overlayfs, `xattr_permissions`). `uid:gid:mode` with the mode in octal, and since 2025 `:kind`.

use std::fmt;

use crate::types::Kind;

/// The attributes that record it, in the order in which fuse-overlayfs looks for them. Those of `security` need CAP_SYS_ADMIN.
pub const NAMES: [&str; 4] = [
    "security.fuseoverlayfs.override_stat",
    "user.fuseoverlayfs.override_stat",
    "user.containers.override_stat",
    "security.containers.override_stat",
];

/// What is recorded of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recorded {
    /// The owner.
    pub uid: u32,
    /// The group.
    pub gid: u32,
    /// The permission bits, 0o7777 at most.
    pub perm: u32,
    /// What it is, where that is recorded: the file itself may be a plain one.
    pub kind: Option<RecordedKind>,
}

/// A kind of file, with the numbers of a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordedKind {
    /// The kind.
    pub kind: Kind,
    /// Major and minor number of a device; 0 for all others.
    pub device: (u32, u32),
}

impl RecordedKind {
    fn parse(word: &str) -> Option<Self> {
        let plain = |kind| Some(Self { kind, device: (0, 0) });
        let device = |kind, numbers: &str| {
            let (major, minor) = numbers.split_once('-')?;
            Some(Self { kind, device: (number(major, 10)?, number(minor, 10)?) })
        };
        match word {
            "file" => plain(Kind::File),
            "dir" => plain(Kind::Directory),
            "symlink" => plain(Kind::Symlink),
            "pipe" => plain(Kind::Fifo),
            "socket" => plain(Kind::Socket),
            _ => match word.split_once('-')? {
                ("block", numbers) => device(Kind::BlockDevice, numbers),
                ("char", numbers) => device(Kind::CharDevice, numbers),
                _ => None,
            },
        }
    }
}

/// Digits only: neither a sign nor blanks are anything that is written.
fn number(word: &str, radix: u32) -> Option<u32> {
    let digits = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| u32::from_str_radix(word, radix).ok()).flatten()
}

impl Recorded {
    /// `None` for what is no such record; whoever finds one shows the file as it is, and not to more people.
    pub fn parse(value: &[u8]) -> Option<Self> {
        let mut words = std::str::from_utf8(value).ok()?.split(':');
        let uid = number(words.next()?, 10)?;
        let gid = number(words.next()?, 10)?;
        let perm = number(words.next()?, 8).filter(|perm| *perm <= 0o7777)?;
        let kind = match words.next() {
            Some(word) => Some(RecordedKind::parse(word)?),
            None => None,
        };
        words.next().is_none().then_some(Self { uid, gid, perm, kind })
    }
}

impl fmt::Display for Recorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{:04o}", self.uid, self.gid, self.perm)?;
        let Some(RecordedKind { kind, device: (major, minor) }) = self.kind else { return Ok(()) };
        match kind {
            Kind::File => f.write_str(":file"),
            Kind::Directory => f.write_str(":dir"),
            Kind::Symlink => f.write_str(":symlink"),
            Kind::Fifo => f.write_str(":pipe"),
            Kind::Socket => f.write_str(":socket"),
            Kind::BlockDevice => write!(f, ":block-{major}-{minor}"),
            Kind::CharDevice => write!(f, ":char-{major}-{minor}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_is_understood_and_written() {
        let kind = |kind, device| Some(RecordedKind { kind, device });
        for (value, perm, expected) in [
            ("1:2:0644", 0o644, None),
            ("1:2:4755:file", 0o4755, kind(Kind::File, (0, 0))),
            ("1:2:0755:dir", 0o755, kind(Kind::Directory, (0, 0))),
            ("1:2:0777:symlink", 0o777, kind(Kind::Symlink, (0, 0))),
            ("1:2:0600:pipe", 0o600, kind(Kind::Fifo, (0, 0))),
            ("1:2:0700:socket", 0o700, kind(Kind::Socket, (0, 0))),
            ("1:2:0660:block-8-0", 0o660, kind(Kind::BlockDevice, (8, 0))),
            ("1:2:0666:char-1-3", 0o666, kind(Kind::CharDevice, (1, 3))),
        ] {
            let recorded = Recorded { uid: 1, gid: 2, perm, kind: expected };
            assert_eq!(Recorded::parse(value.as_bytes()), Some(recorded), "{value}");
            assert_eq!(recorded.to_string(), value);
        }
        // fuse-overlayfs before 1.15 writes no leading zeros.
        assert_eq!(Recorded::parse(b"0:0:755").map(|recorded| recorded.perm), Some(0o755));
    }

    #[test]
    fn what_is_none_is_not_taken_for_one() {
        for value in [
            "",
            "1",
            "1:2",
            "1:2:",
            "1:2:0888",
            "1:2:10000",
            "-1:2:0644",
            "+1:2:0644",
            "1:2:0644:",
            "1:2:0644:char",
            "1:2:0644:char-1",
            "1:2:0644:char-1-",
            "1:2:0644:door",
            "1:2:0644:file:more",
            "4294967296:0:0644",
            " 1:2:0644",
            "1:2:0644\n",
        ] {
            assert_eq!(Recorded::parse(value.as_bytes()), None, "{value:?}");
        }
        assert_eq!(Recorded::parse(b"1:2:\xff"), None);
    }
}
