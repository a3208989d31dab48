//! A daemon that is told to end, and then killed, whatever it is doing: nothing of it stays, and nobody waits for it.

use super::rig::Killed;
use super::{can_run, report, rounds};

/// Writers, readers and a mapping that is dirty when the signal comes. Each ends with the first error.
const LOAD: &str = r#"
    trap 'kill $(jobs -p) 2>/dev/null' EXIT
    (n=0; while echo $n >w$((n % 20)) 2>/dev/null; do n=$((n + 1)); done) &
    (while cat low/* >/dev/null 2>&1; do :; done) &
    python3 - 2>/dev/null <<'P' &
import mmap
with open("mapped", "w+b") as file:
    file.truncate(1 << 20)
    pages = mmap.mmap(file.fileno(), 1 << 20)
    while True:
        for at in range(0, 1 << 20, 4096):
            pages[at] = 1
        open("low/0", "ab").write(b"more")
P
    while sleep 0.01 && ls >/dev/null 2>&1; do :; done
"#;

#[test]
fn terminated_and_killed_at_random_moments() {
    if !can_run(&["python3"]) {
        return;
    }
    let mut rig = Killed::new(|lower| {
        std::fs::create_dir(lower.join("low")).unwrap();
        for n in 0..50 {
            std::fs::write(lower.join(format!("low/{n}")), vec![b'x'; 10_000]).unwrap();
        }
    });
    let rounds = rounds(25, 200);
    for _ in 0..rounds {
        rig.terminate_and_kill_under(LOAD);
    }
    report(rounds, "each gone within a second");
    rig.finish();
}
