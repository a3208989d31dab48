#!/bin/bash
# An upperdir on a filesystem that a program serves, and that knows files by their names alone (gocryptfs): a file that was removed
# while open is read and written as long as it is open, also when it was not used for a while; truncation shows in the times.
source "$(dirname "$0")/lib.sh"
need gocryptfs python3

mkdir cipher plain
echo secret >password
gocryptfs -q -init -passfile password cipher >gocryptfs.log 2>&1 || skip "gocryptfs -init: $(cat gocryptfs.log)"
gocryptfs -q -passfile password cipher plain >gocryptfs.log 2>&1 || skip "gocryptfs: $(cat gocryptfs.log)"
leave_plain() {
    timeout 10 umount "$BOX/plain" 2>/dev/null || timeout 10 fusermount3 -u "$BOX/plain" 2>/dev/null || true
}
at_exit+=(leave_plain)
upper=$BOX/plain/upper work=$BOX/plain/work
mkdir "$upper" "$work"

echo lower >"$lower/removed"
echo same >"$lower/truncated"
mkdir -p "$lower/dir/sub"
echo deep >"$lower/dir/sub/f"
touch -d '2001-01-01 UTC' "$lower"/{truncated,dir/sub,dir}
remember_lower
mount_union

python3 - "$mnt" <<'END_PYTHON'
import os, sys, time

union = sys.argv[1] + "/"
def check(what, found, wanted):
    assert found == wanted, f"{what}: {found!r}, not {wanted!r}"

lower = os.open(union + "removed", os.O_RDWR)
os.write(lower, b"UPPER")
new = os.open(union + "new", os.O_RDWR | os.O_CREAT, 0o600)
os.write(new, b"new")
for name in "removed", "new":
    os.unlink(union + name)
check("names", sorted(os.listdir(union)), ["dir", "truncated"])
# Longer than anything is kept open that is not used.
time.sleep(6)
for fd, content in (lower, b"UPPER\n"), (new, b"new"):
    check("what was removed", os.pread(fd, 100, 0), content)
    os.pwrite(fd, b"again", 2)
    os.ftruncate(fd, 6)
    os.fchmod(fd, 0o640)
    check("what was written after that", os.pread(fd, 100, 0), content[:2] + b"agai")
    stat = os.fstat(fd)
    check("its attributes", (stat.st_mode & 0o7777, stat.st_size, stat.st_nlink), (0o640, 6, 0))
    os.close(fd)

before = time.time()
os.truncate(union + "truncated", 5)
assert os.stat(union + "truncated").st_mtime > before - 10, "a truncation to the same size is no change"
os.utime(union + "truncated", (1, 1))
os.truncate(union + "truncated", 5)
assert os.stat(union + "truncated").st_mtime > before - 10, "nor is one of an upper file"

with open(union + "dir/sub/f", "a") as file:
    file.write("more")
for name in "dir", "dir/sub":
    check(f"the time of {name} after a copy-up in it", os.stat(union + name).st_mtime, 978307200)
os.rename(union + "dir/sub", union + "sub")
os.mkdir(union + "dir/sub")
END_PYTHON
printf '%s\n' ./dir ./dir/sub ./sub ./sub/f ./truncated >expected
for _ in 1 2; do
    (cd "$mnt" && find . -mindepth 1 | sort) >found
    same expected found "the tree"
    [[ $(cat "$mnt/sub/f") == $'deep\nmore' ]] || fail "sub/f: $(cat "$mnt/sub/f")"
    remount_union
done
unmount_union
lower_is_unchanged
