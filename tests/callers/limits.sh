#!/bin/bash
# Whoever mounts may have limits, masks and habits of his own: none of them ends the daemon, and as few as possible bind its users.
source "$(dirname "$0")/../programs/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "tests our own daemon"

mkdir bin
install -m 755 "$UNIONFUSE_BIN" bin/unionfuse
uf=$BOX/bin/unionfuse
head -c 3M /dev/zero >lower/big
mkdir -p lower/d
mount_here() { timeout 20 "$uf" mount --lower "${1:-lower}" --upper upper --work work mnt; }
end() {
    "$uf" umount mnt
    no_daemon_of "$uf" "$1"
}
alive() { ls mnt >/dev/null || fail "$1 has ended the daemon"; }

(ulimit -f 1024 && mount_here) || fail "a limit of file sizes: no mount"
status=0
(echo x >>mnt/big) 2>out || status=$?
alive "a limit of file sizes"
hard=$(awk '/Max file size/ { print $5 }' "/proc/$(daemons_of "$uf" | head -1)/limits")
if [[ $hard == unlimited ]]; then
    [[ $status == 0 ]] || fail "a limit of file sizes binds a copy-up: $(cat out)"
else
    echo "SKIPPED: limits: that hard limits do not bind: no CAP_SYS_RESOURCE here" >&2
    grep -q 'File too large' out || fail "a limit of file sizes: $(cat out)"
fi
end "a limit of file sizes"

(ulimit -Sf 1024 && mount_here) || fail "a soft limit of file sizes: no mount"
echo x >>mnt/big || fail "a soft limit of file sizes binds a copy-up"
end "a soft limit of file sizes"

(ulimit -St 1 && mount_here) || fail "a soft limit of processor time: no mount"
grep -qE 'Max cpu time +unlimited' "/proc/$(daemons_of "$uf" | head -1)/limits" || fail "a soft limit of processor time stays"
end "a soft limit of processor time"

(umask 077 && mount_here) || fail "a umask: no mount"
(umask 022 && echo x >mnt/file && mkdir mnt/dir)
[[ $(stat -c %a mnt/file mnt/dir | paste -sd' ') == "644 755" ]] || fail "the mounter's umask counts: $(stat -c %a mnt/file mnt/dir)"
end "a umask"

(ulimit -n 64 && mount_here) || fail "64 descriptors: no mount"
for n in $(seq 60); do
    mkdir -p "mnt/d/$n/$n"
    echo x >"mnt/d/$n/$n/f"
done
timeout 20 find mnt -type f -exec cat {} + >/dev/null || fail "64 descriptors are not enough"
end "64 descriptors"

many=lower
for n in $(seq 150); do
    mkdir "l$n"
    echo "$n" >"l$n/f$n"
    many+=":l$n"
done
(ulimit -n 256 && mount_here "$many") || fail "150 lowers with 256 descriptors: no mount"
timeout 20 cat mnt/f* >/dev/null || fail "150 lowers with 256 descriptors: reading"
for n in $(seq 150); do echo more >>"mnt/f$n" || fail "150 lowers with 256 descriptors: writing"; done
end "150 lowers with 256 descriptors"

status=0
(exec <&- >&- 2>&- && mount_here) || status=$?
[[ $status == 0 ]] || fail "closed standard descriptors: exit code $status"
echo y >mnt/file
[[ $(cat upper/file) == y ]] || fail "closed standard descriptors: what was written is elsewhere"
end "closed standard descriptors"

mkdir gone
(
    cd gone
    rmdir ../gone
    timeout 20 "$uf" mount --lower "$BOX/lower" --upper "$BOX/upper" --work "$BOX/work" "$BOX/mnt"
) || fail "from a removed directory: no mount"
end "from a removed directory"

env -i "$uf" mount --lower lower --upper upper --work work mnt || fail "without an environment: no mount"
end "without an environment"

# Signals that whoever mounts ignores or has blocked.
python3 - "$uf" <<'P' || fail "signals blocked and ignored: no mount"
import signal, subprocess, sys
every = {signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD}
signal.pthread_sigmask(signal.SIG_BLOCK, every)
for number in every:
    signal.signal(number, signal.SIG_IGN)
options = ["--lower", "lower", "--upper", "upper", "--work", "work", "mnt"]
sys.exit(subprocess.run([sys.argv[1], "mount", *options], restore_signals=False).returncode)
P
kill -TERM "$(daemons_of "$uf")"
no_daemon_of "$uf" "SIGTERM, which was blocked and ignored"
! mountpoint -q mnt || fail "SIGTERM, which was blocked and ignored: still mounted"
