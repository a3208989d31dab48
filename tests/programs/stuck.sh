#!/bin/bash
# A lowerdir whose filesystem does not answer any more (its daemon is stopped): what lies in other layers is read all the same,
# however many requests wait; who was killed need not wait; and all is well again when it answers.
source "$(dirname "$0")/lib.sh"
need python3

[[ $SUBJECT == unionfuse ]] || skip "about the threads of unionfuse"
mkdir -p hanging/hung other/well inner
for i in $(seq 800); do echo "$i" >"hanging/hung/f$i"; done
for i in $(seq 50); do echo "$i" >"other/well/g$i"; done
truncate -s 3G hanging/big
dd if=/dev/zero of=hanging/big bs=1M count=1500 conv=notrunc status=none
"$UNIONFUSE_BIN" mount -f --lower hanging inner &
inner=$!
go_on() {
    kill -CONT "$inner" 2>/dev/null || true
    timeout 10 umount "$BOX/inner" 2>/dev/null || timeout 10 fusermount3 -u "$BOX/inner" 2>/dev/null || true
}
for _ in $(seq 100); do
    mountpoint -q inner && break
    sleep 0.05
done
lower=$BOX/inner:$BOX/other
mount_union
at_exit+=(go_on)

# A client that is killed while a file is copied up for it.
sh -c "echo x >>'$mnt/big'" &
writer=$!
sleep 1.1
kill -9 "$writer" 2>/dev/null || echo "the copy was faster than the test"
before=$(date +%s%N)
wait "$writer" || true
took=$((($(date +%s%N) - before) / 1000000))
[[ $took -lt 15000 ]] || fail "a killed client waited $took ms for a copy"

ls "$mnt/well" >/dev/null
cat "$mnt/hung/f1" >/dev/null
kill -STOP "$inner"
python3 - "$mnt" <<'END_PYTHON' &
import os, sys, threading
threading.stack_size(65536)
def look(name):
    try: os.stat(name)
    except OSError: pass
threads = [threading.Thread(target=look, args=(f"{sys.argv[1]}/hung/f{i}",)) for i in range(2, 602)]
for thread in threads: thread.start()
END_PYTHON
crowd=$!
sleep 0.5
# The first ones wait until there are threads enough; from then on nobody waits for those who are stuck.
in_a_row=0
for i in $(seq 40); do
    before=$(date +%s%N)
    timeout 20 cat "$mnt/well/g$i" >/dev/null || fail "what lies in another layer cannot be read"
    took=$((($(date +%s%N) - before) / 1000000))
    if [[ $took -lt 1000 ]]; then
        in_a_row=$((in_a_row + 1))
    else
        in_a_row=0
    fi
    [[ $in_a_row -lt 5 ]] || break
    sleep 0.5
done
[[ $in_a_row -ge 5 ]] || fail "reading in another layer still takes $took ms"
kill -9 "$crowd"
before=$(date +%s%N)
wait "$crowd" || true
took=$((($(date +%s%N) - before) / 1000000))
[[ $took -lt 15000 ]] || fail "600 killed threads waited $took ms"
timeout 20 stat "$mnt/hung/f700" 2>stat.log && fail "looked up where nobody answers"
kill -CONT "$inner"
for _ in $(seq 100); do
    timeout 5 cat "$mnt/hung/f701" >/dev/null 2>&1 && break
    sleep 0.1
done
timeout 5 cat "$mnt/hung/f702" >/dev/null || fail "the layer answers again, and the union does not"

# Alone, too.
kill -STOP "$inner"
cat "$mnt/hung/f703" >/dev/null 2>&1 &
reader=$!
sleep 1.2
kill -9 "$reader"
before=$(date +%s%N)
wait "$reader" || true
took=$((($(date +%s%N) - before) / 1000000))
[[ $took -lt 15000 ]] || fail "a killed client waited $took ms"
kill -CONT "$inner"
unmount_union
go_on
