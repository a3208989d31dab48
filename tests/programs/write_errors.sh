#!/bin/bash
# The upperdir's filesystem fails in the middle of what is written: whoever has written learns it, with the right error, by each way
# of writing, and nothing that was reported as written is missing. The failing calls are the daemon's, by strace's injection.
source "$(dirname "$0")/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "fails calls of our daemon"
need_root "to trace the daemon"
need strace python3

dd if=/dev/zero of="$lower/data" bs=1M count=4 status=none
remember_lower

cat >write.py <<'END_PYTHON'
import errno, mmap, os, sys

way, path, size = sys.argv[1], sys.argv[2], 4 << 20
told = None
flags = {"direct": os.O_DIRECT, "sync": os.O_SYNC}.get(way, 0)
fd = os.open(path, os.O_RDWR | flags)
written = 0
try:
    if way == "mapping":
        # A mapping of anonymous memory would do for O_DIRECT, this one is the file's.
        with mmap.mmap(fd, size) as mapping:
            for offset in range(0, size, 4096):
                mapping[offset:offset + 4096] = b"x" * 4096
            mapping.flush()
            written = size
    else:
        with mmap.mmap(-1, 1 << 20) as buffer:
            buffer.write(b"x" * (1 << 20))
            while written < size:
                written += os.write(fd, memoryview(buffer)[:min(len(buffer), size - written)])
        os.fsync(fd)
except OSError as error:
    told = error
try:
    os.close(fd)
except OSError as error:
    told = told or error
print(errno.errorcode[told.errno] if told else "nothing")
END_PYTHON

# Errors of pages that the kernel writes by itself come as EIO or ENOSPC (mapping_set_error).
expected() {
    case $1 in
    *mapping*EDQUOT | *writeback*EDQUOT) echo 'EIO|EDQUOT' ;;
    *) echo "${1##* }" ;;
    esac
}

for options in '' writeback=on; do
    for way in write sync direct mapping; do
        for error in ENOSPC EDQUOT EIO; do
            what="${options:-plain} $way $error"
            # Calls are counted for each thread.
            mount_union -o "threads=1,follow=off${options:+,$options}"
            # Copied up first, for the failing call is to be one of the writes.
            chmod 600 "$mnt/data"
            daemon=$(daemons_of "$UNIONFUSE_BIN" | tail -n 1)
            strace -f -qq -o strace.log -e trace=pwrite64 -e "inject=pwrite64:error=$error:when=3+" -p "$daemon" &
            tracer=$!
            background+=("$tracer")
            for _ in $(seq 100); do
                # Every thread of it.
                grep -L '^TracerPid:[[:space:]]*[1-9]' "/proc/$daemon/task/"*/status | grep -q . || break
                sleep 0.05
            done
            told=$(timeout 60 python3 write.py "$way" "$mnt/data")
            kill -INT "$tracer" 2>/dev/null || true
            wait "$tracer" 2>/dev/null || true
            grep -q INJECTED strace.log || fail "$what: nothing failed; the writer was told of $told; $(head -n 3 strace.log)"
            [[ $told =~ ^($(expected "$what"))$ ]] || fail "$what: the writer was told of $told"
            unmount_union
            rm -rf upper work
            mkdir upper work
        done
    done
done
lower_is_unchanged
