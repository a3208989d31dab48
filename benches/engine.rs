//! The engine alone, on temporary directories and without a mount, by number of layers.
//!
//! Started by `scripts/bench --micro`, which passes a further word on to criterion as a filter.

use std::ffi::{OsStr, OsString};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use criterion::Criterion;
use fs_err as fs;
use tempfile::TempDir;
use unionfuse::NodeRef;
use unionfuse::config::{Durability, UnionConfig};
use unionfuse::types::{Caller, Kind, Name, NodeId};
use unionfuse::{Error, Union};

const LAYERS: [usize; 4] = [1, 10, 100, 500];

/// Entries of each directory that is looked at.
const ENTRIES: usize = 1000;

/// In all layers; its files are in the lowest one, under all others.
const MERGED: &str = "merged";

/// In the lowest layer alone.
const PURE: &str = "pure";

const CALLER: Caller = Caller { uid: 0, gid: 0, pid: 0, umask: 0o022 };

/// A union of temporary directories.
struct Bed {
    // Before the directories it lies on.
    union: Union,
    dir: TempDir,
    layers: usize,
}

fn name(n: usize) -> OsString {
    format!("file{n:05}").into()
}

/// On a tmpfs where there is one: ext4 makes files slowly as long as it remembers that others were deleted.
fn place() -> std::io::Result<TempDir> {
    TempDir::new_in("/dev/shm").or_else(|_| TempDir::new())
}

fn union(dir: &Path, layers: usize) -> Result<Union> {
    let (upper, work) = (dir.join("upper"), dir.join("work"));
    fs::create_dir_all(&upper)?;
    fs::create_dir_all(&work)?;
    let lowers: Vec<PathBuf> = (0..layers).map(|n| dir.join(format!("l{n}"))).collect();
    let mut config = UnionConfig::new(lowers).with_upper(upper, Some(work));
    // The engine is measured here, not the disk.
    config.durability = Durability::Relaxed;
    Union::open(&config, None).with_context(|| format!("a union of {layers} layers in {}", dir.display()))
}

impl Bed {
    fn new(layers: usize) -> Result<Self> {
        let dir = place().context("a temporary directory")?;
        for n in 0..layers {
            fs::create_dir_all(dir.path().join(format!("l{n}")).join(MERGED))?;
        }
        let bottom = dir.path().join(format!("l{}", layers - 1));
        fs::create_dir(bottom.join(PURE))?;
        for n in 0..ENTRIES {
            fs::write(bottom.join(PURE).join(name(n)), "a few words")?;
            fs::write(bottom.join(MERGED).join(name(n)), "a few words")?;
        }
        let union = union(dir.path(), layers)?;
        Ok(Self { union, dir, layers })
    }

    /// The same union with nothing in the upper directory.
    fn renew(self) -> Result<Self> {
        let Self { union: old, dir, layers } = self;
        drop(old);
        fs::remove_dir_all(dir.path().join("upper"))?;
        fs::remove_dir_all(dir.path().join("work"))?;
        let union = union(dir.path(), layers)?;
        Ok(Self { union, dir, layers })
    }

    fn node(&self, parent: NodeId, name: &OsStr) -> Result<NodeId, Error> {
        let entry = self.union.lookup(parent, Name::new(name)?)?;
        // A name that is missing gives the root, at which everything else then fails.
        Ok(entry.map_or(NodeId::ROOT, |entry| entry.give_to_kernel().node))
    }

    fn lookup(&self, dir: NodeId, rounds: u64) -> Result<Duration, Error> {
        let mut total = Duration::ZERO;
        for n in 0..rounds {
            let name = name(n as usize % ENTRIES);
            let start = Instant::now();
            let node = self.node(dir, &name)?;
            total += start.elapsed();
            self.union.forget(node, 1);
        }
        Ok(total)
    }

    fn list(&self, dir: NodeId, rounds: u64) -> Result<Duration, Error> {
        let mut total = Duration::ZERO;
        let mut nodes = Vec::with_capacity(ENTRIES);
        for _ in 0..rounds {
            let start = Instant::now();
            self.union.read_dir(dir, 0, true, &mut |_, node| {
                nodes.extend(node.map(NodeRef::give_to_kernel));
                ControlFlow::Continue(())
            })?;
            total += start.elapsed();
            nodes.drain(..).for_each(|node| self.union.forget(node, 1));
        }
        Ok(total)
    }

