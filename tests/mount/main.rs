//! Mount tests: the same scripts on our mount and on the kernel's overlayfs over the same layers, complete trees compared.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a failing test panics")]

mod ahead;
mod attributes;
mod aufs;
mod coherence;
mod copy_up;
mod create;
mod data;
mod filesystems;
mod follow;
mod hard_link;
mod identity;
#[path = "../kit/mod.rs"]
#[allow(dead_code, reason = "each suite needs a part of the kit")]
mod kit;
mod layers;
mod names;
mod open_files;
mod parallel;
mod passthrough;
mod random;
mod readdir;
mod remove;
mod rename_dir;
mod rename_file;
mod rights;
mod rootless;
mod shared_upper;
mod special;
mod warm;
mod xattr;

use crate::kit::case::{Case, case};
use crate::kit::op::Op;
use crate::kit::recipe::{Layer, layer};

/// A stack with one of everything a name can be, for scripts of names:
///
/// | name | upper | middle | bottom |
/// |---|---|---|---|
/// | `f`, `g` | | | file |
/// | `c`, `c2` | file | | file |
/// | `u`, `v` | file | | |
/// | `s` | | | symlink |
/// | `gone` | whiteout | | file |
/// | `gonedir` | whiteout | | directory with `old` |
/// | `d` | | | directory with `x`, `sub/y` |
/// | `e`, `e2` | | | empty directory |
/// | `m`, `m2` | directory | directory | directory |
/// | `mm` | | directory | directory |
/// | `o` | opaque directory with `seen` | | directory with `hidden` |
/// | `ud`, `ue` | directory with `n`; empty directory | | |
/// | `hollow` | directory with a whiteout of `w` | | directory with `w` |
fn every_kind() -> Case {
    let bottom = layer()
        .file("f", "lower f")
        .file("g", "lower g")
        .file("c", "old c")
        .file("c2", "old c2")
        .symlink("f", "s")
        .file("gone", "gone")
        .file("gonedir/old", "old")
        .file("d/x", "x")
        .file("d/sub/y", "y")
        .dir("e")
        .dir("e2")
        .file("m/1", "bottom")
        .file("m/both", "bottom")
        .file("m/sub/deep", "deep")
        .file("m2/1", "bottom 2")
        .file("mm/1", "bottom")
        .file("mm/both", "bottom")
        .file("o/hidden", "hidden")
        .file("hollow/w", "w");
    let middle = layer().file("m/0", "middle").file("m/both", "middle").file("m2/0", "middle 2");
    let middle = middle.file("mm/0", "middle").file("mm/both", "middle").mode("mm", 0o750);
    let upper = layer()
        .file("c", "new c")
        .file("c2", "new c2")
        .file("u", "upper u")
        .file("v", "upper v")
        .whiteout("gone")
        .whiteout("gonedir")
        .file("m/up", "upper")
        .file("m2/up", "upper 2")
        .opaque("o")
        .file("o/seen", "seen")
        .file("ud/n", "n")
        .dir("ue")
        .whiteout("hollow/w");
    case().lower(middle).lower(bottom).upper(upper)
}

/// Runs `script` on the stack of `every_kind`.
fn on_every_kind(script: impl IntoIterator<Item = Op>) {
    every_kind().run(script).check();
}

/// A lower layer with a single file `f`.
fn one_file() -> Layer {
    layer().file("f", "lower data").file("d/g", "more lower data")
}

/// One test for each named script on the stack of `every_kind`.
macro_rules! scripts {
    ($($name:ident: [$($step:expr),* $(,)?];)*) => {
        $(#[test] fn $name() { $crate::on_every_kind([$($step),*]); })*
    };
}
use scripts;
