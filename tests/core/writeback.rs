//! Times under the kernel's writeback cache: those that it tells are the ones that stay, whenever it tells them.

use std::sync::mpsc;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use unionfuse::types::Time;

use crate::kit::bench::{Bench, ROOT, over};
use crate::kit::faulty::Faulty;
use crate::kit::layer::Layer;

fn with_a_file(lower: &Layer) {
    lower.file("f", "data").time("f", 50);
}

/// A moment ago, as the kernel notes the time of a change before it sends it.
fn just_now() -> Time {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    Time { sec: i64::try_from(now.as_secs()).unwrap(), nsec: now.subsec_nanos() }
}

#[test]
fn pages_written_back_leave_the_time() {
    let bench = over(with_a_file);
    let node = bench.node("f").unwrap();
    let before = bench.stat("f").unwrap().mtime;
    assert_eq!(bench.raw().write_back(node, 0, b"DA").unwrap().value, 2);
    assert_eq!((bench.stat("f").unwrap().mtime, bench.text("f").unwrap().as_str()), (before, "DAta"));
}

#[test]
fn a_time_told_while_pages_are_written_back_stays() {
    let (begun, writing) = mpsc::channel();
    let (told, heard) = mpsc::channel();
    let heard = Mutex::new(heard);
    let mut bench = Bench::prepare(|[lower]: &[Layer; 1], _| with_a_file(lower));
    bench.open();
    bench.chmod("f", 0o600).unwrap();
    bench.reopen_on(Arc::new(Faulty::watched(move |call| {
        if call == "before write" {
            begun.send(()).unwrap();
            // It may have to wait for us instead.
            heard.lock().unwrap().recv_timeout(Duration::from_millis(200)).ok();
        }
    })));
    let node = bench.node("f").unwrap();
    let time = Time { sec: 77, nsec: 7 };
    thread::scope(|scope| {
        let bench = &bench;
        scope.spawn(move || {
            writing.recv().unwrap();
            bench.raw().flush_time(ROOT, node, time).unwrap();
            told.send(()).ok();
        });
        bench.raw().write_back(node, 0, b"DA").unwrap();
    });
    assert_eq!((bench.stat("f").unwrap().mtime, bench.text("f").unwrap().as_str()), (time, "DAta"));
}

#[test]
fn a_time_told_before_a_change_past_the_cache_stays() {
    let bench = over(with_a_file);
    let node = bench.node("f").unwrap();
    let time = just_now();
    bench.raw().flush_time(ROOT, node, time).unwrap();
    bench.raw().with_flushed_time(node, || bench.raw().write(node, 0, b"DA", None)).unwrap();
    assert_eq!((bench.stat("f").unwrap().mtime, bench.text("f").unwrap().as_str()), (time, "DAta"));
}

#[test]
fn a_time_told_during_a_change_past_the_cache_stays() {
    let bench = over(with_a_file);
    let node = bench.node("f").unwrap();
    let told = [Time { sec: 77, nsec: 7 }, Time { sec: 78, nsec: 8 }];
    let change = || {
        bench.raw().flush_time(ROOT, node, told[0])?;
        bench.raw().flush_time(ROOT, node, told[1])?;
        bench.raw().write(node, 0, b"DA", None)
    };
    bench.raw().with_flushed_time(node, change).unwrap();
    assert_eq!((bench.stat("f").unwrap().mtime, bench.text("f").unwrap().as_str()), (told[1], "DAta"));
}

#[test]
fn a_change_past_the_cache_of_an_old_file_has_a_time_of_its_own() {
    let bench = over(with_a_file);
    let node = bench.node("f").unwrap();
    // Told before, and of no other change's concern.
    bench.raw().flush_time(ROOT, node, Time { sec: 77, nsec: 7 }).unwrap();
    bench.raw().with_flushed_time(node, || bench.raw().write(node, 0, b"DA", None)).unwrap();
    assert!(bench.stat("f").unwrap().mtime.sec >= just_now().sec - 60);
}
