use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;

use rustix::process::{Resource, Rlimit};

use super::rig::{Observed, file, many_files, walk};
use super::{amount, can_run, report};
use crate::kit::mode::{skip, test_name};

const LIMIT: u32 = 256;

/// Lets the test itself hold many files; says why not.
fn may_hold(files: usize) -> bool {
    let Rlimit { maximum, .. } = rustix::process::getrlimit(Resource::Nofile);
    rustix::process::setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).unwrap();
    // Other tests of this process hold some too.
    let may = maximum.is_none_or(|maximum| maximum >= files as u64 + 5000);
    if !may {
        skip(&test_name(), &format!("the hard limit of open files is {maximum:?}, too few to hold {files}"));
    }
    may
}

fn text(file: &mut File) -> String {
    let mut text = String::new();
    file.seek(SeekFrom::Start(0)).unwrap();
    file.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn ten_thousand_open_files_with_256_descriptors() {
    let (files, open) = (amount(20_000, 100_000), 10_000);
    if !can_run() || !may_hold(open) {
        return;
    }
    let rig = Observed::new(Some(LIMIT), |lower| many_files(lower, files));
    assert_eq!(walk(rig.root()), files);
    let step = files / open;
    let mut held: Vec<File> =
        (0..open).map(|n| File::open(rig.root().join(file(n * step))).unwrap()).collect();
    for (n, held) in held.iter_mut().enumerate() {
        assert_eq!(text(held), (n * step).to_string());
    }
    // Copied up behind the backs of those that hold them.
    for n in (0..open).step_by(10) {
        let mut file = File::options().append(true).open(rig.root().join(file(n * step))).unwrap();
        file.write_all(b"!").unwrap();
    }
    for (n, held) in held.iter_mut().enumerate() {
        let mark = if n % 10 == 0 { "!" } else { "" };
        assert_eq!(text(held), format!("{}{mark}", n * step));
    }
    let descriptors = rig.descriptors();
    assert!(descriptors <= LIMIT as usize);
    report(&format!("{files} files walked, {open} held open, {descriptors} descriptors in the daemon"));
    drop(held);
    rig.finish();
}

#[test]
fn removed_but_open_files_with_256_descriptors() {
    let count = amount(2000, 4000);
    if !can_run() || !may_hold(count) {
        return;
    }
    // Half of them are the lower's, the others new.
    let rig = Observed::new(Some(LIMIT), |lower| many_files(lower, count / 2));
    let paths: Vec<_> = (0..count / 2)
        .map(|n| rig.root().join(file(n)))
        .chain((count / 2..count).map(|n| rig.root().join(format!("new{n}"))))
        .collect();
    let mut held: Vec<File> = Vec::new();
    for (n, path) in paths.iter().enumerate() {
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).open(path).unwrap();
        file.write_all(n.to_string().as_bytes()).unwrap();
        std::fs::remove_file(path).unwrap();
        held.push(file);
    }
    for (n, held) in held.iter_mut().enumerate() {
        assert_eq!(text(held), n.to_string(), "file {n}");
        held.write_all(b", still").unwrap();
        held.set_len(held.metadata().unwrap().len() + 1).unwrap();
        let meta = held.metadata().unwrap();
        assert_eq!((meta.nlink(), meta.len()), (0, n.to_string().len() as u64 + 8), "file {n}");
        assert_eq!(text(held), format!("{n}, still\0"));
    }
    let (descriptors, parked) = (rig.descriptors(), rig.in_work());
    assert!(descriptors <= LIMIT as usize);
    report(&format!(
        "{count} files, {descriptors} descriptors in the daemon, {parked} in the work directory"
    ));
    drop(held);
    // One whiteout that others are linked to may stay.
    rig.await_that("removed files are given back when they are closed", |rig| {
        rig.in_work() <= 2 && rig.descriptors() <= LIMIT as usize / 2
    });
    rig.finish();
}
