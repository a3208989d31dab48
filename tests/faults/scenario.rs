//! What is interrupted: one operation each, over layers in which it has as much to do as it can.

use rustix::fs::FileType;
use unionfuse::types::{Caller, Kind, NewTime, RenameMode, SetAttr, Time};

use crate::kit::bench::{Answer, Bench, ROOT, USER, errno};
use crate::kit::layer::Layer;

pub struct Scenario {
    pub name: &'static str,
    pub redirects: bool,
    /// Whether device nodes can be made, so that whiteouts are such.
    pub devices: bool,
    pub act: fn(&Bench) -> Answer<()>,
    /// Attributes of a file of the upperdir are changed one by one: killed meanwhile, the daemon leaves some of them.
    pub in_parts: bool,
}

impl Scenario {
    fn in_parts(self) -> Self {
        Self { in_parts: true, ..self }
    }
}

/// Two lowers and an upper in which every kind of entry meets every other.
pub fn fill(lowers: &[Layer; 2], upper: &Layer) {
    let [top, bottom] = lowers;
    top.file("file", "lower file").mode("file", 0o640).owner("file", 12, 34).time("file", 1_000_000);
    top.set("file", "user.note", "kept").file("other", "other");
    top.file("hard", "one file").link("hard2", "hard").dir("links").link("links/hard3", "hard");
    top.symlink("symlink", "file").node("fifo", FileType::Fifo, 0o600, 0);
    top.file("dir/a", "a").file("dir/sub/b", "b").dir("empty").file("gone", "deleted");
    bottom
        .file("dir/c", "c")
        .file("dir/sub/d", "d")
        .file("empty2/x", "x")
        .dir("merged-empty")
        .file("replaced/y", "y");
    top.file("set-id", "set-id").mode("set-id", 0o6755);
    upper.file("upper-set-id", "set-id").mode("upper-set-id", 0o6755);
    upper.file("upper", "upper file").dir("udir").file("udir/u", "u").whiteout("gone").dir("upper-empty");
    upper.dir("empty2").whiteout("empty2/x").set("empty2", "trusted.overlay.impure", "y");
    upper.whiteout("replaced");
    bottom.file("opaque/deleted", "deleted");
    upper.dir("opaque").set("opaque", "trusted.overlay.opaque", "y");
    bottom.file("faded/seen", "seen").file("faded/hidden", "hidden");
    top.file("plain/.wh.f", "ordinary").file("plain/f", "f").set(
        "plain",
        "trusted.overlay.unionfuse.wh",
        "y",
    );
    top.dir("plain/.wh.dir").dir("dir2");
    upper.dir("faded").set("faded", "trusted.overlay.opaque", "x");
    upper.file("faded/hidden", "").set("faded/hidden", "trusted.overlay.whiteout", "y");
}

macro_rules! scenario {
    ($name:literal, $act:expr) => {
        Scenario { name: $name, redirects: true, devices: true, act: $act, in_parts: false }
    };
    ($name:literal without redirects, $act:expr) => {
        Scenario { name: $name, redirects: false, devices: true, act: $act, in_parts: false }
    };
    ($name:literal without devices, $act:expr) => {
        Scenario { name: $name, redirects: true, devices: false, act: $act, in_parts: false }
    };
    ($name:literal without either, $act:expr) => {
        Scenario { name: $name, redirects: false, devices: false, act: $act, in_parts: false }
    };
}

/// All, or those whose name has `UNIONFUSE_SCENARIO` in it.
pub fn all() -> Vec<Scenario> {
    let wanted = std::env::var("UNIONFUSE_SCENARIO").unwrap_or_default();
    let all = [making(), changing(), removing(), renaming(), like_marks()].into_iter().flatten();
    all.filter(|scenario| scenario.name.contains(&wanted)).collect()
}

fn making() -> Vec<Scenario> {
    vec![
        scenario!("create", |u| u.create("new").map(drop)),
        scenario!("create in a lower directory", |u| u.create("dir/sub/new").map(drop)),
        scenario!("create over a whiteout", |u| u.create("gone").map(drop)),
        scenario!("mkdir", |u| u.mkdir("dir/new").map(drop)),
        scenario!("mkdir over a whiteout", |u| u.mkdir("gone").map(drop)),
        scenario!("mkdir over a deleted directory", |u| u.mkdir("replaced").map(drop)),
        scenario!("symlink over a whiteout", |u| u.symlink("gone", "target").map(drop)),
        scenario!("mknod of a fifo", |u| u.mknod(ROOT, "dir/fifo", Kind::Fifo, 0o600, 0).map(drop)),
        scenario!("link of an upper file", |u| u.link("upper", "dir/upper2").map(drop)),
        scenario!("link of a lower file", |u| u.link("file", "dir/file2").map(drop)),
        scenario!("link of a lower hard link over a whiteout", |u| u.link("hard", "gone").map(drop)),
    ]
}

