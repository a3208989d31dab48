#!/bin/bash
# The command itself: it returns when the mount is live and not before, lets go of its caller, and its daemon ends with the
# mount: by umount, by SIGTERM and SIGINT. What is wrong is said on stderr, and then nothing is mounted.
source "$(dirname "$0")/../programs/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "tests our own command line"

# A copy of the binary, so that its processes are ours and nobody else's.
mkdir bin
install -m 755 "$UNIONFUSE_BIN" bin/unionfuse
uf=$BOX/bin/unionfuse
mkdir top bottom
echo top >top/file
echo bottom >bottom/file
echo bottom >bottom/other

# Newer kernels tell whose connection is whose: with them our own umount waits for the daemon.
gone_already() {
    if [[ -n $kernel_tells ]]; then
        [[ -z $(daemons_of "$uf") ]] || fail "$1: the daemon is still there"
    else
        no_daemon "$1"
    fi
}
no_daemon() { no_daemon_of "$uf" "$1"; }
not_mounted() { ! mountpoint -q "$mnt" || fail "$1: still mounted"; }
live() {
    mountpoint -q "$mnt" || fail "$1: not mounted when the command returned"
    [[ $(cat "$mnt/file" "$mnt/other") == $'top\nbottom' ]] || fail "$1: the union shows something else"
}

# Twenty times, since a command that returns too early is right most of the time.
for _ in $(seq 20); do
    "$uf" mount --lower top:bottom --upper upper mnt
    live mount
    kernel_tells=$(cat "/proc/$(daemons_of "$uf")/fdinfo/"* | grep fuse_connection || true)
    "$uf" umount mnt
    gone_already umount
    not_mounted umount
done
[[ -n $kernel_tells ]] || echo "SKIPPED: mount: that umount waits for the daemon: this kernel does not tell of which mount it is" >&2
[[ -z $(ls -A upper) ]] || fail "a union nobody wrote to left something in the upper: $(ls -A upper)"

# Relative paths were resolved before the daemon went to /; several --lower are one stack.
"$uf" mount --lower top --lower bottom --upper upper mnt
live "relative layers"
daemon=$(daemons_of "$uf")
[[ $(wc -w <<<"$daemon") == 1 ]] || fail "one daemon was expected: $daemon"
for fd in 0 1 2; do
    [[ $(readlink "/proc/$daemon/fd/$fd") == /dev/null ]] || fail "the daemon kept descriptor $fd: $(readlink "/proc/$daemon/fd/$fd")"
done
[[ $(readlink "/proc/$daemon/cwd") == / ]] || fail "the daemon keeps $(readlink "/proc/$daemon/cwd") busy"
[[ $(awk '{ print $6 }' "/proc/$daemon/stat") != "$(awk '{ print $6 }' /proc/$$/stat)" ]] || fail "the daemon is in its caller's session"
echo new >mnt/new
kill -TERM "$daemon"
no_daemon SIGTERM
not_mounted SIGTERM
[[ $(cat upper/new) == new ]] || fail "SIGTERM lost what was written"

"$uf" mount --lower top:bottom --upper upper mnt
kill -INT "$(daemons_of "$uf")"
no_daemon SIGINT
not_mounted SIGINT

# umount(8) and fusermount3 end the daemon, too.
"$uf" mount --lower top:bottom mnt
if [[ $EUID -eq 0 ]]; then umount mnt; else fusermount3 -u mnt; fi
no_daemon umount
"$uf" mount --lower top:bottom mnt
if command -v fusermount3 >/dev/null; then fusermount3 -u mnt; else umount mnt; fi
no_daemon "fusermount3 -u"

# Whoever reads our output must see its end: shells' pipes, and Podman, which reads stderr until then.
# shellcheck disable=SC2016 # the inner shell expands $1
timeout 10 bash -c '"$1" mount --lower top:bottom mnt 2>&1 | cat' - "$uf" >out || fail "'mount | cat' does not end"
live "mount | cat"
[[ ! -s out ]] || fail "a mount says on stdout or stderr: $(cat out)"
"$uf" umount mnt
no_daemon "mount | cat"
# shellcheck disable=SC2016
timeout 10 bash -c '"$1" -o lowerdir=top:bottom,upperdir=upper,workdir=work mnt <&- 2>&1 | cat' - "$uf" >out ||
    fail "as a mount program, '| cat' does not end"
live "as a mount program"
"$uf" umount mnt
no_daemon "as a mount program"

# In the foreground it stays, and says why it ends by its exit code.
"$uf" mount -f --lower top:bottom --upper upper mnt &
background+=($!)
for _ in $(seq 100); do
    mountpoint -q mnt && break
    sleep 0.1