    fn create(&self, dir: NodeId, rounds: u64) -> Result<Duration, Error> {
        let mut total = Duration::ZERO;
        for n in 0..rounds {
            let name = format!("new{n}");
            let start = Instant::now();
            let made = self.union.mknod(CALLER, dir, Name::new(name.as_ref())?, Kind::File, 0o644, 0)?;
            total += start.elapsed();
            self.union.unlink(dir, Name::new(name.as_ref())?)?;
            drop(made);
        }
        Ok(total)
    }

    /// Writes a byte to each of the first `count` files of `dir`.
    fn copy_up(&self, dir: NodeId, count: usize) -> Result<Duration, Error> {
        let mut total = Duration::ZERO;
        for n in 0..count {
            let node = self.node(dir, &name(n))?;
            let start = Instant::now();
            self.union.write(node, 0, b"x", None)?;
            total += start.elapsed();
            self.union.forget(node, 1);
        }
        Ok(total)
    }
}

/// What a measurement returns when it fails ends the run, with the reason.
fn or_exit<T, E: std::fmt::Display>(what: &str, result: Result<T, E>) -> T {
    result.unwrap_or_else(|error| {
        eprintln!("{what}: {error:#}");
        std::process::exit(1)
    })
}

/// Measures what depends on a directory: one in a single layer, and one that all layers have.
fn looking(criterion: &mut Criterion, bed: &Bed) -> Result<()> {
    let layers = bed.layers;
    for kind in [PURE, MERGED] {
        let dir = bed.node(NodeId::ROOT, kind.as_ref())?;
        ensure!(dir != NodeId::ROOT, "there is no directory {kind}");
        criterion.bench_function(&format!("lookup-cold/{kind}/{layers}"), |b| {
            b.iter_custom(|rounds| or_exit("lookup", bed.lookup(dir, rounds)));
        });
        criterion.bench_function(&format!("readdirplus-1000/{kind}/{layers}"), |b| {
            b.iter_custom(|rounds| or_exit("read_dir", bed.list(dir, rounds)));
        });
        let held = (0..ENTRIES).map(|n| bed.node(dir, &name(n))).collect::<Result<Vec<_>, _>>()?;
        criterion.bench_function(&format!("lookup-warm/{kind}/{layers}"), |b| {
            b.iter_custom(|rounds| or_exit("lookup", bed.lookup(dir, rounds)));
        });
        held.into_iter().for_each(|node| bed.union.forget(node, 1));
        bed.union.forget(dir, 1);
    }
    Ok(())
}

/// Measures changes in a directory that all layers have.
fn changing(criterion: &mut Criterion, bed: Bed) -> Result<()> {
    let layers = bed.layers;
    let dir = bed.node(NodeId::ROOT, MERGED.as_ref())?;
    ensure!(dir != NodeId::ROOT, "there is no directory {MERGED}");
    criterion.bench_function(&format!("create/{layers}"), |b| {
        b.iter_custom(|rounds| or_exit("mknod", bed.create(dir, rounds)));
    });
    let mut place = Some(bed);
    criterion.bench_function(&format!("copy-up/{layers}"), |b| {
        b.iter_custom(|rounds| or_exit("write", copy_up(&mut place, rounds)));
    });
    Ok(())
}

/// A file is copied up once, so the union begins anew whenever it has no more files.
fn copy_up(place: &mut Option<Bed>, rounds: u64) -> Result<Duration> {
    let mut total = Duration::ZERO;
    let mut left = usize::try_from(rounds)?;
    while left > 0 {
        let bed = place.take().context("an earlier copy-up failed")?.renew()?;
        let dir = bed.node(NodeId::ROOT, MERGED.as_ref())?;
        let count = left.min(ENTRIES);
        total += bed.copy_up(dir, count)?;
        bed.union.forget(dir, 1);
        left -= count;
        *place = Some(bed);
    }
    Ok(total)
}

fn main() -> Result<()> {
    let mut criterion = Criterion::default()
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .sample_size(20)
        .configure_from_args();
    for layers in LAYERS {
        let bed = Bed::new(layers)?;
        looking(&mut criterion, &bed)?;
        changing(&mut criterion, bed)?;
    }
    criterion.final_summary();
    Ok(())
}
