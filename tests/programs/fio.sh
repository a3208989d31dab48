#!/bin/bash
# Direct and buffered I/O together: what asynchronous O_DIRECT writes (libaio) have written is what buffered reads find, also when such
# reads went on meanwhile: no page may be left in the cache that is older than the file.
source "$(dirname "$0")/lib.sh"
need fio

dd if=/dev/zero of="$lower/data" bs=1M count=16 status=none
remember_lower
mount_union

job=(--name=job --filename="$mnt/data" --size=16m --bs=4k --rw=randwrite --verify=crc32c --verify_fatal=1 --iodepth=16
    --allrandrepeat=1 --minimal --output="$BOX/fio.out")
# Rounds of other data each, all blocks of the file, while the same blocks are read through the cache.
for round in 1 2 3 4 5; do
    while :; do cat "$mnt/data"; done >/dev/null &
    reader=$!
    background+=("$reader")
    timeout 120 fio "${job[@]}" --randseed="$round" --direct=1 --ioengine=libaio --do_verify=0 >fio.log 2>&1 ||
        fail "direct writes: $(cat fio.log)"
    kill "$reader"
    wait "$reader" 2>/dev/null || true
    timeout 120 fio "${job[@]}" --randseed="$round" --direct=0 --ioengine=psync --verify_only=1 --invalidate=0 >fio.log 2>&1 ||
        fail "round $round: buffered reads find what was there before: $(cat fio.log fio.out)"
done
unmount_union
lower_is_unchanged
