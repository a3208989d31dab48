//! One file, one content: readers and mappings from before a copy-up see what is written after it. (Ours alone: the kernel's
//! overlayfs leaves such readers with the lower file.)

use std::fs::{self, File, OpenOptions};
use std::io::Read;
use std::os::unix::fs::FileExt;

use crate::kit::alone::Alone;
use crate::kit::mapping::Mapping;
use crate::kit::recipe::layer;
use crate::kit::subject::ours_or_skip;

fn union() -> Option<Alone> {
    let lower = layer()
        .file("f", "lower data")
        .file("big", vec![b'x'; 1 << 20])
        .file("a", "linked")
        .hard_link("a", "b");
    ours_or_skip().then(|| Alone::new(&[lower], &layer()))
}

fn text_of(file: &File) -> String {
    let mut data = vec![0; 1 << 16];
    let n = file.read_at(&mut data, 0).unwrap();
    String::from_utf8(data[..n].to_vec()).unwrap()
}

#[test]
fn an_earlier_reader_sees_later_writes() {
    let Some(union) = union() else { return };
    let path = union.root().join("f");
    let reader = File::open(&path).unwrap();
    assert_eq!(text_of(&reader), "lower data");
    let writer = OpenOptions::new().write(true).open(&path).unwrap();
    writer.write_at(b"UPPER", 0).unwrap();
    assert_eq!(text_of(&reader), "UPPER data");
    fs::write(&path, "short").unwrap();
    assert_eq!(text_of(&reader), "short");
    assert_eq!(reader.metadata().unwrap().len(), 5);
    OpenOptions::new().append(true).open(&path).unwrap().write_at(b" and longer", 5).unwrap();
    assert_eq!(text_of(&reader), "short and longer");
    drop((reader, writer));
    union.unmount();
}

#[test]
fn an_earlier_reader_that_read_nothing_yet_sees_later_writes() {
    let Some(union) = union() else { return };
    let path = union.root().join("f");
    let mut reader = File::open(&path).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().write_at(b"UPPER", 0).unwrap();
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "UPPER data");
    drop(reader);
    union.unmount();
}

#[test]
fn an_earlier_mapping_sees_later_writes() {
    let Some(union) = union() else { return };
    let path = union.root().join("big");
    let file = File::open(&path).unwrap();
    let mapping = Mapping::shared(&file, 1 << 20, false).unwrap();
    assert_eq!(mapping.read(500_000, 3), b"xxx");
    OpenOptions::new().write(true).open(&path).unwrap().write_at(b"NEW", 500_000).unwrap();
    assert_eq!(mapping.read(500_000, 3), b"NEW");
    drop((mapping, file));
    union.unmount();
}

#[test]
fn a_mapping_and_a_reader_see_writes_through_another_mapping() {
    let Some(union) = union() else { return };
    let path = union.root().join("big");
    let reader = File::open(&path).unwrap();
    let early = Mapping::shared(&reader, 1 << 20, false).unwrap();
    assert_eq!(early.read(4096, 3), b"xxx");
    let file = OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let writing = Mapping::shared(&file, 1 << 20, true).unwrap();
    writing.write(4096, b"MAP");
    assert_eq!(early.read(4096, 3), b"MAP");
    let mut seen = [0; 3];
    reader.read_exact_at(&mut seen, 4096).unwrap();
    assert_eq!(&seen, b"MAP");
    drop((early, writing, file, reader));
    assert_eq!(&fs::read(&path).unwrap()[4090..4102], b"xxxxxxMAPxxx");
    union.unmount();
}

#[test]
fn an_earlier_reader_follows_a_change_through_another_name() {
    let Some(mut union) = union() else { return };
    let reader = File::open(union.root().join("a")).unwrap();
    assert_eq!(text_of(&reader), "linked");
    OpenOptions::new().append(true).open(union.root().join("b")).unwrap().write_at(b", changed", 0).unwrap();
    assert_eq!(text_of(&reader), "linked, changed");
    drop(reader);
    union.remount();
    assert_eq!(fs::read_to_string(union.root().join("a")).unwrap(), "linked, changed");
    assert_eq!(fs::read_to_string(union.root().join("b")).unwrap(), "linked, changed");
    union.unmount();
}

#[test]
fn fstat_of_an_earlier_reader_tells_of_later_changes() {
    let Some(union) = union() else { return };
    let path = union.root().join("f");
    let reader = File::open(&path).unwrap();
    let before = reader.metadata().unwrap();
    fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    fs::write(&path, "other length, other time").unwrap();
    let after = reader.metadata().unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&after.permissions()) & 0o777, 0o600);
    assert_eq!(after.len(), 24);
    assert!(after.modified().unwrap() > before.modified().unwrap());
    assert_eq!(std::os::unix::fs::MetadataExt::ino(&after), std::os::unix::fs::MetadataExt::ino(&before));
    drop(reader);
    union.unmount();
}
