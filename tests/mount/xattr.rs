//! Extended attributes and what of ours must stay hidden among them.

use crate::kit::case::case;
use crate::kit::op::*;
use crate::kit::recipe::layer;

#[test]
fn user_attributes() {
    let lower = layer()
        .file("f", "")
        .xattr("f", "user.a", "1")
        .xattr("f", "user.b", "2")
        .dir("d")
        .xattr("d", "user.d", "3");
    let big = vec![b'v'; 3000];
    let steps = [
        setxattr("f", "user.a", "changed"),
        removexattr("f", "user.b"),
        setxattr("f", "user.empty", ""),
        setxattr("f", "user.binary", b"\x00\xff\x00"),
        setxattr("d", "user.big", &big),
        getxattr("d", "user.big"),
        getxattr("f", "user.nothing"),
        removexattr("f", "user.nothing"),
        setxattr("f", "nonsense.x", ""),
        setxattr("nothing", "user.x", ""),
        put("n", ""),
        setxattr("n", "user.x", "new file"),
        rename("d", "e"),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn marks_stay_hidden() {
    let bottom = layer().file("d/x", "x").file("o/hidden", "").file("l", "linked").hard_link("l", "l2");
    let top = layer().opaque("o").file("o/seen", "");
    let steps = [
        rename("d", "renamed"),
        append("l", "!"),
        append("renamed/x", "!"),
        mkdir("d"),
        getxattr("renamed", "trusted.overlay.redirect"),
        getxattr("o", "trusted.overlay.opaque"),
        getxattr("l", "trusted.overlay.origin"),
        getxattr("d", "trusted.overlay.opaque"),
    ];
    // The snapshot lists all attributes: a mark that shows is a difference.
    case().lower(top).lower(bottom).run(steps).check();
}

#[test]
fn marks_set_by_users_are_only_data() {
    let steps = [
        mkdir("new"),
        setxattr("new", "trusted.overlay.opaque", "y"),
        getxattr("new", "trusted.overlay.opaque"),
        setxattr("d", "trusted.overlay.opaque", "y"),
        list("d"),
        setxattr("d", "trusted.overlay.redirect", "/elsewhere"),
        removexattr("new", "trusted.overlay.opaque"),
        removexattr("new", "trusted.overlay.nothing"),
        setxattr("f", "trusted.overlay.metacopy", ""),
        read("f"),
    ];
    case().lower(super::one_file()).run(steps).root_only("trusted xattrs").check();
}

#[test]
fn access_lists() {
    let lower = layer()
        .file("f", "")
        .acl("f", "u:1000:rw")
        .dir("d")
        .acl("d", "u:1000:rwx,d:u:1000:rwx,d:g:7:rx")
        .file("d/old", "");
    let steps = [
        chmod("f", 0o600),
        setacl("f", "u:1000:r,u:1001:rwx,m::rwx"),
        put("d/new", "inherits"),
        mkdir("d/sub"),
        mkdir_mode("d/private", 0o700),
        fifo("d/p"),
        symlink("x", "d/s"),
        Op::Umask(0o077),
        put("d/sub/umask_is_ignored", ""),
        put("umask_is_not", ""),
        rename("d/sub", "sub"),
        removexattr("f", "system.posix_acl_access"),
        stat("f"),
    ];
    case().lower(lower).run(steps).check();
}
