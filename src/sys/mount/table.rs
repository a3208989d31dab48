//! The mount table, `/proc/self/mountinfo` (proc_pid_mountinfo(5)).

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

/// A line of the mount table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountEntry {
    /// The device number of the filesystem.
    pub device: (u32, u32),
    /// The type of the filesystem, as mount(8) shows it.
    pub fs_type: OsString,
    /// The source, as mount(8) shows it.
    pub source: OsString,
}

impl MountEntry {
    /// Whether it is a union of ours. mount.fuse3 with `drop_privileges` names the type after the program it calls: a path
    /// perhaps, or our alias.
    pub fn is_union(&self) -> bool {
        let Some(program) = self.fs_type.as_bytes().strip_prefix(b"fuse.") else {
            return false;
        };
        let name = Path::new(OsStr::from_bytes(program)).file_name();
        name.is_some_and(|name| name == super::SUBTYPE || name == "fuse-overlayfs")
    }
}

/// The mount with this number, if it is on exactly this absolute path.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub(super) fn mount_at(path: &Path, number: u64) -> io::Result<Option<MountEntry>> {
    Ok(find(&std::fs::read("/proc/self/mountinfo")?, path, number))
}

/// Whether a filesystem is mounted anywhere, as far as this mount namespace shows.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub fn is_mounted(wanted: (u32, u32)) -> io::Result<bool> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    let mut lines = table.split(|byte| *byte == b'\n');
    Ok(lines.any(|line| line.split(|byte| *byte == b' ').nth(2).and_then(device) == Some(wanted)))
}

/// Where a FUSE filesystem with this device number is mounted, as far as this mount namespace shows.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub fn mountpoint_of(wanted: (u32, u32)) -> io::Result<Option<PathBuf>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(entry).find_map(|(mountpoint, entry)| {
        (entry.device == wanted && entry.fs_type.as_bytes().starts_with(b"fuse"))
            .then(|| PathBuf::from(mountpoint))
    }))
}

/// A mount of the kernel's overlayfs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KernelOverlay {
    /// Where it is mounted.
    pub mountpoint: PathBuf,
    /// Its upperdir and workdir, as they were named to mount(8): what is not absolute is relative to a directory that nobody
    /// knows any more.
    pub dirs: [PathBuf; 2],
}

/// The kernel's overlays that have an upperdir, as far as this mount namespace shows them.
///
/// # Errors
/// Those of reading `/proc/self/mountinfo`.
pub fn kernel_overlays() -> io::Result<Vec<KernelOverlay>> {
    let table = std::fs::read("/proc/self/mountinfo")?;
    Ok(table.split(|byte| *byte == b'\n').filter_map(kernel_overlay).collect())
}

fn kernel_overlay(line: &[u8]) -> Option<KernelOverlay> {
    let mut fields = line.split(|byte| *byte == b' ');
    let mountpoint = PathBuf::from(unmangle(fields.nth(4)?));
    fields.find(|field| *field == b"-")?;
    if fields.next()? != b"overlay" {
        return None;
    }
    let options = fields.nth(1)?;
    let value = |name: &[u8]| {
        let mut all = options.split(|byte| *byte == b',');
        all.find_map(|option| option.strip_prefix(name)).map(|value| PathBuf::from(unmangle(value)))
    };
    Some(KernelOverlay { mountpoint, dirs: [value(b"upperdir=")?, value(b"workdir=")?] })
}

fn find(table: &[u8], path: &Path, number: u64) -> Option<MountEntry> {
    let number = number.to_string();
    let is_it = |line: &&[u8]| line.split(|byte| *byte == b' ').next() == Some(number.as_bytes());
    let mut lines = table.split(|byte| *byte == b'\n').filter(is_it).filter_map(entry);
    lines.find_map(|(mountpoint, entry)| (mountpoint == path.as_os_str()).then_some(entry))
}

