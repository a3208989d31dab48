#!/bin/bash
# Layers in places nobody thinks of: with other filesystems mounted in them, inside one another, on bind mounts, of other
# owners, in use by the kernel's overlayfs; work directories that are not what they should be; and callers with habits of their own.
source "$(dirname "$0")/../programs/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "tests our own command line"
need_root "makes mounts in layers"

mkdir bin a b
install -m 755 "$UNIONFUSE_BIN" bin/unionfuse
uf=$BOX/bin/unionfuse
echo a >a/file
chmod 755 a b

over() { timeout 20 "$uf" mount "$@" "$mnt" 2>out || fail "mount $*: $(cat out)"; }
no_daemon() { no_daemon_of "$uf" "$1"; }
done_with_it() {
    timeout 20 "$uf" umount "$mnt" || fail "umount"
    no_daemon "umount"
}
refused() {
    local what=$1 said=$2
    shift 2
    ! timeout 20 "$uf" mount "$@" "$mnt" 2>out || fail "$what: it was mounted"
    grep -qF -- "$said" out || fail "$what: does not mention '$said': $(cat out)"
}

# Offsets of tmpfs are no hashes as those of ext4 are. In an upperdir, and in a lowerdir of somebody who may not clone mounts.
mkdir a/mounted upper/mounted
mount -t tmpfs none a/mounted
touch a/mounted/{1,2,3,4,5}
mount --bind a/mounted upper/mounted
over --lower b --upper upper
[[ $(timeout 10 ls mnt/mounted | wc -l) == 5 ]] || fail "a listing of another filesystem in the upperdir"
done_with_it
umount upper/mounted
if command -v setpriv >/dev/null && command -v fusermount3 >/dev/null; then
    chmod 755 "$BOX" "$BOX/bin"
    mkdir theirs
    chown nobody theirs
    setpriv --reuid=65534 --regid=65534 --clear-groups timeout 20 "$uf" mount --lower a theirs 2>out ||
        fail "as nobody: $(cat out)"
    [[ $(setpriv --reuid=65534 --regid=65534 --clear-groups timeout 10 ls theirs/mounted | wc -l) == 5 ]] ||
        fail "a listing of another filesystem in a lowerdir, as a plain user"
    umount theirs
    no_daemon "as nobody"
else
    echo "SKIPPED: places: as a plain user: setpriv or fusermount3 is not installed" >&2
fi
umount a/mounted
rmdir a/mounted upper/mounted

# The work directory is chosen for the user: it is said, it is not shown, and it is found again whoever owns the upperdir.
rm -rf upper .upper.unionfuse-work
mkdir a/up
chown nobody a/up
for round in 1 2 3; do
    over --lower a --upper a/up
    [[ $round != 1 ]] || grep -qF 'work directory: ' out || fail "the work directory is not mentioned: $(cat out)"
    [[ $(ls -A mnt) == $'file\nup' ]] || fail "the work directory is in the union: $(ls -A mnt)"
    ! stat mnt/.up.unionfuse-work 2>/dev/null || fail "the work directory can be looked up"
    touch "mnt/new$round"
    rm "mnt/new$round"
    done_with_it
    [[ -d a/.up.unionfuse-work && ! -e a/up/.unionfuse-work ]] || fail "round $round: another work directory"
done
rm -rf a/up a/.up.unionfuse-work

# Beside a bind mount there is no place for it, for what is renamed must stay in one mount.
mkdir upper bound
mount --bind upper bound
over --lower a --upper bound
echo new >mnt/file
done_with_it
[[ $(cat upper/file) == new ]] || fail "on a bind mount"
umount bound

# An index names files of one upperdir. That of one which is gone is of no use to another one.
rm -rf upper .bound.unionfuse-work
mkdir upper
ln a/file a/link
over --lower a --upper upper
echo changed >mnt/file
done_with_it
rm -rf upper
mkdir upper
over --lower a --upper upper
[[ $(cat mnt/file mnt/link) == $'a\na' ]] || fail "a new upperdir shows what was changed in another: $(cat mnt/file)"
echo again >mnt/file
[[ $(cat mnt/link) == again ]] || fail "hard links part"
[[ -n $(ls .upper.unionfuse-work/index.old) ]] || fail "the index of the old upperdir is lost"
done_with_it
kernel_index=$BOX/.upper.unionfuse-work
if grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null; then
    # Our name for the upperdir is the kernel's.
    mount -t overlay -o "lowerdir=a,upperdir=$BOX/upper,workdir=$kernel_index,index=on" k "$mnt" ||
        fail "the kernel's overlayfs does not take our index"
    [[ $(cat mnt/link) == again ]] || fail "hard links part in the kernel's overlayfs"
    mkdir other
    refused "an upperdir of the kernel's" "$mnt" --lower b --upper upper --work other
    refused "a workdir of the kernel's" "$mnt" --lower b --upper other --work "$kernel_index"
    umount "$mnt"
    rm -rf upper work
    mkdir upper work
    mount -t overlay -o "lowerdir=a,upperdir=$BOX/upper,workdir=$BOX/work,index=on" k "$mnt"
    echo kernel >mnt/file
    umount "$mnt"
    over --lower a --upper upper --work work
    [[ $(cat mnt/link) == kernel ]] || fail "the kernel's index is not taken"
    done_with_it
