//! The options of `-o`: what each one sets, which are only accepted, and which values are refused.

use super::{mount, run, warnings, with_options};
use crate::config::{Durability, MountFlags, SessionConfig, XattrNamespace};
use crate::owner::idmap::LayerId;

#[test]
fn flags_of_the_mount() {
    let all = with_options("ro,allow_other,nodev,nosuid,noexec,noatime,sync,dirsync,default_permissions");
    let expected = MountFlags {
        read_only: true,
        allow_other: Some(true),
        dev: Some(false),
        suid: Some(false),
        no_exec: true,
        no_atime: true,
        sync: true,
        dir_sync: true,
    };
    assert_eq!(all.flags, expected);
    let undone = with_options("ro,rw,nodev,dev,nosuid,suid,noexec,exec,noatime,relatime,sync,async");
    let expected = MountFlags { dev: Some(true), suid: Some(true), ..MountFlags::default() };
    assert_eq!(undone.flags, expected);
    assert_eq!(with_options("").flags, MountFlags::default());
}

#[test]
fn requests() {
    let session =
        with_options("threads=3,follow=off,list_ahead=off,cache=60,writeback,noacl,noxattr").session;
    let expected = SessionConfig {
        threads: 3,
        follow: false,
        list_ahead: false,
        cache_seconds: Some(60),
        writeback: true,
        passthrough: false,
        xattr: false,
        acl: false,
    };
    assert_eq!(session, expected);
    let session =
        with_options("follow=off,follow,list_ahead=off,list_ahead,cache=60,cache=forever,writeback,writeback=off,noacl,acl").session;
    assert_eq!(session, SessionConfig::default());
    assert!(with_options("writeback=on").session.writeback);
    for options in ["passthrough", "passthrough=on", "writeback,passthrough=off,writeback=off,passthrough"] {
        assert!(with_options(options).session.passthrough, "{options}");
    }
    assert_eq!(with_options("passthrough,passthrough=off").session, SessionConfig::default());
    assert_eq!(mount(&["unionfuse", "-s", "-o", "lowerdir=/l", "/m"]).session.threads, 1);
}

#[test]
fn what_is_written() {
    let union = with_options("index=off,userxattr,fsync=0").union;
    assert!(!union.index);
    assert_eq!((union.xattr_namespace, union.durability), (XattrNamespace::User, Durability::Relaxed));
    for options in ["volatile,fsync=0", "fsync=1,volatile", "volatile,fsync=1"] {
        assert_eq!(with_options(options).union.durability, Durability::Volatile);
    }
    let union = with_options("fsync=0,fsync=1").union;
    assert_eq!((union.xattr_namespace, union.durability), (XattrNamespace::Auto, Durability::Synced));
    assert!(union.index && union.id_map.is_identity());
}

#[test]
fn owners() {
    let map = with_options("uidmapping=:0:1000:1:1:100000:65536,gidmapping=0:2000:1").union.id_map;
    assert_eq!((map.uid_to_union(1), map.gid_to_union(0)), (100_000, 2000));
    let map = with_options("squash_to_root").union.id_map;
    assert_eq!((map.uid_to_union(5), map.gid_to_union(5), map.uid_to_layer(5)), (0, 0, LayerId::Keep));
    let map = with_options("squash_to_uid=7,squash_to_gid=8").union.id_map;
    assert_eq!((map.uid_to_union(5), map.gid_to_union(5)), (7, 8));
}

#[test]
fn everything_podman_may_add_is_accepted() {
    let options = "volatile,fsync=0,noacl,nodev,private,metacopy=on,squash_to_root,xattr_permissions=2,,\
                   context=\"system_u:object_r:container_file_t:s0:c1,c2\",nosuchthing=1";
    let warned = warnings(options);
    for name in ["metacopy", "xattr_permissions", "context", "nosuchthing"] {
        assert!(warned.iter().any(|text| text.contains(name)), "{name}: {warned:?}");
    }
    assert_eq!(warned.len(), 4, "{warned:?}");
}

#[test]
fn options_of_the_mount_table_are_silent() {
    let options = "defaults,user,users,nouser,auto,noauto,nofail,_netdev,x-systemd.automount,X-mount.mkdir=0755,\
                   comment=hello,xino=auto,nfs_export=off,static_nlink,auto_unmount,subtype=x,shared,slave";
    assert_eq!(warnings(options), [] as [&str; 0]);
}

#[test]
fn warnings_name_the_option() {
    for (options, named) in
        [("allow_root", "allow_root"), ("frobnicate=9", "frobnicate"), ("workdir=/w", "work directory")]
    {
        let warned = warnings(options);
        assert!(warned.len() == 1 && warned[0].contains(named), "{options}: {warned:?}");
    }
    assert!(with_options("allow_root").flags.allow_other == Some(true));
}

#[test]
fn options_that_exclude_each_other() {
    for options in ["passthrough,writeback", "writeback=on,passthrough=on"] {
        let error = run(&["unionfuse", "-o", "lowerdir=/l", "-o", options, "/m"]).unwrap_err();
        assert!(error.contains("'passthrough'") && error.contains("'writeback'"), "{error}");
    }
}

#[test]
fn bad_values_name_option_and_value() {
    for bad in [
        "redirect_dir=maybe",
        "redirect_dir",
        "index=2",
        "metacopy=x",
        "fsync=sometimes",
        "writeback=x",
        "passthrough=x",
        "follow=x",
        "list_ahead=x",
        "threads=-1",
        "threads=many",
        "threads=100000",
        "threads",
        "cache=soon",
        "cache=",
        "userxattr=1",
        "volatile=1",
        "noacl=x",
        "uidmapping=0:1",
        "gidmapping=:a:b:c",
        "squash_to_root=1",
        "squash_to_uid=root",
        "squash_to_gid=4294967295",
        "squash_to_uid",
        "upperdir=",
        "workdir",
        "lowerdir=",
        "lowerdir=:/a",
        "lowerdir=/a:",
        "lowerdir=/a::/b",
        "datadir+=/a",
    ] {
        let error = run(&["unionfuse", "-o", "lowerdir=/l", "-o", bad, "/m"]).unwrap_err();
        assert!(error.contains(&format!("'{bad}'")), "{bad}: {error}");
    }
}
