//! Who uses an upperdir and a workdir: told to other mounts, and asked of them.
//!
//! Not by a lock on the directories: whoever may read a directory may lock it, and a mount that somebody's namespace has a copy
//! of would keep it for as long as that lives. A mount is in the way of another one only where it is to be seen; for one that
//! is not, the kernel's overlayfs warns and goes on, too.

use std::path::PathBuf;
use std::thread;
use std::time::{Duration, Instant};

use crate::sys::memo::{Found, Memo};
use crate::sys::mount::{self, Connection};
use crate::types::RealId;

/// How long another daemon is waited for that is about to mount, or to end.
const PATIENCE: Duration = Duration::from_secs(2);
/// The same where it is not known whether that is so.
const GLANCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(5);

/// The use that a union makes of its directories, for others to see.
#[derive(Debug)]
pub struct Claim {
    /// `None` where nothing can be told to others.
    memo: Option<Memo>,
    dirs: Dirs,
}

/// What is claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dirs {
    /// The upperdir.
    pub upper: RealId,
    /// The workdir; `None` where it could not be made yet.
    pub work: Option<RealId>,
}

/// How far a union is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// About to be mounted.
    Opening,
    /// Used without a mount.
    Unmounted,
    /// Mounted, with this device number.
    Mounted((u32, u32)),
    /// Mounted by somebody else, nobody knows where.
    Elsewhere,
}

/// A union that uses the same directory, which is to be seen and wants to write.
#[derive(Debug, PartialEq, Eq)]
pub struct Rival {
    /// Whether it is the upperdir that both use, and not only the workdir.
    pub upper: bool,
    pid: u32,
    mountpoint: Option<PathBuf>,
}

impl std::fmt::Display for Rival {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.mountpoint {
            Some(place) => write!(f, "in use by the union on '{}' (process {})", place.display(), self.pid),
            None => write!(f, "in use by another union (process {})", self.pid),
        }
    }
}

/// What to do about another union.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// To give way to it, unless it has ended after this time.
    GiveWay(Duration),
    /// To go on beside it, if it has not ended after this time.
    GoOn(Duration),
}

impl Claim {
    /// Claims an upperdir and a workdir, after all who had them have been given the time to end.
    ///
    /// `owner` is the owner of the upperdir: what others say counts only from him, from root and from our own user.
    ///
    /// # Errors
    /// The union to give way to.
    pub fn make(upper: RealId, work: Option<RealId>, owner: u32, stage: Stage) -> Result<Self, Rival> {
        let dirs = Dirs { upper, work };
        let memo = Memo::leave(text(dirs, stage).as_bytes())
            .inspect_err(|error| log::warn!("other mounts cannot see that the upperdir is in use: {error}"));
        let claim = Self { memo: memo.ok(), dirs };
        let trusted = [0, rustix::process::geteuid().as_raw(), owner];
        let began = Instant::now();
        loop {
            let mut wait = false;
            let mut beside = None;
            for other in claim.others().iter().filter(|other| trusted.contains(&other.uid)) {
                let Some((theirs, stage)) = parse(&other.text) else { continue };
                let shared = (theirs.upper == upper, work.is_some() && theirs.work == work);
                if shared == (false, false) {
                    continue;
                }
                let (answer, mountpoint) = claim.answer(other, stage);
                match answer {
                    Answer::GiveWay(limit) if began.elapsed() >= limit => {
                        return Err(Rival { upper: shared.0, pid: other.pid, mountpoint });
                    }
                    Answer::GoOn(limit) if began.elapsed() >= limit => beside = Some(other.pid),
                    _ => wait = true,
                }
            }
            if !wait {
                if let Some(pid) = beside {
                    log::warn!(
                        "the upperdir is still in use by process {pid}, whose mount is nowhere to be seen: what is written through that may be lost, or overwrite what is written here"
                    );
                }
                return Ok(claim);
            }
            thread::sleep(PAUSE);
        }
    }

    /// Tells others that the union is mounted: as what, where that is known.
    pub fn mounted(&mut self, device: Option<(u32, u32)>) {
        let stage = device.map_or(Stage::Elsewhere, Stage::Mounted);
        let said = self.memo.as_mut().map(|memo| memo.replace(text(self.dirs, stage).as_bytes()));
        if let Some(Err(error)) = said {
            log::warn!("other mounts cannot see where the upperdir is in use: {error}");
        }
    }

    fn others(&self) -> Vec<Found> {
        let found = self.memo.as_ref().map(Memo::others).transpose();
        found.ok().flatten().unwrap_or_default()
    }

