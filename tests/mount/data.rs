//! File contents: sparse files, mappings, direct I/O, locks, programs.

use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::process::Command;

use rustix::fs::{FallocateFlags, FlockOperation, SeekFrom};
use rustix::io::Errno;

use super::one_file;
use crate::kit::alone::Alone;
use crate::kit::case::case;
use crate::kit::mapping::Mapping;
use crate::kit::op::*;
use crate::kit::program::output_of;
use crate::kit::recipe::layer;
use crate::kit::run::errno;
use crate::kit::subject::ours_or_skip;

/// Where `lseek` says data and holes begin.
fn map_of(path: &Path) -> Vec<String> {
    let file = File::open(path).unwrap();
    let (mut map, mut at) = (Vec::new(), 0);
    loop {
        match rustix::fs::seek(&file, SeekFrom::Data(at)) {
            Ok(data) => {
                at = rustix::fs::seek(&file, SeekFrom::Hole(data)).unwrap();
                map.push(format!("{data}..{at}"));
            }
            Err(Errno::NXIO) => return map,
            Err(error) => panic!("{}: {error}", path.display()),
        }
    }
}

#[test]
fn holes_are_seen_and_survive_copy_up() {
    if !ours_or_skip() {
        return;
    }
    let size = 64 << 20;
    let lower = layer().sparse("f", size, 32 << 20, "in the middle").sparse("hole", size, 0, "").sparse(
        "tail",
        size,
        size - 4,
        "tail",
    );
    let union = Alone::new(&[lower], &layer());
    for name in ["f", "hole", "tail"] {
        let (seen, real) = (union.root().join(name), union.stack.lowers[0].join(name));
        assert_eq!(map_of(&seen), map_of(&real), "{name}");
        assert!(File::open(&seen).unwrap().metadata().unwrap().len() == size);
        fs::set_permissions(&seen, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let copy = union.stack.upper.as_ref().unwrap().0.join(name);
        assert!(fs::metadata(&copy).unwrap().blocks() * 512 < 1 << 20, "{name}: the copy is not sparse");
        assert_eq!(map_of(&seen), map_of(&real), "{name} after copy-up");
        assert!(fs::read(&seen).unwrap() == fs::read(&real).unwrap(), "{name}: content");
    }
    union.unmount();
}

#[test]
fn a_file_of_100_gigabytes() {
    if !ours_or_skip() {
        return;
    }
    let size = 100 << 30;
    let union = Alone::new(&[layer().sparse("f", size, size - 5, "right")], &layer());
    let path = union.root().join("f");
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let mut tail = [0; 5];
    file.write_at(b"bright", size - 6).unwrap();
    file.read_exact_at(&mut tail, size - 6).unwrap();
    assert_eq!(&tail, b"brigh");
    assert_eq!(file.metadata().unwrap().len(), size);
    file.set_len(size + 1).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), size + 1);
    drop(file);
    union.unmount();
}

