//! Loads that no common program makes: this program runs itself again for each, so that nothing else is timed.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use fs_err as fs;
use fs_err::os::unix::fs::FileExt as _;

use crate::data;
use crate::workload::LOWER_FILES_OF_MIXED as LOWER_FILES;

const BLOCK: usize = 4096;

struct Arguments(std::vec::IntoIter<OsString>);

impl Arguments {
    fn path(&mut self) -> Result<PathBuf> {
        self.0.next().map(PathBuf::from).context("a path is missing")
    }

    fn word(&mut self) -> Result<String> {
        let word = self.0.next().context("a word is missing")?;
        word.into_string().ok().context("a word that is not text")
    }

    fn number(&mut self) -> Result<usize> {
        let word = self.word()?;
        word.parse().with_context(|| format!("'{word}' is not a number"))
    }
}

/// Does the load `arguments` name.
pub fn run(arguments: Vec<OsString>) -> Result<()> {
    let mut arguments = Arguments(arguments.into_iter());
    let a = &mut arguments;
    match a.word()?.as_str() {
        "lookup" => lookup(&a.path()?, a.number()?, a.number()?),
        "create" => in_processes("create-one", &a.path()?, a.number()?, a.number()?),
        "create-one" => create(&a.path()?, a.number()?, a.number()?),
        "mixed" => in_processes("mixed-one", &a.path()?, a.number()?, a.number()?),
        "mixed-one" => mixed(&a.path()?, a.number()?, a.number()?),
        "append" => append(&a.path()?, a.number()?),
        "write" => write(&a.path()?, a.number()?, a.number()?),
        "read" => read(&a.path()?, a.number()?),
        "map" => map(&a.path()?),
        "random" => random(&a.path()?, a.number()?, &a.word()?),
        "first-byte" => first_byte(&a.path()?),
        "watch" => watch(&a.path()?),
        other => bail!("there is no load '{other}'"),
    }
}

/// Runs a load `processes` times at once; each is told its number.
fn in_processes(load: &str, dir: &Path, count: usize, processes: usize) -> Result<()> {
    let exe = std::env::current_exe().context("finding this program")?;
    let one = |n: usize| {
        let mut command = Command::new(&exe);
        command.arg("__load").arg(load).arg(dir).arg(count.to_string()).arg(n.to_string());
        command.spawn().with_context(|| format!("starting load {load}"))
    };
    let children = (0..processes).map(one).collect::<Result<Vec<_>>>()?;
    for mut child in children {
        let status = child.wait()?;
        ensure!(status.success(), "a process of load {load}: {status}");
    }
    Ok(())
}

fn lookup(dir: &Path, entries: usize, count: usize) -> Result<()> {
    let mut rng = Rng::with_seed(1);
    for _ in 0..count {
        fs::symlink_metadata(dir.join(data::entry_name(rng.usize(..entries))))?;
    }
    Ok(())
}

fn create(dir: &Path, count: usize, process: usize) -> Result<()> {
    for n in 0..count {
        fs::File::create_new(dir.join(format!("file-{process}-{n:06}")))?;
    }
    Ok(())
}

fn append(root: &Path, files: usize) -> Result<()> {
    use std::io::Write;
    for n in 0..files {
        let mut file = fs::OpenOptions::new().append(true).open(root.join(data::tree_path(n)))?;
        file.write_all(b"x")?;
    }
    Ok(())
}

fn write(path: &Path, block: usize, mib: usize) -> Result<()> {
    use std::io::Write;
    let data = data::text(&mut Rng::with_seed(2), block);
    let mut file = fs::File::create_new(path)?;
    for _ in 0..(mib << 20) / block {
        file.write_all(&data)?;
    }
    Ok(())
}

fn read(path: &Path, block: usize) -> Result<()> {
    let mut file = fs::File::open(path)?;
    let mut data = vec![0; block];
    while file.read(&mut data)? > 0 {}
    Ok(())
}