fn changing() -> Vec<Scenario> {
    vec![
        scenario!("first write to a lower file", |u| {
            let node = u.node("file")?;
            u.write_node(node, 3, "XYZ")
        }),
        scenario!("first write to a lower hard link", |u| {
            let node = u.node("links/hard3")?;
            u.write_node(node, 0, "new")
        }),
        scenario!("truncate of a lower file", |u| u.truncate("file", 2).map(drop)),
        scenario!("chmod of a lower directory", |u| u.chmod("dir/sub", 0o700).map(drop)),
        scenario!("times of a lower symlink", |u| {
            let mtime = Some(NewTime::At(Time { sec: 77, nsec: 0 }));
            u.setattr("symlink", SetAttr { mtime, ..SetAttr::default() }).map(drop)
        }),
        scenario!("chmod of a lower fifo", |u| u.chmod("fifo", 0o644).map(drop)),
        scenario!("setxattr of a lower file", |u| u.set_xattr("file", "user.more", "x")),
        scenario!("removexattr of a lower file", |u| u.remove_xattr("file", "user.note")),
        scenario!("all attributes of a lower file", |u| everything(u, ROOT, "file")),
        scenario!("all attributes of an upper file", |u| everything(u, ROOT, "upper")).in_parts(),
        scenario!("all attributes of a lower file by a user", |u| everything(u, USER, "set-id")),
        scenario!("all attributes of an upper file by a user", |u| everything(u, USER, "upper-set-id"))
            .in_parts(),
        scenario!("owner and mode of a lower directory", |u| {
            let change = SetAttr { perm: Some(0o700), uid: Some(7), gid: Some(8), ..SetAttr::default() };
            u.setattr("dir/sub", change).map(drop)
        }),
        scenario!("owner and mode of an upper directory", |u| {
            let change = SetAttr { perm: Some(0o700), uid: Some(7), gid: Some(8), ..SetAttr::default() };
            u.setattr("udir", change).map(drop)
        })
        .in_parts(),
        scenario!("truncate of an upper file", |u| u.truncate("upper", 2).map(drop)),
        scenario!("truncate of a lower hard link", |u| u.truncate("hard", 2).map(drop)),
        scenario!("emptying of a lower file", |u| empty(u, "file")),
        scenario!("emptying of an upper file by a user", |u| empty(u, "upper-set-id")).in_parts(),
        scenario!("write to an upper file", |u| {
            let node = u.node("upper")?;
            u.write_node(node, 3, "XYZ")
        }),
        scenario!("pages of a lower file", |u| {
            let node = u.node("file")?;
            errno(u.raw().write_pages(node, 3, b"XYZ", None)).map(drop)
        }),
        scenario!("pages written back", |u| {
            let node = u.node("file")?;
            errno(u.raw().write_back(node, 3, b"XYZ")).map(drop)
        })
        .in_parts(),
        scenario!("allocation in a lower file", |u| {
            let node = u.node("file")?;
            errno(u.raw().allocate(ROOT, node, 0, 0, 100)).map(drop)
        }),
        scenario!("copy of a range to a lower file", |u| {
            let (from, to) = (u.node("other")?, u.node("file")?);
            errno(u.raw().copy_range(ROOT, (from, 0), (to, 0), 5)).map(drop)
        }),
        scenario!("access ACL of an upper file by a user", |u| {
            let node = u.node("upper-set-id")?;
            errno(u.raw().set_xattr(USER, node, "system.posix_acl_access".as_ref(), &acl(), 0)).map(drop)
        })
        .in_parts(),
    ]
}

/// What one request can ask for at most.
fn everything(union: &Bench, caller: Caller, path: &str) -> Answer<()> {
    let time = |sec| Some(NewTime::At(Time { sec, nsec: 0 }));
    let change = SetAttr {
        perm: Some(0o604),
        uid: Some(7),
        gid: Some(8),
        size: Some(3),
        atime: time(55),
        mtime: time(66),
    };
    let node = union.node(path)?;
    errno(union.raw().setattr(caller, node, change)).map(drop)
}

fn empty(union: &Bench, path: &str) -> Answer<()> {
    let node = union.node(path)?;
    errno(union.raw().empty(USER, node)).map(drop)
}