done
live "in the foreground"
kill -0 "${background[0]}" || fail "-f did not stay in the foreground"
"$uf" umount mnt
status=0
wait "${background[0]}" || status=$?
background=()
[[ $status == 0 ]] || fail "a foreground daemon that was unmounted ends with $status"

# Without an upper it is read-only, by the kernel.
"$uf" mount --lower top:bottom mnt
grep -E " $mnt ro[, ]" /proc/self/mountinfo >/dev/null || fail "without an upper the mount is not ro: $(grep "$mnt" /proc/self/mountinfo)"
! touch mnt/new 2>out || fail "without an upper a file could be made"
grep -q 'Read-only file system' out || fail "writing to a read-only union says: $(cat out)"
[[ $(findmnt -n -o FSTYPE mnt) == fuse.unionfuse ]] || fail "the type is $(findmnt -n -o FSTYPE mnt)"
"$uf" umount mnt
no_daemon "read-only"

# What is wrong is said, names the path, and leaves nothing.
touch a-file
mkdir -p sub/upper
names() { find . -xdev ! -name out ! -name before ! -name after | sort; }
refused() {
    local what=$1 said=$2 status=0
    shift 2
    names >before
    timeout 20 "$uf" "$@" >out 2>&1 || status=$?
    [[ $status != 0 && $status != 124 ]] || fail "$what: exit code $status"
    grep -qF -- "$said" out || fail "$what: does not mention '$said': $(cat out)"
    not_mounted "$what"
    no_daemon "$what"
    names >after
    same before after "$what: something was created"
}
refused "missing lower" "nowhere" mount --lower top:nowhere --upper upper mnt
refused "a file as a lower" "a-file" mount --lower top:a-file --upper upper mnt
refused "a file as upper" "a-file" mount --lower top --upper a-file mnt
refused "missing upper" "nowhere" mount --lower top --upper nowhere mnt
refused "missing mountpoint" "nowhere" mount --lower top --upper upper nowhere
refused "upper and work the same" "sub/upper" mount --lower top --upper sub/upper --work sub/upper mnt
refused "no lower" "lower" mount --upper upper mnt
refused "empty layer" "" mount --lower top::bottom mnt
refused "unknown option" "--wrong" mount --wrong mnt
if [[ $EUID -eq 0 && -d /dev/shm ]] && [[ $(stat -c %d /dev/shm) != "$(stat -c %d .)" ]]; then
    elsewhere=$(mktemp -d /dev/shm/unionfuse-test.XXXXXX)
    refused "work on another filesystem" "$elsewhere" mount --lower top --upper upper --work "$elsewhere" mnt
    rmdir "$elsewhere"
fi
# The same upper twice at a time would corrupt both.
"$uf" mount --lower top:bottom --upper upper --work work mnt
mkdir mnt2
! "$uf" mount --lower top --upper upper --work work mnt2 >out 2>&1 || fail "an upper in use was mounted again"
grep -qF "$BOX/upper" out || grep -qF upper out || fail "an upper in use: does not name it: $(cat out)"
! mountpoint -q mnt2 || fail "an upper in use was mounted again"
live "after a refused second mount"
"$uf" umount mnt
no_daemon "the first of two"

# Names with the separators in them, the mountpoint on top of a layer, a layer reached by a symlink.
mkdir 'a:b,c\d'
echo odd >'a:b,c\d/odd'
ln -s bottom link
mkdir -p stacked/under
echo hidden >stacked/file
"$uf" mount --lower 'a\:b\,c\\d:stacked:link' --upper sub/upper stacked
[[ $(cat stacked/odd) == odd && $(cat stacked/file) == hidden && $(cat stacked/other) == bottom ]] ||
    fail "escaped, symlinked or covered layers: $(ls stacked)"
"$uf" umount stacked
no_daemon "on top of a layer"

# 500 layers, as short relative names.
mkdir many
for i in $(seq 500); do
    mkdir "many/$i"
    echo "$i" >"many/$i/all"
    echo "$i" >"many/$i/only$i"
done
(cd many && "$uf" mount --lower "$(seq -s : 500)" --upper ../upper --work ../work ../mnt)
[[ $(cat mnt/all mnt/only1 mnt/only250 mnt/only500) == $'1\n1\n250\n500' ]] || fail "500 layers show something else"
[[ $(find mnt -name 'only*' | wc -l) == 500 ]] || fail "of 500 layers $(find mnt -name 'only*' | wc -l) are seen"
"$uf" umount mnt
no_daemon "500 layers"

"$uf" --version | grep -qE '^unionfuse [0-9]' || fail "--version says: $("$uf" --version)"
"$uf" --help | grep -q 'unionfuse mount' || fail "--help teaches nothing"
"$uf" mount --help | grep -q -- --lower || fail "mount --help teaches nothing"
