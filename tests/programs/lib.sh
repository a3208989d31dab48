# shellcheck shell=bash
# What every program test starts with: a box (a private directory) with layers in it, a union over them, and ways to compare
# trees. A test says why it cannot run with `skip`, and fails by failing a command or by `fail`.
#
# UNIONFUSE_BIN   the binary under test
# SUBJECT         unionfuse (default), or fuse-overlayfs or kernel, to see whether a test is right about others, too
# BOX             an empty directory for the test; made (and removed) here when unset
# AS_USER         when root runs the test: become this user first

set -Eeuo pipefail
export LC_ALL=C PATH="$PATH:/usr/sbin:/sbin"
# Whatever the person who runs the tests has configured must not decide how they end.
export GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL=/dev/null
export GIT_AUTHOR_NAME=t GIT_AUTHOR_EMAIL=t@localhost GIT_COMMITTER_NAME=t GIT_COMMITTER_EMAIL=t@localhost
umask 022

# For root, mounts and processes of the test's own: another test's private copy of the mount table would otherwise keep this
# one's mounts (and so its daemons) alive after they are unmounted. All ends with the script, whatever happens to it.
if [[ $EUID -eq 0 && -z ${OWN_NAMESPACES:-} ]]; then
    OWN_NAMESPACES=yes exec unshare --mount --pid --fork --kill-child --mount-proc -- bash "$0" "$@"
fi

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=$(basename "$0" .sh)
SUBJECT=${SUBJECT:-unionfuse}

skip() {
    echo "SKIPPED: $name: $*" >&2
    exit 77
}

fail() {
    echo "FAILED: $name: $*" >&2
    exit 1
}

# No failure is silent: a command that ends the script is named.
trap 'echo "FAILED: $name: ${BASH_SOURCE[0]##*/}:$LINENO: $BASH_COMMAND" >&2' ERR

need() {
    local command
    for command; do
        command -v "$command" >/dev/null || skip "$command is not installed"
    done
}

need_root() {
    [[ $EUID -eq 0 ]] || skip "needs root: $*"
}

if [[ $SUBJECT == unionfuse ]]; then
    UNIONFUSE_BIN=${UNIONFUSE_BIN:-$(command -v unionfuse || echo "$here/../../target/debug/unionfuse")}
    [[ -x $UNIONFUSE_BIN ]] || fail "UNIONFUSE_BIN=$UNIONFUSE_BIN is not there: build first"
    UNIONFUSE_BIN=$(realpath "$UNIONFUSE_BIN")
fi
[[ $SUBJECT == kernel || (-r /dev/fuse && -w /dev/fuse) ]] || skip "/dev/fuse is missing or not ours to open"

if [[ -z ${BOX:-} ]]; then
    BOX=$(mktemp -d "${TMPDIR:-/var/tmp}/unionfuse-$name.XXXXXX")
    chmod 755 "$BOX"
    export BOX OWN_BOX=yes
fi
if [[ -n ${AS_USER:-} && $EUID -eq 0 ]]; then
    need setpriv fusermount3
    # Copies, since a checkout and a target directory may be root's alone.
    suite=$BOX/suite
    mkdir "$suite"
    cp -r "$here/.." "$suite/tests"
    cp -r "$here/../../scripts" "$suite/scripts"
    [[ $SUBJECT != unionfuse ]] || install -m 755 "$UNIONFUSE_BIN" "$suite/unionfuse"
    chown -R "$AS_USER" "$BOX"
    exec setpriv --reuid="$AS_USER" --regid="$(id -g "$AS_USER")" --clear-groups \
        env HOME="$BOX" UNIONFUSE_BIN="$suite/unionfuse" bash "$suite/tests/$(basename "$(dirname "$0")")/$name.sh"
fi
cd "$BOX"
lower=$BOX/lower upper=$BOX/upper work=$BOX/work mnt=$BOX/mnt
mkdir "$lower" "$upper" "$work" "$mnt"