/// The mountpoint of a line, and the rest of it.
fn entry(line: &[u8]) -> Option<(OsString, MountEntry)> {
    let mut fields = line.split(|byte| *byte == b' ');
    let device = device(fields.nth(2)?)?;
    let mountpoint = unmangle(fields.nth(1)?);
    // A variable number of optional fields ends with a lone "-".
    fields.find(|field| *field == b"-")?;
    Some((
        mountpoint,
        MountEntry { device, fs_type: unmangle(fields.next()?), source: unmangle(fields.next()?) },
    ))
}

/// Decodes `major:minor`.
fn device(field: &[u8]) -> Option<(u32, u32)> {
    let (major, minor) = std::str::from_utf8(field).ok()?.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Decodes the kernel's `\ooo` for spaces, tabs, newlines, backslashes and `#`.
fn unmangle(field: &[u8]) -> OsString {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let octal = (*first == b'\\').then(|| tail.get(..3)).flatten().and_then(octal);
        bytes.push(octal.unwrap_or(*first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    OsString::from_vec(bytes)
}

fn octal(digits: &[u8]) -> Option<u8> {
    let text = OsStr::from_bytes(digits).to_str()?;
    u8::from_str_radix(text, 8).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"\
22 1 254:0 / / rw,relatime - ext4 /dev/root rw
40 22 0:33 / /mnt/a\\040b rw,nosuid shared:5 master:1 - fuse.unionfuse my\\134src rw,user_id=0
41 40 0:34 / /mnt/a\\040b rw - tmpfs none rw
42 22 0:35 / /mnt/a\\040bc rw - proc proc rw
";

    #[test]
    fn the_mount_of_that_number_counts() {
        let found = find(TABLE, Path::new("/mnt/a b"), 41).unwrap();
        assert_eq!((found.fs_type.to_str(), found.source.to_str()), (Some("tmpfs"), Some("none")));
        assert_eq!(found.device, (0, 34));
        assert_eq!(find(TABLE, Path::new("/mnt"), 22), None);
        assert_eq!(find(TABLE, Path::new("/mnt/a b"), 4), None);
    }

    #[test]
    fn optional_fields_are_skipped_and_names_decoded() {
        let found = find(TABLE, Path::new("/mnt/a b"), 40).unwrap();
        assert_eq!(
            (found.fs_type.to_str(), found.source.to_str()),
            (Some("fuse.unionfuse"), Some(r"my\src"))
        );
    }

    #[test]
    fn unions_are_known_by_their_type() {
        let is_union = |fs_type: &str| {
            MountEntry { device: (0, 1), fs_type: fs_type.into(), source: "x".into() }.is_union()
        };
        for ours in ["fuse.unionfuse", "fuse.fuse-overlayfs", "fuse./usr/local/bin/unionfuse"] {
            assert!(is_union(ours), "{ours}");
        }
        for other in ["ext4", "fuse", "fuse.", "fuse.sshfs", "unionfuse"] {
            assert!(!is_union(other), "{other}");
        }
    }

    #[test]
    fn uppers_of_the_kernels_overlays_are_known() {
        let line =
            b"40 22 0:33 / /mnt/a\\040b rw - overlay none rw,lowerdir=/l,upperdir=/srv/up\\054per,workdir=/w";
        let found = kernel_overlay(line).unwrap();
        assert_eq!(found.mountpoint, Path::new("/mnt/a b"));
        assert_eq!(found.dirs, [Path::new("/srv/up,per"), Path::new("/w")]);
        assert_eq!(kernel_overlay(b"40 22 0:33 / /mnt rw - overlay none rw,lowerdir=/l:/m"), None);
        assert_eq!(kernel_overlay(b"40 22 0:33 / /mnt rw - tmpfs none rw,upperdir=/u"), None);
        assert_eq!(kernel_overlay(b""), None);
    }

    #[test]
    fn odd_backslashes_stay() {
        assert_eq!(unmangle(br"a\x\04"), OsStr::new(r"a\x\04"));
        assert_eq!(unmangle(br"\012"), OsStr::new("\n"));
    }
}
