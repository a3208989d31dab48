//! Hostile input: layers, arguments and callers that mean harm.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod any_bytes;
mod aufs_names;
mod deep;
mod engine;
mod guard;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;
mod marks;
mod mounted;
mod odd_files;
mod properties;

use std::os::unix::fs::PermissionsExt;
use std::sync::Arc;

use guard::Guard;
use kit::bench::Bench;
use kit::layer::Layer;
use kit::watched::Watched;

const SECRET: &str = "nobody may read or change this";

/// A union of two lowers and an upper that somebody has prepared. Beside them lies `outside/x`, which the engine must not
/// open; when the test ends, the lowers and it must be as they were.
struct Prepared {
    bench: Bench,
    outside: Layer,
}

impl std::ops::Deref for Prepared {
    type Target = Bench;

    fn deref(&self) -> &Bench {
        &self.bench
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            assert_eq!(self.outside.text("x"), SECRET);
            assert_eq!(self.outside.names(""), ["x"]);
            assert_eq!(self.outside.stat("x").permissions().mode() & 0o7777, 0o644);
        }
    }
}

fn prepared(fill: impl FnOnce(&[Layer; 2], &Layer)) -> Prepared {
    let dir = tempfile::tempdir().unwrap();
    let outside = Layer { root: dir.path().join("outside") };
    outside.file("x", SECRET);
    let mut bench = Bench::prepare_in(dir, fill);
    let guard = Guard::new([bench.dir(), &outside.root, &outside.path("x")]);
    bench.open_on(Arc::new(Watched(guard)));
    Prepared { bench, outside }
}

/// The attribute in which the unions of these tests have a mark.
fn mark(name: &str) -> String {
    use unionfuse::testing::marker;
    let namespace = marker::namespace_of_reader(unionfuse::config::XattrNamespace::Auto);
    format!("{}{name}", namespace.prefix())
}

/// Says that a test did not run, past libtest, which captures what is printed.
fn is_root(name: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        return true;
    }
    kit::bench::skip(&format!("{name} needs root"));
    false
}
