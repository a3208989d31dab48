//! `-o passthrough`: what the kernel reads and writes by itself is the same as what we would have.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::fs::OFlags;

use crate::kit::alone::Alone;
use crate::kit::mapping::Mapping;
use crate::kit::mode::{Mode, skip, test_name};
use crate::kit::mount::daemons;
use crate::kit::op::*;
use crate::kit::program::output_of;
use crate::kit::recipe::{Layer, layer};
use crate::kit::run::run_script;
use crate::kit::subject::{Stack, ours_or_skip};
use crate::kit::trace::Trace;

const USER: u32 = 1000;

/// Why there can be no such mount here.
fn reason_to_skip() -> Option<&'static str> {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap();
    let mut parts = release.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse().unwrap_or(0));
    let version: (u32, u32) = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let asked = std::env::var("UNIONFUSE_TEST_OPTIONS").unwrap_or_default();
    if Mode::current() != Mode::Root {
        Some("the kernel lets root alone pass files through")
    } else if version < (6, 9) {
        Some("passthrough is of Linux 6.9")
    } else if asked.contains("writeback") {
        Some("writeback excludes it")
    } else {
        None
    }
}

fn prepared(lower: Layer, upper: &Layer, prepare: impl FnOnce(&mut Stack)) -> Option<Alone> {
    if !ours_or_skip() {
        return None;
    }
    if let Some(reason) = reason_to_skip() {
        skip(&test_name(), reason);
        return None;
    }
    Some(Alone::prepared(&[lower], upper, |stack| {
        stack.options = Some("passthrough");
        prepare(stack);
    }))
}

fn union() -> Option<Alone> {
    let lower = layer().file("f", "lower data").file("big", vec![b'x'; 1 << 20]);
    let upper = layer().file("u", "upper data").file("ubig", vec![b'u'; 1 << 20]);
    prepared(lower, &upper, |_| ())
}

fn in_upper(union: &Alone, name: &str) -> PathBuf {
    union.stack.upper.as_ref().unwrap().0.join(name)
}

fn text_of(file: &File) -> String {
    let mut data = vec![0; 1 << 16];
    let n = file.read_at(&mut data, 0).unwrap();
    String::from_utf8(data[..n].to_vec()).unwrap()
}

fn read_write(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).open(path).unwrap()
}

/// Which of READ and WRITE `work` sends.
fn data_requests(union: &Alone, work: impl FnOnce()) -> BTreeSet<String> {
    let trace = Trace::of(union.root()).unwrap();
    work();
    let requests = trace.requests().into_iter();
    requests.filter(|name| ["FUSE_READ", "FUSE_WRITE"].contains(&name.as_str())).collect()
}

fn names<const N: usize>(names: [&str; N]) -> BTreeSet<String> {
    names.map(str::to_owned).into()
}

#[test]
fn files_of_the_upperdir_are_read_and_written_without_requests() {
    let Some(union) = union() else { return };
    let (root, data) = (union.root().to_owned(), vec![b'd'; 300_000]);
    let sent = data_requests(&union, || {
        assert!(fs::read(root.join("ubig")).unwrap() == vec![b'u'; 1 << 20]);
        fs::write(root.join("new"), &data).unwrap();
        assert!(fs::read(root.join("new")).unwrap() == data);
        fs::write(root.join("big"), "now it is an upper one").unwrap();
        read_write(&root.join("f")).write_all_at(b"UPPER", 0).unwrap();
        assert_eq!(fs::read_to_string(root.join("f")).unwrap(), "UPPER data");
    });
    assert_eq!(sent, names([]));
    assert!(fs::read(in_upper(&union, "new")).unwrap() == data);
    assert_eq!(fs::read_to_string(in_upper(&union, "big")).unwrap(), "now it is an upper one");
    assert_eq!(fs::read_to_string(union.stack.lowers[0].join("f")).unwrap(), "lower data");
    union.unmount();
}

