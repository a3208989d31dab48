//! Mounting by ourselves: on a directory that is open, never on a path.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};

use super::{FS_TYPE, MountError, MountId, Resolved, SUBTYPE, open_device};

/// Mounts on `dir`. Which mount it is then is known but on old kernels.
pub(super) fn mount(
    dir: BorrowedFd<'_>,
    options: &Resolved<'_>,
) -> Result<(OwnedFd, Option<MountId>), MountError> {
    let device = open_device()?;
    match mount_in_steps(dir, &device, options) {
        Ok(id) => Ok((device, Some(id))),
        // Before Linux 5.4, and where a filter of system calls does not know these.
        Err(Errno::NOSYS | Errno::PERM | Errno::INVAL | Errno::NODEV) => {
            // The other one may belong to a filesystem that could not be put in place.
            let device = open_device()?;
            mount_at_once(dir, &device, options).map_err(MountError::Kernel)?;
            Ok((device, None))
        }
        Err(errno) => Err(MountError::Kernel(errno.into())),
    }
}

/// By the system calls that name a mount and a place to put it by descriptors (fsopen(2), move_mount(2)).
fn mount_in_steps(dir: BorrowedFd<'_>, device: &OwnedFd, options: &Resolved<'_>) -> Result<MountId, Errno> {
    let filesystem = fsopen("fuse", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let set = |key: &str, value: &OsStr| fsconfig_set_string(filesystem.as_fd(), key, value.as_bytes());
    let number = |value: String| CString::new(value).map_err(|_| Errno::INVAL);
    set("source", options.source)?;
    set("subtype", OsStr::new(SUBTYPE))?;
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    for (key, value) in [
        ("fd", device.as_raw_fd().to_string()),
        ("rootmode", format!("{:o}", libc::S_IFDIR)),
        ("user_id", uid.to_string()),
        ("group_id", gid.to_string()),
    ] {
        fsconfig_set_string(filesystem.as_fd(), key, number(value)?)?;
    }
    let flags = &options.flags;
    for (key, wanted) in [
        ("default_permissions", true),
        ("allow_other", options.allow_other),
        ("ro", flags.read_only),
        ("sync", flags.sync),
        ("dirsync", flags.dir_sync),
    ] {
        if wanted {
            fsconfig_set_flag(filesystem.as_fd(), key)?;
        }
    }
    fsconfig_create(filesystem.as_fd())?;
    let mounted = fsmount(filesystem.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes(options))?;
    let id = MountId::of_descriptor(mounted.as_fd())?;
    let by_descriptors = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mounted.as_fd(), c"", dir, c"", by_descriptors)?;
    Ok(id)
}

fn attributes(options: &Resolved<'_>) -> MountAttrFlags {
    let flags = &options.flags;
    let atime =
        if flags.no_atime { MountAttrFlags::MOUNT_ATTR_NOATIME } else { MountAttrFlags::MOUNT_ATTR_RELATIME };
    let wanted = [
        (flags.read_only, MountAttrFlags::MOUNT_ATTR_RDONLY),
        (!options.dev, MountAttrFlags::MOUNT_ATTR_NODEV),
        (!options.suid, MountAttrFlags::MOUNT_ATTR_NOSUID),
        (flags.no_exec, MountAttrFlags::MOUNT_ATTR_NOEXEC),
    ];
    wanted.into_iter().filter(|(on, _)| *on).map(|(_, flag)| flag).chain([atime]).collect()
}

/// By mount(2), on the path of a descriptor, which leads to what it is open on.
fn mount_at_once(dir: BorrowedFd<'_>, device: &OwnedFd, options: &Resolved<'_>) -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
    let allow_other = if options.allow_other { ",allow_other" } else { "" };
    let data = format!(
        "fd={},rootmode={:o},user_id={uid},group_id={gid},default_permissions{allow_other}",
        device.as_raw_fd(),
        libc::S_IFDIR,
    );
    let data = CString::new(data)?;
    let place = format!("/proc/self/fd/{}", dir.as_raw_fd());
    Ok(rustix::mount::mount(options.source, place, FS_TYPE, options.kernel_flags(), data.as_c_str())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::sys::mount::{FuseMountOptions, Mounted, Mountpoint};

    #[test]
    fn a_directory_is_mounted_on_whatever_its_path_leads_to_by_then() {
        let home = tempfile::tempdir().unwrap();
        let path = |name: &str| home.path().join(name);
        ["d", "d/mnt", "other", "other/mnt"].iter().for_each(|dir| std::fs::create_dir(path(dir)).unwrap());
        let mountpoint = Mountpoint::open(&path("d/mnt")).unwrap();
        std::fs::rename(path("d"), path("moved")).unwrap();
        std::os::unix::fs::symlink("other", path("d")).unwrap();
        let options = FuseMountOptions { source: "test".into(), flags: Default::default() };
        for at_once in [false, true] {
            let options = Resolved::new(&options);
            let device = open_device().and_then(|device| {
                let failed = |error: io::Error| MountError::Kernel(error);
                match at_once {
                    true => mount_at_once(mountpoint.dir(), &device, &options).map_err(failed)?,
                    false => drop(
                        mount_in_steps(mountpoint.dir(), &device, &options)
                            .map_err(|errno| failed(errno.into()))?,
                    ),
                }
                Ok(device)
            });
            let device = match device {
                Err(error) if error.is_lack_of_rights() => {
                    // Past libtest, which captures what is printed.
                    let said = format!("SKIPPED: mount::direct: {error}\n");
                    return io::Write::write_all(&mut io::stderr(), said.as_bytes()).unwrap();
                }
                other => other.unwrap(),
            };
            let mounted = Mounted::at(&path("moved/mnt")).unwrap();
            assert!(mounted.entry().unwrap().is_some_and(|entry| entry.is_union()), "{at_once}");
            let not = Mounted::at(&path("d/mnt")).unwrap();
            assert!(not.entry().unwrap().is_none() && not.id() != mounted.id());
            // What is mounted on a directory by now may be something else, or somewhere else.
            std::fs::rename(path("moved"), path("again")).unwrap();
            std::fs::create_dir(path("moved")).unwrap();
            mounted.unmount(true).unwrap();
            assert_eq!(mounted.unmount(true).unwrap_err().raw_os_error(), Some(libc::ESTALE));
            std::fs::remove_dir(path("moved")).unwrap();
            std::fs::rename(path("again"), path("moved")).unwrap();
            drop(device);
        }
    }
}
