//! Random scripts over few names, so that everything meets everything. A failing script is shrunk before it is shown.
//!
//! `UNIONFUSE_TEST_SEEDS=1000..2000` runs other scripts than the few of every run.

use std::time::{Duration, Instant};

use rustix::fs::RenameFlags;

use super::every_kind;
use crate::kit::case::Case;
use crate::kit::mode::Mode;
use crate::kit::op::*;
use crate::kit::recipe::layer;

const NAMES: &[&str] = &[
    "f",
    "g",
    "c",
    "u",
    "s",
    "gone",
    "gonedir",
    "gonedir/old",
    "d",
    "d/x",
    "d/sub",
    "d/sub/y",
    "e",
    "m",
    "m/0",
    "m/1",
    "m/both",
    "m/sub",
    "m/sub/deep",
    "m2",
    "m2/1",
    "mm",
    "mm/1",
    "o",
    "o/hidden",
    "o/seen",
    "ud",
    "ud/n",
    "ue",
    "hollow",
    "hollow/w",
    "new",
    "d/new",
    "m/new",
    "o/new",
    "new/x",
    "e/d",
    "l1",
    "l2",
];

/// A small generator, the same everywhere (xorshift64*).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % n
    }

    fn name(&mut self) -> &'static str {
        NAMES[self.below(NAMES.len())]
    }

    fn op(&mut self) -> Op {
        let (a, b, n) = (self.name(), self.name(), self.below(5000) as u64);
        match self.below(32) {
            0..8 => rename(a, b),
            8..10 => Op::Rename(a.into(), b.into(), RenameFlags::EXCHANGE),
            10 => rename_noreplace(a, b),
            11..14 => unlink(a),
            14..16 => rmdir(a),
            16 => remove_tree(a),
            17..19 => mkdir(a),
            19..21 => put(a, format!("content {n}")),
            21 => append(a, format!("more {n}")),
            22 => truncate(a, n),
            23 => chmod(a, least_mode() + (n % 64) as u32),
            24 => utimens(a, n as i64),
            25..28 => link(a, b),
            28 => symlink(b, a),
            29 => setxattr(a, "user.random", n.to_string()),
            30 => list(a),
            _ => stat(a),
        }
    }
}

/// The bits that every random mode has. A daemon with no more rights than a directory's owner cannot look into one that is
/// closed to its owner, as it must to rename or remove it, where a plain directory is moved unseen.
fn least_mode() -> u32 {
    match Mode::current() {
        Mode::Root | Mode::UserNs => 0o600,
        Mode::User => 0o700,
    }
}

/// The stack of every kind with some lower hard links added.
fn stack() -> Case {
    every_kind()
        .lower(layer().file("l1", "linked").hard_link("l1", "l2").dir("d").hard_link("l1", "d/l3"))
        .cold_only()
}

/// How the subjects differ, but for this: a rename that fails with ENOTEMPTY leaves a new time on the kernel's parent directory
/// (it was copied up for nothing), and on ours the one that the layer or `utimens` gave it.
fn differences(script: &[Op]) -> Vec<String> {
    let mut lines = stack().with_script(script).differences();
    let is_touched_by_kernel_only = |line: &str| {
        let ours = line.split_once(r#": mtime "touched by the script" (kernel), ""#).map(|(_, ours)| ours);
        ours.is_some_and(|ours| ours.starts_with(|first: char| first.is_ascii_digit()))
    };
    lines.retain(|line| !is_touched_by_kernel_only(line));
    lines
}

/// Drops what is not needed for the script to fail, within a time limit.
fn shrink(mut script: Vec<Op>) -> Vec<Op> {
    let start = Instant::now();
    let mut step = script.len() / 2;
    while step > 0 {
        let mut at = 0;
        while at < script.len() && start.elapsed() < Duration::from_secs(30) {
            let mut shorter = script.clone();
            shorter.drain(at..(at + step).min(script.len()));
            if differences(&shorter).is_empty() {
                at += step;
            } else {
                script = shorter;
            }
        }
        step /= 2;
    }
    script
}

fn seeds(default: std::ops::Range<u64>) -> std::ops::Range<u64> {
    let Ok(asked) = std::env::var("UNIONFUSE_TEST_SEEDS") else {
        return default;
    };
    let bounds = asked.split_once("..").and_then(|(from, to)| Some(from.parse().ok()?..to.parse().ok()?));
    bounds.unwrap_or_else(|| panic!("UNIONFUSE_TEST_SEEDS={asked}: expected FROM..TO"))
}

fn run(seeds: std::ops::Range<u64>) {
    assert!(!seeds.is_empty());
    for seed in seeds {
        let mut random = Random::new(seed);
        let script: Vec<Op> = (0..60).map(|_| random.op()).collect();
        if !differences(&script).is_empty() {
            let shrunk = shrink(script);
            panic!("seed {seed}: {shrunk:#?}\n{:#?}", differences(&shrunk));
        }
    }
}

#[test]
fn random_scripts_of_names() {
    run(seeds(0..20));
}

/// A second test, so that two processors have something to do.
#[test]
fn more_random_scripts_of_names() {
    run(20..40);
}
