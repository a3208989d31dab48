#!/bin/bash
# SQLite on a database that lies in a lower layer: WAL mode, memory-mapped, several writing processes at once, a reader that
# opened the file read-only before it was copied up; and integrity_check finds nothing, also after a remount.
source "$(dirname "$0")/lib.sh"
need sqlite3

db=$mnt/data/test.db
sql() { timeout 120 sqlite3 -batch -bail -cmd '.timeout 60000' -cmd 'PRAGMA mmap_size=268435456' "$@"; }
# The first line printed is the answer to the PRAGMA.
ask() { sql "$db" "$@" | tail -n +2; }
intact() {
    local answer
    answer=$(ask 'PRAGMA integrity_check')
    [[ $answer == ok ]] || fail "$1: integrity_check: $answer"
}

mkdir "$lower/data"
sqlite3 "$lower/data/test.db" "
    CREATE TABLE t (id INTEGER PRIMARY KEY, who TEXT, payload BLOB);
    CREATE INDEX by_who ON t (who);
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5000)
        INSERT INTO t (who, payload) SELECT 'lower', randomblob(200) FROM n;"
remember_lower
mount_union
intact "as it came from the lower"

# A reader that opens the lower's file read-only, and keeps it open and mapped while others have it copied up. The kernel's
# overlayfs would leave its mapping with the lower's data for ever, so there it opens read-write.
mkfifo questions
how=-readonly
[[ $SUBJECT != kernel ]] || how=-batch
sql "$how" "$db" <questions >answers &
background+=($!)
exec 5>questions
echo 'SELECT count(*) FROM t;' >&5
for _ in $(seq 100); do
    [[ $(wc -l <answers) -ge 2 ]] && break
    sleep 0.1
done
[[ $(tail -n 1 answers) == 5000 ]] || fail "the reader sees $(tail -n 1 answers) rows, not 5000"

[[ $(ask 'PRAGMA journal_mode=WAL') == wal ]] || fail "WAL mode is refused"
writers=()
for writer in 1 2 3; do
    {
        for i in $(seq 40); do
            echo "BEGIN IMMEDIATE; INSERT INTO t (who, payload) VALUES ('writer $writer', randomblob(3000));"
            echo "UPDATE t SET payload = randomblob(150) WHERE id % 97 = $i; COMMIT;"
        done
    } | sql "$db" >/dev/null &
    writers+=($!)
done
background+=("${writers[@]}")
for pid in "${writers[@]}"; do
    wait "$pid" || fail "a writer failed"
done

echo 'SELECT count(*) FROM t;' >&5
exec 5>&-
wait "${background[0]}" || fail "the reader failed"
background=()
[[ $(tail -n 1 answers) == 5120 ]] || fail "the reader that was open before copy-up sees $(tail -n 1 answers) rows, not 5120"
intact "after concurrent writers"

[[ $(ask 'DELETE FROM t WHERE id % 3 = 0; PRAGMA wal_checkpoint(TRUNCATE)') == '0|0|0' ]] || fail "the checkpoint was blocked"
ask 'VACUUM' >/dev/null
intact "after VACUUM"
[[ $(ask 'PRAGMA journal_mode=DELETE') == delete ]] || fail "leaving WAL mode is refused"
before=$(ask 'SELECT count(*), sum(length(payload)), min(id), max(id) FROM t')
checksum=$(md5sum <"$db")

remount_union
intact "after a remount"
[[ $(md5sum <"$db") == "$checksum" ]] || fail "the file is another one after a remount"
[[ $(ask 'SELECT count(*), sum(length(payload)), min(id), max(id) FROM t') == "$before" ]] || fail "the rows are others after a remount"
kernel_shows_the_same
lower_is_unchanged
