//! Data of files.

use std::ops::Range;
use std::time::{Duration, UNIX_EPOCH};

use rustix::io::Errno;
use unionfuse::types::{Caller, NewTime, NodeId, SetAttr, Time};

use crate::kit::bench::{Bench, ROOT, USER, done, done_to, errno, over, union};
use crate::kit::layer::Layer;

fn piece(bench: &Bench, node: NodeId, range: Range<usize>) -> Vec<u8> {
    let mut data = vec![0; range.len()];
    let count = bench.raw().read(node, range.start as u64, &mut data).unwrap();
    data.truncate(count);
    data
}

#[test]
fn reads_stop_at_the_end() {
    let bench = over(|lower| {
        lower.file("f", "0123456789");
    });
    let node = bench.node("f").unwrap();
    assert_eq!(piece(&bench, node, 2..5), b"234");
    assert_eq!(piece(&bench, node, 8..20), b"89");
    assert_eq!(piece(&bench, node, 10..20), b"");
    assert_eq!(piece(&bench, node, 4000..5000), b"");
    assert!(!bench.upper().has("f"));
}

#[test]
fn reading_leaves_the_access_time_of_a_lower_file() {
    let bench = over(|lower| {
        lower.file("f", "data").time("f", 7);
    });
    bench.text("f").unwrap();
    assert_eq!(std::os::unix::fs::MetadataExt::atime(&bench.lower().stat("f")), 7);
}

#[test]
fn writes_go_to_the_upperdir() {
    let bench = over(|lower| {
        lower.file("d/f", "0123456789");
    });
    let node = bench.node("d/f").unwrap();
    bench.write_node(node, 3, "abc").unwrap();
    bench.write_node(node, 12, "end").unwrap();
    assert_eq!(bench.text("d/f").unwrap(), "012abc6789\0\0end");
    assert_eq!(bench.upper().text("d/f"), "012abc6789\0\0end");
    assert_eq!(bench.node("d/f").unwrap(), node);
    let attr = bench.stat("d/f").unwrap();
    assert_eq!(attr.size, 15);
}

#[test]
fn data_to_read_without_us_is_data_that_stays() {
    let bench = over(|lower| {
        lower.file("f", "lower");
    });
    let node = bench.node("f").unwrap();
    assert!(bench.raw().open_data(node, false).unwrap().is_none(), "it may be copied up yet");
    assert!(!bench.upper().has("f"));
    let data = bench.raw().open_data(node, true).unwrap().unwrap();
    assert_eq!(bench.upper().text("f"), "lower");
    rustix::io::pwrite(&data, b"UPPER", 0).unwrap();
    assert_eq!(bench.text("f").unwrap(), "UPPER");
    assert!(bench.raw().open_data(node, false).unwrap().is_some());
    bench.unlink("f").unwrap();
    rustix::io::pwrite(bench.raw().open_data(node, true).unwrap().unwrap(), b"GONE!", 0).unwrap();
    assert_eq!(piece(&bench, node, 0..9), b"GONE!");
    assert!(errno(bench.raw().open_data(NodeId::ROOT, false)).is_err());
}

#[test]
fn emptying_copies_no_data_up_and_clears_set_id_bits() {
    let bench = over(|lower| {
        lower.file("f", "lower").mode("f", 0o4755);
        lower.file("g", "lower").mode("g", 0o4755);
    });
    let real_root = unionfuse::testing::in_initial_user_namespace();
    for (name, caller, kept) in [("f", USER, false), ("g", Caller { uid: 0, gid: 0, ..USER }, real_root)] {
        let node = bench.node(name).unwrap();
        assert_eq!(done_to(node, bench.raw().empty(caller, node)), Ok(((), !kept)));
        let attr = bench.stat(name).unwrap();
        assert_eq!((attr.size, attr.perm), (0, if kept { 0o4755 } else { 0o755 }));
        assert_eq!(bench.upper().text(name), "");
    }
}

#[test]
fn a_file_opened_for_reading_shows_what_is_written_later() {
    let bench = over(|lower| {
        lower.file("f", "before");
    });
    let node = bench.node("f").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "before");
    bench.write_node(node, 0, "after!").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "after!");
}

#[test]
fn a_write_by_a_user_clears_set_id_bits() {
    let bench = over(|lower| {
        lower.file("f", "x").mode("f", 0o6755);
    });
    let node = bench.node("f").unwrap();
    assert_eq!(done_to(node, bench.raw().write(node, 0, b"y", None)), Ok((1, false)));
    assert_eq!(bench.stat("f").unwrap().perm, 0o6755);
    assert_eq!(done_to(node, bench.raw().write(node, 0, b"y", Some(USER))), Ok((1, true)));
    assert_eq!(bench.stat("f").unwrap().perm, 0o755);
    assert_eq!(done_to(node, bench.raw().write(node, 0, b"y", Some(USER))), Ok((1, false)));
}

#[test]
fn data_of_what_is_no_file_is_refused() {
    let bench = over(|lower| {
        lower.dir("d").symlink("s", "x").node("p", rustix::fs::FileType::Fifo, 0o600, 0);
    });
    for (path, expected) in [("d", Errno::ISDIR), ("s", Errno::INVAL), ("p", Errno::INVAL)] {
        assert_eq!(bench.text(path), Err(expected), "{path}");
    }
}

