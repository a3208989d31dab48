//! Few descriptors: neither directories nor open nor removed files may need one each.

use std::process::Command;
use std::sync::Arc;

use rustix::io::Errno;
use unionfuse::testing::release_all;
use unionfuse::types::{Kind, Name, SetAttr};

use crate::kit::bench::{Bench, ROOT, errno, over};
use crate::kit::faulty::{Fault, Faulty};
use crate::kit::layer::Layer;

/// Runs the ignored test `body` of this file with 128 descriptors, in a process of its own.
#[test]
fn a_hundred_and_twenty_eight_are_enough() {
    in_a_process_of_its_own("descriptors::body");
}

fn in_a_process_of_its_own(name: &str) {
    let output = Command::new("sh")
        .args(["-c", r#"ulimit -n 128 && exec "$0" --exact "$1" --ignored --nocapture"#])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .output()
        .unwrap();
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "run by the other test, with few descriptors"]
fn body() {
    let bench = over(|lower| {
        for n in 0..300 {
            lower.file(format!("low/{n}"), n.to_string()).file(format!("dirs/{n}/{n}/f"), n.to_string());
        }
    });
    for n in 0..300 {
        assert_eq!(
            bench.write(format!("dirs/{n}/{n}/f"), "UPPER").unwrap().0,
            bench.lower().ino(format!("dirs/{n}/{n}/f"))
        );
    }
    let low: Vec<_> = (0..300).map(|n| bench.write(format!("low/{n}"), format!("<{n}>")).unwrap()).collect();
    let up: Vec<_> = (0..300).map(|n| bench.write(format!("up{n}"), format!("<{n}>")).unwrap()).collect();
    for n in 0..300 {
        bench.unlink(format!("low/{n}")).unwrap();
        bench.link(format!("up{n}"), "second").unwrap();
        bench.unlink(format!("up{n}")).unwrap();
        bench.unlink("second").unwrap();
    }
    for nodes in [&low, &up] {
        for (n, &node) in nodes.iter().enumerate() {
            assert!(bench.text_of(node).unwrap().starts_with(&format!("<{n}>")));
            bench.write_node(node, 0, "!").unwrap();
            assert_eq!(errno(bench.raw().getattr(node)).unwrap().nlink, 0, "{n}");
        }
    }
    assert!(!bench.garbage().is_empty(), "removed files are parked when descriptors are scarce");
    for node in low.into_iter().chain(up) {
        bench.forget(node);
    }
    assert_eq!(bench.garbage(), Vec::<std::path::PathBuf>::new());
}

/// Runs the ignored test `directories` with 128 descriptors, as above.
#[test]
fn removed_directories_need_none_each() {
    in_a_process_of_its_own("descriptors::directories");
}

#[test]
#[ignore = "run by the other test, with few descriptors"]
fn directories() {
    let bench = over(|lower| {
        for n in 0..300 {
            lower.dir(format!("merged{n}")).file(format!("cleared{n}/f"), "").dir(format!("covered{n}"));
        }
    });
    let mut open = Vec::new();
    for n in 0..300 {
        for path in [format!("new{n}"), format!("merged{n}")] {
            if !bench.has(&path) {
                bench.mkdir(&path).unwrap();
            }
            open.push((bench.chmod(&path, 0o750).unwrap().node, 0o750));
            bench.rmdir(&path).unwrap();
        }
        // Whiteouts are left in what only the union shows as empty.
        bench.unlink(format!("cleared{n}/f")).unwrap();
        open.push((bench.chmod(format!("cleared{n}"), 0o711).unwrap().node, 0o711));
        bench.rmdir(format!("cleared{n}")).unwrap();
        // Others take their place.
        for path in [format!("replaced{n}"), format!("covered{n}")] {
            if !bench.has(&path) {
                bench.mkdir(&path).unwrap();
            }
            open.push((bench.chmod(&path, 0o705).unwrap().node, 0o705));
            bench.mkdir("other").unwrap();
            bench.rename("other", &path).unwrap();
            assert_eq!(bench.stat(&path).unwrap().perm, 0o755);
        }
    }
    assert!(!bench.garbage().is_empty(), "removed directories are parked when descriptors are scarce");
    for (node, perm) in &open {
        let attr = errno(bench.raw().getattr(*node)).unwrap();
        assert_eq!((attr.perm, attr.nlink), (*perm, 0));
        let mut listed = 0;
        errno(bench.raw().read_dir(*node, 0, false, &mut |_, _| {
            listed += 1;
            std::ops::ControlFlow::Continue(())
        }))
        .unwrap();
        assert_eq!(listed, 0);
        let change = SetAttr { perm: Some(0o700), ..SetAttr::default() };
        assert_eq!(errno(bench.raw().setattr(ROOT, *node, change)).unwrap().value.perm, 0o700);
        let name = Name::new("f".as_ref()).unwrap();
        assert_eq!(errno(bench.raw().mkdir(ROOT, *node, name, 0o755)).unwrap_err(), Errno::NOENT);
    }
    for (node, _) in open {
        bench.forget(node);
    }
    assert_eq!(bench.garbage(), Vec::<std::path::PathBuf>::new());
}

/// The bottom of a chain that is not open any more costs as many calls as its path has pages, not one for each level.
#[test]
fn a_deep_directory_is_opened_by_few_calls() {
    const DEPTH: usize = 3000;
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| {
        lower.dir("low");
    });
    let store = Arc::new(Faulty::new());
    bench.open_on(store.clone());
    let mut node = bench.mkdir("top").unwrap().node;
    let name = Name::new("deep".as_ref()).unwrap();
    let mut made = vec![node];
    for _ in 0..DEPTH {
        node = errno(bench.raw().mkdir(ROOT, node, name, 0o755)).unwrap().value.give_to_kernel().node;
        made.push(node);
    }
    for _ in 0..2 {
        release_all();
        store.arm(Fault::None);
        let found = errno(bench.raw().lookup(node, Name::new("nothing".as_ref()).unwrap()));
        let calls = store.disarm();
        assert!(found.unwrap().is_none());
        assert!(calls.len() < 20, "{} calls for {DEPTH} levels", calls.len());
        // A directory in the middle that was moved is found where it is.
        bench.rename("top/deep", "moved").unwrap();
        bench.rename("moved", "top/deep").unwrap();
    }
    let file = Name::new("f".as_ref()).unwrap();
    let made_file =
        errno(bench.raw().mknod(ROOT, node, file, Kind::File, 0o600, 0)).unwrap().value.give_to_kernel().node;
    bench.write_node(made_file, 0, "deep").unwrap();
    assert_eq!(bench.text_of(made_file).unwrap(), "deep");
    bench.raw().forget(made_file, 1);
    for node in made.into_iter().skip(1) {
        bench.raw().forget(node, 1);
    }
}