    fn answer(&self, other: &Found, stage: Stage) -> (Answer, Option<PathBuf>) {
        let own = (std::process::id(), self.memo.as_ref().map_or(0, Memo::number));
        match stage {
            Stage::Unmounted => (Answer::GiveWay(Duration::ZERO), None),
            // Of two that see each other begin, one has to give way, and the other to wait for that.
            Stage::Opening if (other.pid, other.number) < own => (Answer::GiveWay(Duration::ZERO), None),
            Stage::Opening => (Answer::GiveWay(PATIENCE), None),
            Stage::Elsewhere => (Answer::GoOn(GLANCE), None),
            Stage::Mounted(device) => match mount::mountpoint_of(device).unwrap_or_default() {
                // The number of a filesystem that is gone is given to the next one while its daemon is ending.
                Some(mountpoint) => (Answer::GiveWay(GLANCE), Some(mountpoint)),
                None => match Connection::of(device.1) {
                    Connection::Lives => (Answer::GoOn(Duration::ZERO), None),
                    Connection::Gone => (Answer::GoOn(PATIENCE), None),
                    Connection::Unknown => (Answer::GoOn(GLANCE), None),
                },
            },
        }
    }
}

/// What is told to others.
pub fn text(dirs: Dirs, stage: Stage) -> String {
    let work = dirs.work.map_or("-".to_owned(), |work| format!("{}:{}", work.dev, work.ino));
    let stage = match stage {
        Stage::Opening => "opening".to_owned(),
        Stage::Unmounted => "unmounted".to_owned(),
        Stage::Mounted((major, minor)) => format!("{major}:{minor}"),
        Stage::Elsewhere => "elsewhere".to_owned(),
    };
    format!("union-1 {}:{} {work} {stage}\n", dirs.upper.dev, dirs.upper.ino)
}

/// What others say; `None` if it is something else.
pub fn parse(text: &[u8]) -> Option<(Dirs, Stage)> {
    let mut words = str::from_utf8(text).ok()?.split_ascii_whitespace();
    if words.next()? != "union-1" {
        return None;
    }
    let real_id = |word: &str| {
        let (dev, ino) = word.split_once(':')?;
        Some(RealId { dev: dev.parse().ok()?, ino: ino.parse().ok()? })
    };
    let upper = real_id(words.next()?)?;
    let work = match words.next()? {
        "-" => None,
        word => Some(real_id(word)?),
    };
    let stage = match words.next()? {
        "opening" => Stage::Opening,
        "unmounted" => Stage::Unmounted,
        "elsewhere" => Stage::Elsewhere,
        word => {
            let (major, minor) = word.split_once(':')?;
            Stage::Mounted((major.parse().ok()?, minor.parse().ok()?))
        }
    };
    Some((Dirs { upper, work }, stage))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UPPER: RealId = RealId { dev: u64::MAX, ino: 7 };

    #[test]
    fn what_is_told_is_understood() {
        for work in [None, Some(RealId { dev: 1, ino: u64::MAX })] {
            let dirs = Dirs { upper: UPPER, work };
            for stage in [Stage::Opening, Stage::Unmounted, Stage::Elsewhere, Stage::Mounted((0, 77))] {
                assert_eq!(parse(text(dirs, stage).as_bytes()), Some((dirs, stage)));
            }
        }
        for other in ["", "union-2 1:1 1:1 opening", "union-1 1:1", "union-1 1:1 1:1 x:y"] {
            assert_eq!(parse(other.as_bytes()), None, "{other}");
        }
    }

    #[test]
    fn one_of_two_gives_way_unless_the_other_cannot_be_seen() {
        let me = rustix::process::geteuid().as_raw();
        let upper = |ino| RealId { dev: u64::MAX - 1, ino };
        let first = Claim::make(upper(1), None, me, Stage::Unmounted).unwrap();
        let rival = Claim::make(upper(1), None, me, Stage::Unmounted).unwrap_err();
        assert_eq!((rival.pid, rival.upper), (std::process::id(), true));
        let _other = Claim::make(upper(2), None, me, Stage::Unmounted).unwrap();
        drop(first);
        let mut first = Claim::make(upper(1), Some(UPPER), me, Stage::Opening).unwrap();
        // No FUSE filesystem has this number: it is as if unmounted, or seen by others only.
        first.mounted(Some((0, u32::MAX)));
        let _second = Claim::make(upper(1), Some(UPPER), me, Stage::Opening).unwrap();
        let rival = Claim::make(upper(3), Some(UPPER), me, Stage::Unmounted).unwrap_err();
        assert!(!rival.upper);
    }
}