#[test]
fn appends_truncations_and_what_stat_tells_of_them() {
    let Some(union) = union() else { return };
    let path = union.root().join("u");
    let append = || OpenOptions::new().append(true).open(&path).unwrap();
    let (one, two, reader) = (append(), append(), File::open(&path).unwrap());
    for i in 0..10 {
        std::io::Write::write_all(&mut &one, format!("a{i}").as_bytes()).unwrap();
        std::io::Write::write_all(&mut &two, format!("b{i}").as_bytes()).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().len(), 10 + 4 * (i + 1));
    }
    assert!(text_of(&reader).ends_with("a8b8a9b9"));
    one.set_len(5).unwrap();
    assert_eq!((text_of(&reader).as_str(), reader.metadata().unwrap().len()), ("upper", 5));
    fs::File::set_modified(&one, std::time::UNIX_EPOCH).unwrap();
    std::io::Write::write_all(&mut &one, b"!").unwrap();
    let (seen, real) = (fs::metadata(&path).unwrap(), fs::metadata(in_upper(&union, "u")).unwrap());
    assert!(seen.mtime() > 0 && seen.modified().unwrap() == real.modified().unwrap());
    one.sync_all().unwrap();
    fs::write(&path, "").unwrap();
    assert_eq!((text_of(&reader).as_str(), reader.metadata().unwrap().len()), ("", 0));
    drop((one, two, reader));
    union.unmount();
}

#[test]
fn opening_a_lower_file_with_truncation_copies_no_data() {
    let lower = layer().sparse("f", 1 << 40, 0, "head").mode("f", 0o4755);
    let Some(union) = prepared(lower, &layer(), |_| ()) else { return };
    fs::write(union.root().join("f"), "short").unwrap();
    let copy = fs::metadata(in_upper(&union, "f")).unwrap();
    assert_eq!((copy.len(), copy.mode() & 0o7777), (5, 0o4755));
    assert_eq!(fs::read_to_string(union.root().join("f")).unwrap(), "short");
    union.unmount();
}

#[test]
fn mappings_and_descriptors_see_the_same() {
    let Some(union) = union() else { return };
    let path = union.root().join("ubig");
    let file = read_write(&path);
    let (before, early) = (file.metadata().unwrap(), Mapping::shared(&file, 1 << 20, true).unwrap());
    early.write(5000, b"MAPPED");
    let other = File::open(&path).unwrap();
    let late = Mapping::shared(&other, 1 << 20, false).unwrap();
    assert_eq!(late.read(5000, 6), b"MAPPED");
    file.write_all_at(b"written", 9000).unwrap();
    assert_eq!((early.read(9000, 7), late.read(9000, 7)), (b"written".to_vec(), b"written".to_vec()));
    early.sync().unwrap();
    assert_eq!(&fs::read(in_upper(&union, "ubig")).unwrap()[4999..5007], b"uMAPPEDu");
    assert!(fs::metadata(&path).unwrap().modified().unwrap() > before.modified().unwrap());
    drop((file, other));
    early.write(0, b"after all were closed");
    assert_eq!(&fs::read(&path).unwrap()[..5], b"after");
    drop((early, late));
    union.unmount();
}

#[test]
fn who_has_a_lower_file_open_sees_what_is_written_later() {
    let Some(union) = union() else { return };
    let path = union.root().join("big");
    let reader = File::open(&path).unwrap();
    let mapping = Mapping::shared(&reader, 1 << 20, false).unwrap();
    assert_eq!(mapping.read(4096, 3), b"xxx");
    let sent = data_requests(&union, || {
        let writer = read_write(&path);
        writer.write_all_at(b"NEW", 4096).unwrap();
        assert_eq!(mapping.read(4096, 3), b"NEW");
        fs::set_permissions(&path, PermissionsExt::from_mode(0o600)).unwrap();
        assert_eq!(&fs::read(&path).unwrap()[4095..4100], b"xNEWx");
        let writing = Mapping::shared(&writer, 1 << 20, true).unwrap();
        writing.write(8192, b"MAP");
        assert_eq!(mapping.read(8192, 3), b"MAP");
    });
    assert!(sent.contains("FUSE_WRITE"), "{sent:?}");
    drop((reader, mapping));
    // Closing is told to the daemon in the background.
    std::thread::sleep(std::time::Duration::from_millis(200));
    let sent = data_requests(&union, || {
        read_write(&path).write_all_at(b"BY ITSELF", 0).unwrap();
        let data = fs::read(&path).unwrap();
        assert_eq!(
            (&data[..9], &data[4096..4099], &data[8192..8195]),
            (&b"BY ITSELF"[..], &b"NEW"[..], &b"MAP"[..])
        );
    });
    assert_eq!(sent, names([]));
    union.unmount();
}

