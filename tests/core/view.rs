//! A union that looks at an upperdir while another one changes it.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::Errno;
use unionfuse::Union;
use unionfuse::types::{Kind, NodeId, RenameMode};

use crate::kit::bench::{Bench, errno, union};
use crate::kit::layer::Layer;

/// Lines of all that a union shows: kinds, sizes, link counts, contents, attributes.
fn seen(bench: &Bench, path: &Path, into: &mut Vec<String>) {
    for name in bench.names(path).unwrap() {
        let path = path.join(name);
        let attr = bench.stat(&path).unwrap();
        let content = match attr.kind {
            Kind::File => bench.text(&path).unwrap(),
            Kind::Symlink => bench.target(&path).unwrap().into_string().unwrap(),
            _ => String::new(),
        };
        let links = if attr.kind == Kind::Directory { 0 } else { attr.nlink };
        into.push(format!(
            "{} {:?} {:o} {} {links} {content:?} {:?}",
            path.display(),
            attr.kind,
            attr.perm,
            attr.size,
            bench.xattrs(&path).unwrap()
        ));
        if attr.kind == Kind::Directory {
            seen(bench, &path, into);
        }
    }
}

fn assert_same(live: &Bench, view: &Bench, after: &str) {
    let [mut wanted, mut found] = [Vec::new(), Vec::new()];
    seen(live, Path::new(""), &mut wanted);
    seen(view, Path::new(""), &mut found);
    assert_eq!(found, wanted, "after {after}");
}

type Step<'a> = &'a dyn Fn() -> Result<(), Errno>;

fn live() -> Bench {
    union(|[top, bottom]: &[Layer; 2], upper| {
        top.file("f", "top f")
            .file("d/x", "x")
            .file("d/sub/deep/y", "y")
            .file("e/one", "1")
            .symlink("s", "f");
        bottom.file("d/z", "z").file("h", "linked").link("h2", "h").link("d/h3", "h").file("gone", "gone");
        upper.file("u", "upper").whiteout("gone").file("d/u", "du");
    })
}

#[test]
fn shows_every_change_at_the_next_look() {
    let live = live();
    let view = live.view();
    assert_same(&live, &view, "opening");
    let steps: [(&str, Step<'_>); 22] = [
        ("a write", &|| live.write("f", "changed, and longer").map(drop)),
        ("a shorter one", &|| live.truncate("f", 3).map(drop)),
        ("a write to an upper file", &|| live.write("u", "UP").map(drop)),
        ("copying a directory up", &|| live.chmod("d/sub", 0o711).map(drop)),
        ("a copy in a lower directory", &|| live.write("d/sub/deep/y", "Y").map(drop)),
        ("copying a hard link up", &|| live.write("h2", "LINKED").map(drop)),
        ("removing", &|| live.unlink("e/one")),
        ("removing a directory", &|| live.rmdir("e")),
        ("a new directory in its place", &|| live.mkdir("e").map(drop)),
        ("a new file in it", &|| live.create("e/two").map(drop)),
        ("renaming a lower directory", &|| live.rename("d", "dd")),
        ("renaming below it", &|| live.rename("dd/sub", "sub")),
        ("a write below both", &|| live.write("sub/deep/y", "again").map(drop)),
        ("a file where a directory was", &|| live.create("d").map(drop)),
        ("replacing a file", &|| live.rename("u", "f")),
        ("replacing a symlink", &|| live.rename("f", "s")),
        ("exchanging", &|| live.rename_with("e", "sub", RenameMode::Exchange)),
        ("an attribute", &|| live.set_xattr("dd/z", "user.a", "1")),
        ("removing a link", &|| live.unlink("h")),
        ("a new link", &|| live.link("dd/x", "x2").map(drop)),
        ("what was hidden", &|| live.create("gone").map(drop)),
        ("removing it again", &|| live.unlink("gone")),
    ];
    for (what, step) in steps {
        step().unwrap_or_else(|errno| panic!("{what}: {errno}"));
        assert_same(&live, &view, what);
    }
    view.forget_all();
    assert_same(&live, &view, "forgetting");
}

/// All that can be looked at; what vanishes meanwhile is no error.
fn walk(view: &Bench, dir: NodeId, path: &Path) {
    let gone = |errno: &Errno| matches!(*errno, Errno::NOENT | Errno::STALE | Errno::NOTDIR | Errno::INVAL);
    let mut names = Vec::new();
    let listed = view.raw().read_dir(dir, 0, false, &mut |entry, _| {
        names.push(entry.name);
        std::ops::ControlFlow::Continue(())
    });
    if let Err(errno) = errno(listed) {
        return assert!(gone(&errno), "list {path:?}: {errno}");
    }
    for name in names.into_iter().filter(|name| name != "." && name != "..") {
        let path = path.join(&name);
        let attr = match view.look(dir, &name) {
            Ok(Some(attr)) => attr,
            Ok(None) => continue,
            Err(errno) => return assert!(gone(&errno), "{path:?}: {errno}"),
        };
        match attr.kind {
            Kind::Directory => walk(view, attr.node, &path),
            Kind::File => {
                let mut data = [0; 64];
                if let Err(errno) = errno(view.raw().read(attr.node, 0, &mut data)) {
                    assert!(gone(&errno), "{path:?}: {errno}");
                }
            }
            _ => {}
        }
    }
}

#[test]
fn what_changes_during_a_walk_does_no_harm() {
    let live = live();
    let view = live.view();
    let ended = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for round in 0..60 {
                let text = format!("round {round}");
                live.write("d/sub/deep/y", &text).unwrap();
                live.rename("d", "moved").unwrap();
                live.create("d").unwrap();
                live.rename("moved/sub", "sub").unwrap();
                live.write("f", &text).unwrap();
                live.unlink("d").unwrap();
                live.rename("sub", "moved/sub").unwrap();
                live.rename("moved", "d").unwrap();
                live.mkdir("new").unwrap();
                live.rename_with("new", "e", RenameMode::Exchange).unwrap();
                live.rename("new/one", "e/one").unwrap();
                live.rmdir("new").unwrap();
                live.unlink("u").unwrap();
                live.create("u").unwrap();
            }
            ended.store(true, Ordering::Relaxed);
        });
        while !ended.load(Ordering::Relaxed) {
            walk(&view, NodeId::ROOT, Path::new(""));
            view.forget_all();
        }
    });
    assert_same(&live, &view, "all rounds");
}

