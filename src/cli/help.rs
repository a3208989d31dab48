//! The parts of `--help` that teach.

/// Shown by `-h`.
pub const SEE_LONG: &str = "Use --help for examples and all options.";

/// After the list of subcommands.
pub const OVERVIEW: &str = "\
Examples:
  Look at two trees as one (read-only):
    unionfuse mount --lower /opt/site:/usr/share ~/merged

  Try something on /etc without changing it; all changes go to ~/changes:
    unionfuse mount --lower /etc --upper ~/changes ~/merged
    rm ~/merged/hosts; ls -lA ~/changes
    unionfuse umount ~/merged

  As a mount program (Podman, Buildah: mount_program in storage.conf):
    unionfuse [-f] [-d] -o lowerdir=A:B,upperdir=U,workdir=W[,OPTS] MNT

  As a mount helper (mount -t fuse.unionfuse, fstab):
    unionfuse SOURCE MNT -o lowerdir=A:B,upperdir=U,workdir=W[,OPTS]
    SOURCE MNT fuse.unionfuse lowerdir=A:B,upperdir=U,workdir=W 0 0

The left-most lower directory is the top-most one. Options of -o are listed by
'unionfuse mount --help'. The command returns when the mount is live.

Environment:
  RUST_LOG       what to log: error, warn (default), info, debug, trace
  UNIONFUSE_LOG  a file the daemon appends its log to; without it the daemon
                 logs only until the mount is live (on stderr)

Signals:
  SIGTERM, SIGINT and SIGHUP make the daemon write back what is cached (at
  most 3 seconds), unmount and end: after 5 seconds in any case, and at once
  at a second signal. SIGHUP does nothing if it was ignored (nohup).

Exit status:
  0   mounted (or unmounted)
  1   bad command line
  2   system error
  32  the mount (or umount) failed";

/// After the options of `mount`.
pub const MOUNT: &str = r"Examples:
  unionfuse mount --lower /usr/share:/etc ~/merged
  unionfuse mount --lower base --upper changes merged
  unionfuse mount --lower top --lower middle:bottom --upper u --work w merged
  unionfuse mount --lower '/srv/a\:b' --upper u -o nodev,nosuid,volatile merged

Mount options:
 For -o, separated by ',' ('\,' is a comma that is part of a name, and a value
 in double quotes may contain commas). Unknown ones are ignored with a warning.

 Layers:
  lowerdir=A[:B…]      the same as --lower; lowerdir+=A adds one more below
  upperdir=, workdir=  the same as --upper and --work
  fsname=NAME          what findmnt shows as the source

 What is written to the upper directory:
  redirect_dir=on|off  rename lower directories by a mark instead of copying
                       them (default: on; off as a mount program and without
                       root, since overlayfs does not follow user.* marks)
  index=on|off         keep copied-up hard links together (default: on)
  userxattr            marks are user.overlay.*, as for unprivileged users
  fsync=0              copy-up doesn't wait for the disk
  volatile             never sync; after a crash the upper must be thrown away

 Owners:
  uidmapping=A:B:N[:A:B:N…]
                       show the N ids stored from A on as B and up, as
                       fuse-overlayfs does; other ids between B and B+N are
                       shown as they are, all further ones are nobody's
  gidmapping=A:B:N[:A:B:N…]
  squash_to_root, squash_to_uid=N, squash_to_gid=N
                       show every file as owned by this user or group

 The mount:
  ro                   as in mount(8); with an upper directory a view of it:
                       nothing is made, locked or cached, so another mount may
                       be changing it; 'remount,rw' makes no more of it
  rw, nodev, dev, nosuid, suid, noexec, exec, noatime, sync, dirsync
                       as in mount(8); nodev,nosuid is the default for users,
                       nodev for root of a user namespace
  allow_other          let other users in (default for root)

 Requests:
  threads=N            threads that serve requests (default: by the machine)
  follow[=on|off]      serve a client that is alone on its own processor
                       (default: on)
  sandbox[=on|off]     confine the threads that serve to the layers' directories
                       (Landlock, Linux 6.2). Default: where the kernel can;
                       with 'on', no mount where it cannot
  list_ahead[=on|off]  list directories before they are asked for while
                       somebody walks a tree; has no effect together with
                       cache=SECONDS or passthrough (default: on)
  cache=SECONDS        how long the kernel may cache names and attributes
                       (default: forever, as all changes come through it)
  writeback[=on|off]   gather small writes in the kernel (default: off)
  passthrough[=on|off] let the kernel read and write files of the upper
                       directory by itself; root only, Linux 6.9, not with
                       writeback (default: off)
  noacl                no POSIX ACLs
  noxattr              no extended attributes";

/// After the options of `umount`.
pub const UMOUNT: &str = "\
Examples:
  unionfuse umount ~/merged
  unionfuse umount --lazy ~/merged

Root unmounts directly, other users through fusermount3, so umount(8) and
'fusermount3 -u' do as well. The daemon ends by itself. This command waits for
that (at most 2 seconds, not with --lazy, and only where the kernel tells which
daemon it is; Linux 6.18 does), so that the layers can be unmounted next.";
