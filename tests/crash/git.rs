use std::process::Command;

use super::rig::Killed;
use super::{can_run, report, rounds};

const COMMIT: &str = "
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
    cd repo
    # What a killed git leaves, here as anywhere.
    rm -f .git/*.lock .git/refs/heads/*.lock
    git -c gc.auto=0 reset -q --hard || exit
    for i in $(seq 1000); do
        seq $RANDOM $((RANDOM + 20000)) | head -c 20000 >f$((i % 7)) && echo $i >>log || exit
        git add -A && git -c gc.auto=0 -c core.fsync=$fsync commit -qm \"commit $i\" || exit
        git rev-parse --verify -q HEAD >>$BESIDE/acknowledged || exit
    done";

const MAKE: &str = "
    export GIT_AUTHOR_NAME=a GIT_AUTHOR_EMAIL=a@b GIT_COMMITTER_NAME=a GIT_COMMITTER_EMAIL=a@b
    export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
    git init -q repo && cd repo && seq 1000 >f1 && echo 0 >log && git add -A && git commit -qm first && git gc -q";

#[test]
fn commits_survive_the_daemon() {
    if !can_run(&["git", "bash"]) {
        return;
    }
    let mut rig = Killed::new(|lower| {
        let made = Command::new("bash").args(["-c", MAKE]).current_dir(lower).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    });
    let rounds = rounds(4, 60);
    for round in 0..rounds {
        // The daemon's death is no power cut: what was written must be there even if nobody waited for the disk.
        let fsync = if round % 2 == 0 { "none" } else { "committed" };
        rig.kill_under(&format!("fsync={fsync}\n{COMMIT}"), 50, 700);
        let problems = rig.ask("cd repo && git fsck --full --no-dangling 2>&1");
        assert_eq!(problems, "");
        // A commit that was answered is in the history, not only in the objects.
        let lost = rig.ask(
            "cd repo && git log --format=%H | sort >$BESIDE/history && touch $BESIDE/acknowledged &&
             sort $BESIDE/acknowledged | comm -23 - $BESIDE/history",
        );
        assert_eq!(lost, "", "acknowledged commits that are lost");
    }
    let commits = rig.ask("wc -l <$BESIDE/acknowledged");
    report(rounds, &format!("{commits} acknowledged commits"));
    rig.finish();
}