#[test]
fn a_file_with_another_thing_under_its_name_is_gone() {
    let live = live();
    let view = live.view();
    live.write("f", "copied up").unwrap();
    live.write("d/u", "upper").unwrap();
    live.create("other").unwrap();
    let nodes = ["f", "d/u", "other"].map(|path| view.node(path).unwrap());
    live.unlink("f").unwrap();
    live.unlink("d/u").unwrap();
    live.mkdir("d/u").unwrap();
    live.unlink("other").unwrap();
    live.symlink("other", "f").unwrap();
    for (node, found) in nodes.into_iter().zip(["a whiteout", "a directory", "a symlink"]) {
        let read = errno(view.raw().read(node, 0, &mut [0; 8]));
        assert_eq!(read.err(), Some(Errno::STALE), "{found}");
    }
}

#[test]
fn changes_and_makes_nothing() {
    let live = live();
    let whole = Layer { root: live.dir().to_owned() };
    let before = whole.everything();
    let view = live.view();
    assert!(view.raw().is_read_only() && view.raw().is_view() && !live.raw().is_view());
    let node = view.node("f").unwrap();
    assert_eq!(view.text("f").unwrap(), "top f");
    for (what, answer) in [
        ("create", view.create("new").map(drop)),
        ("unlink", view.unlink("u")),
        ("rename", view.rename("u", "v")),
        ("chmod", view.chmod("u", 0).map(drop)),
        ("write", view.write_node(node, 0, "x")),
        ("rmdir", view.rmdir("d")),
        ("setxattr", view.set_xattr("u", "user.a", "1")),
    ] {
        assert_eq!(answer, Err(Errno::ROFS), "{what}");
    }
    assert_eq!(whole.everything(), before);
    drop(view);
    // Nobody was kept from writing.
    live.write("f", "still").unwrap();
}

#[test]
fn an_open_file_stays_readable_without_its_name() {
    let live = live();
    let view = live.view();
    let node = view.node("u").unwrap();
    errno(view.raw().open_view(node)).unwrap();
    live.unlink("u").unwrap();
    assert_eq!(view.text_of(node).unwrap(), "upper");
    assert!(!view.has("u"));
}

#[test]
fn needs_no_workdir_and_makes_none() {
    let mut live = live();
    live.close();
    live.config.work = None;
    live.config.read_only = true;
    let view = Union::open(&live.config, None).unwrap();
    assert!(view.is_view());
    assert!(!live.dir().join(".upper.unionfuse-work").exists());
}