/// Threads that open, change and close the same few files: whichever way is decided on, all opens of a file have it.
#[test]
fn everybody_at_once_on_the_same_files() {
    let lower = (0..20).fold(layer(), |layer, i| layer.file(&format!("f{i}"), vec![b'.'; 8192]));
    let Some(union) = prepared(lower, &layer(), |_| ()) else { return };
    let root = union.root();
    let work = move |thread: usize| {
        for round in 0..400 {
            let path = root.join(format!("f{}", (round / 20 + thread * (round % 3)) % 20));
            match (round + thread) % 5 {
                0 => assert_eq!(fs::read(&path).unwrap().len(), 8192),
                1 => read_write(&path).write_all_at(b"x", thread as u64).unwrap(),
                2 => fs::set_permissions(&path, PermissionsExt::from_mode(0o600 + thread as u32)).unwrap(),
                3 => drop(Mapping::shared(&File::open(&path).unwrap(), 8192, false).unwrap().read(4096, 1)),
                _ => {
                    let writer = read_write(&path);
                    let mark = [b'A' + thread as u8];
                    writer.write_all_at(&mark, 4096 + thread as u64).unwrap();
                    let mut seen = [0];
                    File::open(&path).unwrap().read_exact_at(&mut seen, 4096 + thread as u64).unwrap();
                    assert_eq!(seen, mark, "thread {thread}, round {round}");
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (0..8).for_each(|thread| {
            scope.spawn(move || work(thread));
        });
    });
    union.unmount();
}

#[test]
fn renamed_and_removed_while_open() {
    let Some(union) = union() else { return };
    let at = |name: &str| union.root().join(name);
    let file = read_write(&at("u"));
    fs::rename(at("u"), at("v")).unwrap();
    file.write_all_at(b"RENAMED", 0).unwrap();
    assert_eq!(fs::read_to_string(at("v")).unwrap(), "RENAMEData");
    fs::write(at("u"), "another").unwrap();
    fs::remove_file(at("v")).unwrap();
    file.write_all_at(b"removed", 0).unwrap();
    file.set_len(7).unwrap();
    assert_eq!((text_of(&file).as_str(), file.metadata().unwrap().nlink()), ("removed", 0));
    let again = read_write(Path::new(&format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))));
    again.write_all_at(b"REOPENED", 0).unwrap();
    assert_eq!(text_of(&file), "REOPENED");
    file.sync_all().unwrap();
    assert_eq!(fs::read_to_string(at("u")).unwrap(), "another");
    drop((file, again));
    union.unmount();
}

#[test]
fn a_write_by_another_user_takes_set_id_bits_and_capabilities_away() {
    let upper = layer().file("s", "program").mode("s", 0o6777).file("c", "program").mode("c", 0o777);
    let Some(union) = prepared(layer(), &upper, |_| ()) else { return };
    // Version 2, effective, CAP_NET_RAW permitted.
    let mut capability = [0; 20];
    (capability[0], capability[3], capability[5]) = (1, 2, 0x20);
    let script = [
        as_user(USER, open("s", "s", OFlags::RDWR)),
        as_user(USER, open("c", "c", OFlags::RDWR)),
        as_user(USER, Op::FdPwrite("s", 0, b"x".to_vec())),
        as_user(USER, Op::FdPwrite("c", 0, b"x".to_vec())),
    ];
    let again = [chmod("s", 0o6777), setxattr("c", "security.capability", capability)];
    let then = [
        as_user(USER, Op::FdPwrite("s", 0, b"y".to_vec())),
        as_user(USER, Op::FdPwrite("c", 0, b"y".to_vec())),
        Op::Close("s"),
        Op::Close("c"),
    ];
    let bits_are_gone = call("the bits are gone", || {
        assert_eq!(fs::metadata("s").unwrap().mode() & 0o7777, 0o777);
        Ok(String::new())
    });
    let steps =
        script.into_iter().chain([bits_are_gone.clone()]).chain(again).chain(then).chain([bits_are_gone]);
    for (step, outcome) in run_script(union.root(), &steps.collect::<Vec<_>>()) {
        outcome.unwrap_or_else(|error| panic!("{step}: {error}"));
    }
    assert_eq!(fs::metadata(in_upper(&union, "s")).unwrap().mode() & 0o7777, 0o777);
    let mut value = [0; 64];
    let capability = rustix::fs::getxattr(in_upper(&union, "c"), "security.capability", &mut value);
    assert_eq!(capability, Err(rustix::io::Errno::NODATA));
    union.unmount();
}

