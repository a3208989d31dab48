//! fusermount3, the set-user-id helper of libfuse: mounts and unmounts for plain users.

use std::ffi::{OsStr, OsString};
use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SocketFlags, SocketType, recvmsg,
    socketpair,
};

use super::{MountError, Resolved, SUBTYPE};
use crate::sys::process::is_root;

const NAME: &str = "fusermount3";
/// Where it is when PATH does not say: daemons and mount(8) run with a short one.
const USUAL_PLACES: [&str; 4] = ["/usr/bin", "/bin", "/usr/sbin", "/sbin"];
/// Names the socket over which it sends the connection (libfuse: util/fusermount.c).
const SOCKET_VARIABLE: &str = "_FUSE_COMMFD";

/// Finds the program.
pub fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let places = std::env::split_paths(&path).chain(USUAL_PLACES.map(PathBuf::from));
    places.filter(|place| place.is_absolute()).map(|place| place.join(NAME)).find(|program| program.is_file())
}

/// Mounts and returns the connection.
pub fn mount(program: &Path, mountpoint: &Path, options: &Resolved<'_>) -> Result<OwnedFd, MountError> {
    let failed = |error: &dyn std::fmt::Display| MountError::Fusermount(format!("{NAME}: {error}"));
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
        .map_err(|e| failed(&e))?;
    let mut command = Command::new(program);
    // Its stdin is the one descriptor a child gets without having to make ours inheritable for every other child.
    command.env(SOCKET_VARIABLE, "0").stdin(theirs);
    command.arg("-o").arg(option_string(options)).arg("--").arg(mountpoint);
    run(command).map_err(|error| failed(&error))?;
    receive(&ours).map_err(|error| failed(&error))
}

/// Unmounts.
pub fn unmount(program: &Path, mountpoint: &Path, lazy: bool) -> io::Result<()> {
    let mut command = Command::new(program);
    command.stdin(Stdio::null()).arg("-u");
    if lazy {
        command.arg("-z");
    }
    command.arg("--").arg(mountpoint);
    run(command)
}

/// Runs it to its end; what it says on stderr is the error. Consumes the command, and with it our copy of its stdin.
fn run(mut command: Command) -> io::Result<()> {
    let Output { status, stderr, .. } = command.stdout(Stdio::null()).stderr(Stdio::piped()).output()?;
    if status.success() {
        return Ok(());
    }
    let said = OsString::from_vec(stderr);
    let said = said.to_string_lossy();
    // It begins with its own name, as called.
    let own_name = format!("{}: ", command.get_program().display());
    let said = said.trim().trim_start_matches(&own_name);
    Err(io::Error::other(if said.is_empty() { status.to_string() } else { said.to_owned() }))
}

fn option_string(options: &Resolved<'_>) -> OsString {
    let mut text = b"fsname=".to_vec();
    text.extend(escaped(options.source));
    text.extend_from_slice(b",subtype=");
    text.extend_from_slice(SUBTYPE.as_bytes());
    text.extend_from_slice(b",default_permissions");
    let flags = &options.flags;
    // For users it gives nodev and nosuid by itself, and complains about the opposite.
    let (dev, suid) = (options.dev && is_root(), options.suid && is_root());
    let words = [
        (options.allow_other, "allow_other"),
        (flags.read_only, "ro"),
        (dev, "dev"),
        (suid, "suid"),
        (flags.no_exec, "noexec"),
        (flags.no_atime, "noatime"),
        (flags.sync, "sync"),
        (flags.dir_sync, "dirsync"),
    ];
    for (_, word) in words.iter().filter(|(on, _)| *on) {
        text.push(b',');
        text.extend_from_slice(word.as_bytes());
    }
    OsString::from_vec(text)
}

fn escaped(source: &OsStr) -> impl Iterator<Item = u8> + '_ {
    let special = |byte: &u8| matches!(byte, b',' | b'\\');
    source.as_bytes().iter().flat_map(move |byte| special(byte).then_some(b'\\').into_iter().chain([*byte]))
}

/// Takes the connection out of the socket. It is there already: the sender has ended.
fn receive(socket: impl AsFd) -> io::Result<OwnedFd> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    recvmsg(socket, &mut [IoSliceMut::new(&mut byte)], &mut control, flags)?;
    let mut descriptors = control.drain().filter_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut rights) => rights.next(),
        _ => None,
    });
    descriptors.next().ok_or_else(|| io::Error::other("it succeeded without handing over the connection"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::MountFlags;

    #[test]
    fn sources_are_escaped() {
        let source = OsString::from(r"a,b\c");
        let flags = MountFlags { read_only: true, no_exec: true, ..MountFlags::default() };
        let options = Resolved { source: &source, flags, allow_other: true, dev: false, suid: false };
        let expected = r"fsname=a\,b\\c,subtype=unionfuse,default_permissions,allow_other,ro,noexec";
        assert_eq!(option_string(&options), OsStr::new(expected));
    }
}