#[test]
fn allocation_and_holes() {
    let bench = over(|lower| {
        lower.file("f", [b'x'; 64 << 10]);
    });
    let node = bench.node("f").unwrap();
    let punch = libc::FALLOC_FL_PUNCH_HOLE | libc::FALLOC_FL_KEEP_SIZE;
    bench.raw().allocate(ROOT, node, punch, 16 << 10, 16 << 10).unwrap();
    assert_eq!(errno(bench.raw().seek(node, 0, true)), Ok(16 << 10));
    assert_eq!(errno(bench.raw().seek(node, 16 << 10, false)), Ok(32 << 10));
    assert_eq!(errno(bench.raw().seek(node, 64 << 10, false)), Err(Errno::NXIO));
    assert_eq!(piece(&bench, node, 16 << 10..(16 << 10) + 3), [0; 3]);
    bench.raw().allocate(ROOT, node, libc::FALLOC_FL_ZERO_RANGE, 0, 10).unwrap();
    assert_eq!(piece(&bench, node, 8..12), b"\0\0xx");
    bench.raw().allocate(ROOT, node, 0, 0, 100 << 10).unwrap();
    assert_eq!(bench.stat("f").unwrap().size, 100 << 10);
    bench.raw().allocate(ROOT, node, libc::FALLOC_FL_KEEP_SIZE, 0, 200 << 10).unwrap();
    assert_eq!(bench.stat("f").unwrap().size, 100 << 10);
}

#[test]
fn ranges_are_copied_between_files_of_any_layer() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("from", "0123456789").file("to", "----------").mode("to", 0o4755);
        upper.file("up", "upper");
    });
    let (from, to, up) = (bench.node("from").unwrap(), bench.node("to").unwrap(), bench.node("up").unwrap());
    let copy = |from, to, len| done(bench.raw().copy_range(USER, from, to, len));
    assert_eq!(copy((from, 2), (to, 1), 3), Ok(3));
    assert_eq!(bench.text("to").unwrap(), "-234------");
    assert_eq!(bench.stat("to").unwrap().perm, 0o755);
    assert_eq!(copy((from, 8), (up, 5), 100), Ok(2));
    assert_eq!(bench.text("up").unwrap(), "upper89");
    assert!(!bench.upper().has("from"));
    // Within one file, which is copied up by it.
    assert_eq!(copy((from, 0), (from, 5), 5), Ok(5));
    assert_eq!(bench.text("from").unwrap(), "0123401234");
}

#[test]
fn sync_of_files_and_directories_in_any_layer() {
    let bench = union(|[lower]: &[Layer; 1], upper| {
        lower.file("f", "").dir("d");
        upper.file("u", "").dir("v");
    });
    for path in ["f", "d", "u", "v", ""] {
        let node = bench.node(path).unwrap();
        for data_only in [false, true] {
            assert_eq!(errno(bench.raw().fsync(node, data_only)), Ok(()), "{path}");
        }
    }
    assert!(!bench.upper().has("f") && !bench.upper().has("d"));
}

#[test]
fn a_file_of_a_hundred_gigabytes() {
    const SIZE: u64 = 100 << 30;
    let bench = over(|lower| {
        lower.file("huge", "start");
        std::fs::File::options().write(true).open(lower.path("huge")).unwrap().set_len(SIZE).unwrap();
    });
    let node = bench.node("huge").unwrap();
    bench.write_node(node, SIZE - 3, "end").unwrap();
    let attr = bench.stat("huge").unwrap();
    assert_eq!(attr.size, SIZE);
    assert!(attr.blocks < 100, "the hole was kept: {} blocks", attr.blocks);
    let mut end = [0; 10];
    assert_eq!(bench.raw().read(node, SIZE - 6, &mut end).unwrap(), 6);
    assert_eq!(&end[..6], b"\0\0\0end");
    bench.truncate("huge", 5).unwrap();
    assert_eq!(bench.text("huge").unwrap(), "start");
}

#[test]
fn a_file_without_permission_bits_is_read_and_written() {
    let bench = over(|lower| {
        lower.file("f", "lower").mode("f", 0);
    });
    let node = bench.node("f").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "lower");
    bench.write_node(node, 0, "UPPER").unwrap();
    assert_eq!(bench.text_of(node).unwrap(), "UPPER");
    assert_eq!(bench.stat("f").unwrap().perm, 0);
    bench.create("new").unwrap();
    bench.chmod("new", 0).unwrap();
    bench.write("new", "text").unwrap();
    assert_eq!(bench.text("new").unwrap(), "text");
}

#[test]
fn without_access_times_reading_leaves_no_trace() {
    for (no_atime, expected) in [(false, false), (true, true)] {
        let mut bench = over(|_| {});
        bench.config.no_atime = no_atime;
        bench.reopen();
        bench.write("f", "data").unwrap();
        bench.reopen();
        let old = Some(NewTime::At(Time { sec: 1, nsec: 0 }));
        bench.setattr("f", SetAttr { atime: old, ..SetAttr::default() }).unwrap();
        assert_eq!(bench.text("f").unwrap(), "data");
        assert_eq!(
            bench.upper().stat("f").accessed().unwrap() == UNIX_EPOCH + Duration::from_secs(1),
            expected
        );
    }
}
