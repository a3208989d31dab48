use std::process::Command;

use super::rig::Killed;
use super::{can_run, report, rounds};

/// Each transaction says its number after COMMIT has returned; `stdbuf` has it written at once.
const TRANSACTIONS: &str = "
    # An answer that was on its way may be missing, its transaction is not.
    first=$(( $(sqlite3 test.db 'SELECT max(id) FROM t') + 1 )) || exit
    {
    echo \"PRAGMA synchronous=$synchronous;\"
    for i in $(seq $first $((first + 20000))); do
        echo \"BEGIN IMMEDIATE; INSERT INTO t VALUES ($i, randomblob(900));\"
        echo \"UPDATE t SET data = randomblob(700) WHERE id % 50 = $i % 50; COMMIT; SELECT $i;\"
    done
    } | stdbuf -oL sqlite3 -batch -bail test.db >>$BESIDE/acknowledged";

fn run(journal: &str) {
    if !can_run(&["sqlite3", "bash", "stdbuf"]) {
        return;
    }
    let mut rig = Killed::new(|lower| {
        let make = format!(
            "PRAGMA journal_mode={journal}; CREATE TABLE t (id INTEGER PRIMARY KEY, data BLOB);
             CREATE INDEX by_data ON t (data);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 500)
                 INSERT INTO t SELECT i, randomblob(600) FROM n;"
        );
        let made = Command::new("sqlite3").arg(lower.join("test.db")).arg(make).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    });
    let rounds = rounds(4, 60);
    for round in 0..rounds {
        // The daemon's death is no power cut: what was written must be there even if nobody waited for the disk.
        let synchronous = if round % 2 == 0 { "OFF" } else { "FULL" };
        rig.kill_under(&format!("synchronous={synchronous}\n{TRANSACTIONS}"), 50, 700);
        assert_eq!(rig.ask("sqlite3 test.db 'PRAGMA integrity_check'"), "ok", "round {round}");
        let acknowledged = rig.ask("touch $BESIDE/acknowledged; tail -n 1 $BESIDE/acknowledged");
        let acknowledged: u64 = acknowledged.parse().unwrap_or(500);
        let kept = rig.ask(&format!("sqlite3 test.db 'SELECT count(*) FROM t WHERE id <= {acknowledged}'"));
        assert_eq!(kept, acknowledged.to_string(), "round {round}: acknowledged transactions that are lost");
    }
    let transactions = rig.ask("wc -l <$BESIDE/acknowledged");
    report(rounds, &format!("{transactions} acknowledged transactions"));
    rig.finish();
}

#[test]
fn transactions_survive_the_daemon_with_a_log() {
    run("WAL");
}

#[test]
fn transactions_survive_the_daemon_with_a_rollback_journal() {
    run("DELETE");
}