/// Read and write for its owner and user 1000.
fn acl() -> Vec<u8> {
    let entries: [(u16, u16, u32); 5] =
        [(1, 6, u32::MAX), (2, 6, 1000), (4, 4, u32::MAX), (0x10, 6, u32::MAX), (0x20, 0, u32::MAX)];
    let entry = |(tag, perm, id): (u16, u16, u32)| {
        [&tag.to_le_bytes()[..], &perm.to_le_bytes(), &id.to_le_bytes()].concat()
    };
    [2u32.to_le_bytes().to_vec()].into_iter().chain(entries.map(entry)).collect::<Vec<_>>().concat()
}

/// Names that begin with `.wh.`, which have to be seen when the upperdir has become a lowerdir, too.
fn like_marks() -> Vec<Scenario> {
    vec![
        scenario!("create of .wh.", |u| u.create("dir/.wh.a").map(drop)),
        scenario!("link to .wh.", |u| u.link("upper", "dir/.wh.a").map(drop)),
        scenario!("rename to .wh.", |u| u.rename("upper", "dir/.wh.a")),
        scenario!("copy-up of .wh.", |u| u.chmod("plain/.wh.f", 0o600).map(drop)),
        scenario!("copy-up of .wh. without devices" without devices, |u| u.chmod("plain/.wh.dir", 0o700).map(drop)),
        scenario!("unlink of .wh.", |u| u.unlink("plain/.wh.f")),
        scenario!("unlink of .wh. without devices" without devices, |u| u.unlink("plain/.wh.f")),
        scenario!("rmdir of .wh.", |u| u.rmdir("plain/.wh.dir")),
        scenario!("rename from .wh.", |u| u.rename("plain/.wh.f", "dir/.wh.b")),
        scenario!("exchange with .wh.", |u| u.rename_with("dir/a", "plain/.wh.f", RenameMode::Exchange)),
        scenario!("tree with .wh." without redirects, |u| u.rename("plain", "dir2")),
    ]
}

fn removing() -> Vec<Scenario> {
    vec![
        scenario!("unlink of an upper file", |u| u.unlink("upper")),
        scenario!("unlink of a lower file", |u| u.unlink("dir/a")),
        scenario!("unlink of a lower hard link", |u| u.unlink("hard2")),
        scenario!("rmdir of an upper directory", |u| u.rmdir("upper-empty")),
        scenario!("rmdir of a lower directory", |u| u.rmdir("empty")),
        scenario!("rmdir of a directory with whiteouts", |u| u.rmdir("empty2")),
    ]
}

fn renaming() -> Vec<Scenario> {
    vec![
        scenario!("rename of an upper file", |u| u.rename("upper", "dir/moved")),
        scenario!("rename of a lower file", |u| u.rename("file", "dir/sub/moved")),
        scenario!("rename over a lower file", |u| u.rename("upper", "file")),
        scenario!("rename over an upper file", |u| u.rename("file", "upper")),
        scenario!("rename over a whiteout", |u| u.rename("file", "gone")),
        scenario!("rename of a lower hard link", |u| u.rename("hard", "dir/hard4")),
        scenario!("rename over a lower hard link", |u| u.rename("upper", "hard")),
        scenario!("rename of a merged directory", |u| u.rename("dir", "udir/dir")),
        scenario!("rename of a merged directory in place", |u| u.rename("dir", "dir2")),
        scenario!("rename of an upper directory over a whiteout", |u| u.rename("udir", "replaced")),
        scenario!("rename of an upper directory over an emptied one", |u| u.rename("udir", "empty2")),
        scenario!("rename of a lower directory over a lower one", |u| u.rename("dir", "merged-empty")),
        scenario!("exchange of files", |u| u.rename_with("file", "upper", RenameMode::Exchange)),
        scenario!("exchange of directories", |u| u.rename_with("dir", "udir", RenameMode::Exchange)),
        scenario!("exchange of a file and a directory", |u| u.rename_with(
            "file",
            "dir",
            RenameMode::Exchange
        )),
        scenario!("rename of a merged directory" without redirects, |u| u.rename("dir", "udir/dir")),
        scenario!("unlink of a lower file" without devices, |u| u.unlink("dir/a")),
        scenario!("rename of a lower file" without devices, |u| u.rename("file", "dir/sub/moved")),
        scenario!("rename of a lower file into an opaque directory" without devices, |u| u
            .rename("file", "opaque/moved")),
        scenario!("rename of a merged directory" without devices, |u| u.rename("faded", "udir/faded")),
        scenario!("rename of a merged directory" without either, |u| u.rename("faded", "udir/faded")),
    ]
}