#[allow(unsafe_code, reason = "a mapping of a file is unsafe, since others may shorten it")]
fn map(path: &Path) -> Result<()> {
    let file = fs::File::open(path)?;
    // SAFETY: nobody but us uses this file.
    let map = unsafe { memmap2::Mmap::map(file.file()) }.with_context(|| format!("mapping {path:?}"))?;
    let sum: u64 = map.iter().step_by(BLOCK).map(|byte| u64::from(*byte)).sum();
    ensure!(sum > 0, "{} holds nothing but zeros", path.display());
    Ok(())
}

/// `what` is done: reads (`r`), writes (`w`), or both in turns and a sync (`rw`).
fn random(path: &Path, count: usize, what: &str) -> Result<()> {
    let file = fs::OpenOptions::new().read(true).write(what != "r").open(path)?;
    let blocks = file.metadata()?.len() / BLOCK as u64;
    let mut rng = Rng::with_seed(3);
    let mut data = vec![7; BLOCK];
    for n in 0..count {
        let at = rng.u64(..blocks) * BLOCK as u64;
        if what == "r" || what == "rw" && n % 2 == 0 {
            file.file().read_exact_at(&mut data, at).with_context(|| format!("reading {path:?}"))?;
        } else {
            file.write_all_at(&data, at)?;
        }
    }
    if what == "rw" {
        file.sync_all()?;
    }
    Ok(())
}

fn first_byte(path: &Path) -> Result<()> {
    let file = fs::OpenOptions::new().write(true).open(path)?;
    Ok(file.write_all_at(b"x", 0)?)
}

/// Looks at a file that is not there, makes one, and removes it, again and again until told to end; then says the
/// longest time that took, and the time that 99 % of the rounds took less than, in milliseconds.
fn watch(dir: &Path) -> Result<()> {
    let (end, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut nothing = Vec::new();
        // An error is an end, too.
        let _ = std::io::stdin().read_to_end(&mut nothing);
        let _ = end.send(());
    });
    let mut waits = Vec::new();
    for n in 0.. {
        if told.recv_timeout(Duration::from_micros(500)) == Ok(()) {
            break;
        }
        let path = dir.join(format!("bystander-{n}"));
        let start = Instant::now();
        ensure!(path.symlink_metadata().is_err(), "{} should not be there", path.display());
        fs::File::create_new(&path)?;
        fs::remove_file(&path)?;
        waits.push(start.elapsed().as_secs_f64() * 1000.0);
    }
    waits.sort_by(f64::total_cmp);
    let longest = waits.last().context("there was no time to look")?;
    println!("{longest} {}", waits[waits.len() * 99 / 100]);
    Ok(())
}

/// A bit of everything in a directory of its own, and in the lower tree that all share.
fn mixed(root: &Path, rounds: usize, process: usize) -> Result<()> {
    let mut rng = Rng::with_seed(process as u64);
    let dir = root.join(format!("process{process}"));
    fs::create_dir(&dir)?;
    let content = data::text(&mut rng, 8000);
    for round in 0..rounds {
        let new = dir.join(format!("new{round}"));
        fs::write(&new, &content)?;
        let renamed = dir.join(format!("file{round}"));
        fs::rename(&new, &renamed)?;
        for _ in 0..4 {
            let lower = root.join("tree").join(data::tree_path(rng.usize(..LOWER_FILES)));
            ensure!(!fs::read(&lower)?.is_empty(), "{} is empty", lower.display());
            fs::metadata(dir.join(format!("file{}", rng.usize(..=round) | 1))).ok();
        }
        let again = fs::read(&renamed)?;
        ensure!(again == content, "{} does not hold what was written", renamed.display());
        if round % 2 == 0 {
            fs::remove_file(&renamed)?;
        }
        if round % 20 == 0 {
            fs::read_dir(&dir)?.count();
            // One of the lower files changes, another one each time.
            let lower = root.join("tree").join(data::tree_path(process + 8 * (round / 20)));
            fs::OpenOptions::new().write(true).open(lower)?.write_all_at(b"changed", 0)?;
        }
    }
    Ok(())
}
