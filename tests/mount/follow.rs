//! A client that is alone is served on its own processor, and nobody waits for that.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::kit::alone::Alone;
use crate::kit::mode::{skip, test_name};
use crate::kit::mount::daemons;
use crate::kit::recipe::layer;
use crate::kit::subject::ours_or_skip;

/// `SCHED_IDLE`, in the 41st field of `/proc/PID/stat`, which is the 39th after the name.
const IDLE_CLASS: &str = "5";

/// Longer than the daemon needs to see that its client pauses.
const PAUSE: Duration = Duration::from_secs(2);

fn union() -> Option<Alone> {
    if !ours_or_skip() {
        return None;
    }
    if thread::available_parallelism().map_or(1, usize::from) < 2 {
        skip(&test_name(), "there is but one processor");
        return None;
    }
    if std::env::var("UNIONFUSE_TEST_OPTIONS").is_ok_and(|options| options.contains("follow=off")) {
        skip(&test_name(), "following is off");
        return None;
    }
    Some(Alone::new(&[layer().file("f", "f")], &layer().file("u", "u")))
}

/// One request each, and nothing between them.
fn hurry(file: &Path, count: u32) {
    for i in 0..count {
        fs::set_permissions(file, Permissions::from_mode(0o600 | (i & 0o77))).unwrap();
    }
}

/// Class and processors of every thread of the daemon.
fn threads(union: &Alone) -> Vec<(String, String)> {
    let mut threads = Vec::new();
    for pid in daemons(&union.stack.point) {
        for task in fs::read_dir(format!("/proc/{pid}/task")).unwrap() {
            let task = task.unwrap().path();
            let stat = fs::read_to_string(task.join("stat")).unwrap();
            let fields = stat.rsplit_once(") ").unwrap().1;
            let class = fields.split(' ').nth(38).unwrap();
            let status = fs::read_to_string(task.join("status")).unwrap();
            let processors =
                status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap();
            threads.push((class.to_owned(), processors.to_owned()));
        }
    }
    threads
}

fn followers(union: &Alone) -> usize {
    let all = fs::read_to_string("/proc/self/status").unwrap();
    let everywhere =
        all.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:\t")).unwrap().to_owned();
    threads(union).iter().filter(|(class, on)| class == IDLE_CLASS && *on != everywhere).count()
}

/// Sends requests until a thread of the daemon follows; how many do.
fn hurry_until_followed(union: &Alone) -> usize {
    let start = Instant::now();
    loop {
        hurry(&union.root().join("u"), 500);
        match followers(union) {
            0 => assert!(start.elapsed() < Duration::from_secs(60), "nobody follows: {:?}", threads(union)),
            count => return count,
        }
    }
}

#[test]
fn one_thread_follows_a_lone_client_and_lets_go_of_it() {
    let Some(union) = union() else { return };
    for _ in 0..3 {
        assert_eq!(hurry_until_followed(&union), 1);
        thread::sleep(PAUSE);
        assert_eq!(followers(&union), 0, "{:?}", threads(&union));
    }
    union.unmount();
}

#[test]
fn others_are_served_meanwhile_and_afterwards() {
    let Some(union) = union() else { return };
    hurry_until_followed(&union);
    for round in 0..3 {
        thread::scope(|scope| {
            for client in 0..4 {
                let root = union.root();
                scope.spawn(move || {
                    let dir = root.join(format!("{round}-{client}"));
                    fs::create_dir(&dir).unwrap();
                    for i in 0..200 {
                        fs::write(dir.join(i.to_string()), "x").unwrap();
                        hurry(&dir.join(i.to_string()), 1 + round * 4);
                    }
                    assert_eq!(fs::read_dir(&dir).unwrap().count(), 200);
                });
            }
        });
        hurry_until_followed(&union);
    }
    union.unmount();
}

/// Where the follower gets nothing of its processor but what others leave, requests are answered all the same.
#[test]
fn a_busy_machine_does_not_keep_requests_waiting() {
    let Some(union) = union() else { return };
    hurry_until_followed(&union);
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while !done.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        for _ in 0..10 {
            hurry(&union.root().join("u"), 500);
            thread::sleep(Duration::from_millis(50));
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    union.unmount();
}

/// Unmounting waits for the daemon's end, and fails the test if there is none.
#[test]
fn the_daemon_ends_whether_it_follows_or_rests() {
    let Some(mut union) = union() else { return };
    hurry_until_followed(&union);
    union.remount();
    hurry_until_followed(&union);
    thread::sleep(PAUSE);
    union.remount();
    union.unmount();
}