#[test]
fn sparse_files() {
    let lower = layer().sparse("f", 1 << 20, 500_000, "data").sparse("g", 1 << 20, 0, "head");
    let steps = [
        write("f", 900_000, "more"),
        fallocate("f", FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, 0, 800_000),
        truncate("g", 2 << 20),
        write("g", 3 << 20, "far"),
        truncate("g", 1_000_001),
        stat("g"),
        copy_range("g", "f", 1_000_001),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn mapped_writes_reach_the_file() {
    let map = call("write through a shared mapping", || {
        let file = OpenOptions::new().read(true).write(true).open("big").map_err(errno)?;
        let mapping = Mapping::shared(&file, 200_000, true).map_err(errno)?;
        mapping.write(0, b"start");
        mapping.write(123_456, b"middle");
        mapping.sync().map_err(errno)?;
        mapping.write(199_996, b"end!");
        drop(mapping);
        drop(file);
        let data = fs::read("big").map_err(errno)?;
        Ok(format!("{:?} {:?} {:?}", &data[..6], &data[123_455..123_463], &data[199_990..]))
    });
    let lower = layer().file("big", vec![b'.'; 200_000]).file("new", "");
    let steps = [map, stat("big"), put("copy", ""), copy_range("big", "copy", 200_000)];
    case().lower(lower).run(steps).check();
}

#[test]
fn mapped_writes_to_a_new_file() {
    let map = call("map a new file", || {
        let file = File::options().read(true).write(true).create_new(true).open("n").map_err(errno)?;
        file.set_len(10_000).map_err(errno)?;
        let mapping = Mapping::shared(&file, 10_000, true).map_err(errno)?;
        mapping.write(5_000, b"mapped");
        let mut through_the_file = [0; 6];
        file.read_exact_at(&mut through_the_file, 5_000).map_err(errno)?;
        fs::remove_file("f").map_err(errno)?;
        Ok(String::from_utf8_lossy(&through_the_file).into_owned())
    });
    case().lower(one_file()).run([map, stat("n")]).check();
}

#[test]
fn direct_io() {
    if !ours_or_skip() {
        return;
    }
    let union = Alone::new(&[layer().file("f", vec![b'd'; 16384])], &layer());
    let path = union.root().join("f");
    let direct = |writable: bool| {
        OpenOptions::new().read(true).write(writable).custom_flags(libc::O_DIRECT).open(&path)
    };
    let mut space = vec![0_u8; 3 * 4096];
    let start = space.as_ptr().align_offset(4096);
    let page = &mut space[start..start + 4096];
    let reader = direct(false).unwrap();
    reader.read_exact_at(page, 8192).unwrap();
    assert!(page.iter().all(|byte| *byte == b'd'));
    let writer = direct(true).unwrap();
    page.fill(b'D');
    writer.write_all_at(page, 4096).unwrap();
    let expected = [[b'd'; 4096], [b'D'; 4096], [b'd'; 4096], [b'd'; 4096]].concat();
    assert!(fs::read(&path).unwrap() == expected);
    // A buffered write and a direct read of the same file see each other.
    OpenOptions::new().write(true).open(&path).unwrap().write_all_at(b"buffered", 8192).unwrap();
    reader.read_exact_at(page, 8192).unwrap();
    assert_eq!(&page[..8], b"buffered");
    drop((reader, writer));
    union.unmount();
}

#[test]
fn copy_file_range_between_everything() {
    let lower = layer().file("a", vec![b'a'; 70_000]).file("b", vec![b'b'; 10_000]);
    let steps = [
        put("n", ""),
        copy_range("a", "n", 70_000),
        copy_range("b", "a", 5_000),
        copy_range("n", "b", 1_000_000),
        copy_range("n", "n", 10),
        stat("n"),
        stat("a"),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn locks_exclude() {
    let flock = call("flock", || {
        let (one, two) = (File::open("f").map_err(errno)?, File::open("f").map_err(errno)?);
        rustix::fs::flock(&one, FlockOperation::LockExclusive)?;
        let refused = rustix::fs::flock(&two, FlockOperation::NonBlockingLockShared);
        rustix::fs::flock(&one, FlockOperation::Unlock)?;
        let granted = rustix::fs::flock(&two, FlockOperation::NonBlockingLockShared);
        Ok(format!("{refused:?} {granted:?}"))
    });
    let record = call("fcntl record locks of two processes", || {
        let file = OpenOptions::new().read(true).write(true).open("f").map_err(errno)?;
        rustix::fs::fcntl_lock(&file, FlockOperation::LockExclusive)?;
        let other = "import fcntl,sys\nf=open('f','r+')\ntry: fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB); print('granted')\nexcept OSError as e: print(e.errno)";
        let ask = || Command::new("python3").args(["-c", other]).output().map_err(errno);
        let refused = ask()?;
        rustix::fs::fcntl_lock(&file, FlockOperation::Unlock)?;
        let granted = ask()?;
        Ok(format!(
            "{} {}",
            String::from_utf8_lossy(&refused.stdout),
            String::from_utf8_lossy(&granted.stdout)
        ))
    });
    case().lower(one_file()).run([flock.clone(), record.clone(), append("f", "!"), flock, record]).check();
}

#[test]
fn programs_run_from_the_union() {
    let program = fs::read("/bin/true").expect("/bin/true");
    let lower = layer()
        .file("true", program)
        .mode("true", 0o755)
        .file("script", "#!/bin/sh\necho \"hello from $0\"\n")
        .mode("script", 0o755)
        .file("plain", "");
    let run = |name: &'static str| {
        call(name, move || {
            let done = output_of(&mut Command::new(name)).map_err(errno)?;
            Ok(format!("{} {}", done.status, String::from_utf8_lossy(&done.stdout)))
        })
    };
    let steps = [
        run("./true"),
        run("./script"),
        run("./plain"),
        chmod("true", 0o700),
        run("./true"),
        put("new", "#!/bin/sh\nexit 7\n"),
        chmod("new", 0o755),
        run("./new"),
        rename("script", "moved"),
        run("./moved"),
        chmod("true", 0o644),
        run("./true"),
    ];
    case().lower(lower).run(steps).check();
}

#[test]
fn large_writes_and_odd_offsets() {
    let chunk: Vec<u8> = (0..300_007_u32).map(|i| (i % 251) as u8).collect();
    let steps = [
        put("n", &chunk),
        write("n", 1_000_003, &chunk),
        write("f", 4095, &chunk),
        write("n", 4097, "xyz"),
        truncate("n", 1_100_001),
        append("n", &chunk),
        truncate("n", 100),
        truncate("n", 100_000),
        stat("n"),
    ];
    case().lower(one_file()).run(steps).check();
}