leave() {
    local status=$?
    trap - ERR
    set +e
    cd /
    local pid action
    for pid in "${background[@]}"; do
        kill "$pid" 2>/dev/null || true
    done
    for action in "${at_exit[@]}"; do
        "$action"
    done
    local target
    if [[ $status == 0 && -n $(mounts_below "$BOX") ]]; then
        echo "FAILED: $name: left mounts behind: $(mounts_below "$BOX")" >&2
        status=1
    fi
    while read -r target; do
        timeout 10 umount -l "$target" 2>/dev/null || timeout 10 fusermount3 -u -z "$target" 2>/dev/null || true
    done < <(mounts_below "$BOX")
    if [[ -n ${OWN_BOX:-} ]]; then
        chmod -R u+rwX "$BOX" 2>/dev/null || true
        rm -rf --one-file-system "$BOX"
    fi
    exit "$status"
}
# Processes the test started and did not wait for, and functions that undo what it did to the machine.
background=()
at_exit=()
trap leave EXIT
trap 'exit 143' TERM INT HUP

# The mount points below a directory, innermost first.
mounts_below() {
    awk -v d="$1/" 'index($5, d) == 1 { print $5 }' /proc/self/mountinfo | sort -r
}

# The processes that run the very file given, and are not zombies.
daemons_of() {
    # What other users run cannot be looked at, and is none of ours.
    { find /proc -mindepth 2 -maxdepth 2 -name exe -lname "$1*" 2>/dev/null || true; } | cut -d/ -f3
}

# Waits for the end of the daemons that run the very file given: umount(8) and fusermount3 do not.
no_daemon_of() {
    for _ in $(seq 50); do
        [[ -n $(daemons_of "$1") ]] || return 0
        sleep 0.1
    done
    fail "$2: a daemon is still there after 5 s: $(daemons_of "$1")"
}

# mount_union [-l LOWERS] [-o OPTIONS]: the union of $lower (or LOWERS, a:b) and $upper at $mnt.
mount_union() {
    local lowers=$lower options='' flag OPTIND=1
    while getopts l:o: flag; do
        case $flag in
        l) lowers=$OPTARG ;;
        o) options=$OPTARG ;;
        *) fail "mount_union: -$flag?" ;;
        esac
    done
    case $SUBJECT in
    unionfuse)
        timeout 30 "$UNIONFUSE_BIN" mount --lower "$lowers" --upper "$upper" --work "$work" \
            ${options:+-o "$options"} "$mnt"
        ;;
    fuse-overlayfs)
        timeout 30 fuse-overlayfs -o "lowerdir=$lowers,upperdir=$upper,workdir=$work,dev,suid${options:+,$options}" "$mnt"
        ;;
    kernel)
        mount -t overlay -o "lowerdir=$lowers,upperdir=$upper,workdir=$work,redirect_dir=on,index=on${options:+,$options}" overlay "$mnt"
        ;;
    *) fail "SUBJECT=$SUBJECT?" ;;
    esac
    mountpoint -q "$mnt" || fail "the mount command succeeded but nothing is mounted at $mnt"
}

unmount_union() {
    cd "$BOX"
    if [[ $SUBJECT == unionfuse ]]; then
        timeout 30 "$UNIONFUSE_BIN" umount "$mnt"
    elif [[ $EUID -eq 0 ]]; then
        timeout 30 umount "$mnt"
    else
        timeout 30 fusermount3 -u "$mnt"
    fi
    ! mountpoint -q "$mnt" || fail "$mnt is still mounted"
}

remount_union() {
    unmount_union
    mount_union "$@"
}