#[test]
fn programs_run_and_cannot_be_written_to() {
    let program = fs::read("/bin/sleep").expect("/bin/sleep");
    let lower = layer().file("low", &program).mode("low", 0o755);
    let upper = layer().file("up", &program).mode("up", 0o755);
    let Some(union) = prepared(lower, &upper, |_| ()) else { return };
    for name in ["low", "up"] {
        let path = union.root().join(name);
        let mut child = Command::new(&path).arg("60").spawn().unwrap();
        let refused = OpenOptions::new().write(true).open(&path).map_err(|error| error.kind());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(refused.err(), Some(std::io::ErrorKind::ExecutableFileBusy), "{name}");
        fs::copy("/bin/true", &path).unwrap();
        assert!(output_of(&mut Command::new(&path)).unwrap().status.success(), "{name}");
    }
    union.unmount();
}

#[test]
fn a_file_of_a_read_only_union_leaves_no_trace_in_its_layer() {
    let lower = layer().file("f", "lower data").mtime("f", 900_000_000);
    let Some(union) = prepared(lower, &layer(), |stack| stack.upper = None) else { return };
    let real = union.stack.lowers[0].join("f");
    let before = fs::metadata(&real).unwrap();
    assert_eq!(fs::read_to_string(union.root().join("f")).unwrap(), "lower data");
    assert_eq!(fs::metadata(&real).unwrap().accessed().unwrap(), before.accessed().unwrap());
    union.unmount();
}

#[test]
fn a_file_of_a_read_only_union_that_can_leave_no_trace_is_read_without_requests() {
    let lower = layer().file("f", vec![b'x'; 300_000]).on("squashfs");
    let Some(union) = prepared(lower, &layer(), |stack| stack.upper = None) else { return };
    let path = union.root().join("f");
    let sent = data_requests(&union, || assert!(fs::read(&path).unwrap() == vec![b'x'; 300_000]));
    assert_eq!(sent, names([]));
    union.unmount();
}

#[test]
fn thousands_of_open_files_need_few_descriptors() {
    let Some(union) = prepared(layer(), &layer(), |stack| stack.descriptors = Some(200)) else { return };
    let mut open: Vec<File> = Vec::new();
    for i in 0..2000 {
        let path = union.root().join(format!("f{i}"));
        open.push(File::options().read(true).write(true).create_new(true).open(path).unwrap());
    }
    for (i, file) in open.iter().enumerate() {
        file.write_all_at(format!("content {i}").as_bytes(), 0).unwrap();
    }
    let second: Vec<File> =
        (0..1000).map(|i| File::open(union.root().join(format!("f{i}"))).unwrap()).collect();
    second.iter().enumerate().for_each(|(i, file)| assert_eq!(text_of(file), format!("content {i}")));
    let daemon = daemons(&union.stack.point)[0];
    let descriptors = fs::read_dir(format!("/proc/{daemon}/fd")).unwrap().count();
    assert!(descriptors < 200, "{descriptors} descriptors");
    drop((open, second));
    assert_eq!(fs::read_to_string(union.root().join("f1999")).unwrap(), "content 1999");
    union.unmount();
}