else
    echo "SKIPPED: places: with the kernel's overlayfs: this kernel has none" >&2
fi
mkdir -p upper2
refused "an index of another upperdir" "another upperdir" --lower a --upper upper2 --work work -o volatile
[[ ! -e work/work/incompat/volatile ]] || fail "a refused mount has left a mark"

# What is appended only is appended, however the data travels.
rm -rf upper work
mkdir upper work
release_log() { [[ ! -e $BOX/upper/log ]] || chattr -a "$BOX/upper/log"; }
at_exit+=(release_log)
for options in follow writeback passthrough; do
    over --lower a --upper upper --work work -o "$options"
    echo one >mnt/log
    if ! chattr +a mnt/log 2>/dev/null; then
        echo "SKIPPED: places: append-only files: chattr does not work here" >&2
        done_with_it
        break
    fi
    exec 3<mnt/log
    echo two >>mnt/log || fail "$options: an append-only file cannot be appended to"
    ! dd if=/dev/zero of=mnt/log bs=1 count=1 conv=notrunc,fsync 2>/dev/null || fail "$options: overwritten"
    exec 3<&-
    done_with_it
    over --lower a --upper upper --work work -o "$options"
    echo three >>mnt/log || fail "$options: an append-only file cannot be appended to after a remount"
    sync -f mnt/log
    done_with_it
    [[ $(cat upper/log) == $'one\ntwo\nthree' ]] || fail "$options: what was appended is $(cat upper/log)"
    chattr -a upper/log
    rm upper/log
done

# The log: each request with -d, and what was said before the log file was open.
"$uf" mount -d --lower a "$mnt" 2>debug &
background+=($!)
for _ in $(seq 100); do
    ! mountpoint -q "$mnt" || break
    sleep 0.1
done
cat mnt/file >/dev/null
done_with_it
wait "${background[0]}"
background=()
grep -q 'READ' debug || fail "-d logs no requests: $(cat debug)"
UNIONFUSE_LOG=$BOX/log over --lower a -o frob
done_with_it
grep -q "frob" log || fail "the log file lacks what was said at the beginning: $(cat log)"

# Started by mount.fuse3 with drop_privileges it cannot unmount, but it need not hesitate to end.
if command -v mount.fuse3 >/dev/null; then
    mount.fuse3 "$uf#src" "$mnt" -o "drop_privileges,lowerdir=$BOX/a" || fail "drop_privileges"
    begun=$(date +%s%N)
    kill -TERM "$(daemons_of "$uf")"
    no_daemon "SIGTERM"
    (($(date +%s%N) - begun < 3000000000)) || fail "a daemon that was handed its mount takes long to end"
    umount -l "$mnt"

    # containerd's snapshotter, which archives the upperdir: no redirects.
    ln -s "$uf" bin/fuse-overlayfs
    mkdir a/dir
    echo in >a/dir/file
    PATH=$BOX/bin:$PATH mount.fuse3 overlay "$mnt" -o "workdir=$BOX/work" -o "upperdir=$BOX/upper" -o "lowerdir=$BOX/a:$BOX/b" \
        -t fuse-overlayfs >out 2>&1 || fail "as containerd calls us: $(cat out)"
    [[ ! -s out ]] || fail "as containerd calls us, something is said: $(cat out)"
    mv mnt/dir mnt/moved
    [[ $(cat upper/moved/file) == in ]] || fail "as containerd calls us, a renamed directory is not copied up"
    umount "$mnt"
    no_daemon "as containerd calls us"
else
    echo "SKIPPED: places: drop_privileges, containerd: mount.fuse3 is not installed" >&2
fi

# Apptainer stays in the foreground and waits until the mount is in the table; systemd is told when it is there.
cat >listen.py <<'PYTHON'
import socket
listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
listener.settimeout(20)
listener.bind("notify")
print(listener.recv(1000).decode(), flush=True)
PYTHON
if command -v python3 >/dev/null; then
    python3 listen.py >told &
    listener=$!
    for _ in $(seq 100); do [[ ! -S notify ]] || break; sleep 0.1; done
    NOTIFY_SOCKET=$BOX/notify "$uf" -f -o "allow_other,lowerdir=$BOX/a:$BOX/b,upperdir=$BOX/upper,workdir=$BOX/work,noacl" "$mnt" &
    background+=($!)
    wait "$listener"
    grep -q READY=1 told || fail "the service manager was told: $(cat told)"
    mountpoint -q "$mnt" || fail "the service manager was told too early"
    umount "$mnt"
    wait "${background[0]}" || fail "in the foreground, unmounted: exit code $?"
    background=()
else
    echo "SKIPPED: places: sd_notify: python3 is not installed" >&2
fi