# tree DIR: everything about what is below DIR that two copies of it must have in common: names, types, modes, owners,
# link counts and groups, devices, modification times, sizes, targets, contents, extended attributes (with ACLs and capabilities).
tree() {
    (
        cd "$1"
        # The size and the number of links of a directory are the filesystem's own affair.
        find . -mindepth 1 \( -type d -printf '%P d %m %U:%G %T@\n' \) -o -type l -printf '%P l %U:%G %T@ -> %l\n' \
            -o -type f -printf '%P f %m %U:%G %T@ %s links=%n\n' -o -printf '%P %y %m %U:%G %T@ links=%n\n' | sort
        find . -type f -print0 | sort -z | xargs -0 -r md5sum --
        find . \( -type b -o -type c \) -exec stat -c '%n %t:%T' {} + | sort
        find . -type f -links +1 -printf '%i %P\n' | sort -k 2 |
            awk '{ i = $1; $1 = ""; if (i in first) print "same file:" first[i] " =" $0; else first[i] = $0 }'
        # The order in which a filesystem lists attributes says nothing.
        find . -mindepth 1 -print0 | sort -z | xargs -0 -r getfattr --absolute-names -h -d -m - -- |
            awk '/^# file: / { file = substr($0, 9); next } NF { print file " " $0 }' | sort
    )
}

# exact DIR: everything `tree` says, and also what only the very same tree has: inode numbers, change times, all links.
exact() {
    tree "$1"
    (cd "$1" && find . -printf '%P %i %n %C@ %b\n' | sort)
}

same() {
    diff "$1" "$2" >"$BOX/difference" || fail "$3: $(head -n 30 "$BOX/difference")"
}

# same_trees A B WHAT: both directories hold the same.
same_trees() {
    tree "$1" >"$BOX/tree.1"
    tree "$2" >"$BOX/tree.2"
    [[ -s $BOX/tree.1 ]] || fail "$3: nothing to compare"
    same "$BOX/tree.1" "$BOX/tree.2" "$3"
}

# Called when the lower is complete; `lower_is_unchanged` at the end then proves that nobody wrote to it.
remember_lower() {
    exact "${1:-$lower}" >"$BOX/lower.before"
    [[ -s $BOX/lower.before ]] || fail "the lower layer is empty"
}

lower_is_unchanged() {
    exact "${1:-$lower}" >"$BOX/lower.after"
    same "$BOX/lower.before" "$BOX/lower.after" "the lower layer changed"
}

# The kernel's overlayfs over the same layers shows the same tree. Ends the union's mount; the last thing a test does.
kernel_shows_the_same() {
    tree "$mnt" >"$BOX/tree.union"
    unmount_union
    [[ $EUID -eq 0 ]] || return 0
    grep -qw overlay /proc/filesystems || modprobe overlay 2>/dev/null || {
        echo "SKIPPED: $name: comparison with the kernel's overlayfs: this kernel has none" >&2
        return 0
    }
    mkdir "$BOX/kernel"
    mount -t overlay -o "lowerdir=${1:-$lower},upperdir=$upper,workdir=$work,redirect_dir=on,index=on,metacopy=off" \
        kernel "$BOX/kernel"
    tree "$BOX/kernel" >"$BOX/tree.kernel"
    umount "$BOX/kernel"
    same "$BOX/tree.union" "$BOX/tree.kernel" "the kernel's overlayfs shows another tree"
}

# in_root DIR COMMAND...: runs a command in a Debian tree, with mounts and processes of its own that end with it.
in_root() {
    local root=$1
    shift
    # shellcheck disable=SC2016 # the inner shell expands these
    timeout --kill-after=10 600 unshare --mount --pid --fork --kill-child -- bash -c '
        set -euo pipefail
        root=$1
        shift
        mount -t proc proc "$root/proc"
        exec chroot "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C TERM=dumb \
            DEBIAN_FRONTEND=noninteractive "$@"' - "$root" "$@"
}

# Sets $lower to a Debian tree that several tests share and none may change.
lower_is_debian() {
    need_root "chroot into a Debian tree"
    need debootstrap apt-get unshare chroot
    rmdir "$lower"
    local status=0
    lower=$("$here/debian-root.sh") || status=$?
    [[ $status == 0 ]] || skip "no Debian tree could be made (debian-root.sh ended with $status)"
}
