//! Few descriptors: neither directories nor open nor removed files may need one each.

use std::process::Command;

use super::harness::{errno, over};

/// Runs the ignored test `body` of this file with 128 descriptors, in a process of its own.
#[test]
fn a_hundred_and_twenty_eight_are_enough() {
    let name = "cases::descriptors::body";
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
