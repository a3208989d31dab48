#!/bin/bash
# Engines inside the union: podman with its store there and us as its mount program, and fuse-overlayfs. Their stores are full of
# whiteouts of every kind, and must be what they were when the upperdir has become a lowerdir (an image of a machine that runs images).
source "$(dirname "$0")/../programs/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "tests our own behaviour as a layer"
need_root "runs podman as root"
need podman tar setfattr

mkdir -p home/.config/containers
export HOME=$BOX/home
echo '{ "default": [ { "type": "insecureAcceptAnything" } ] }' >home/.config/containers/policy.json
program=$BOX/program
install -m 755 "$UNIONFUSE_BIN" "$program"
mkdir run

# engine WHERE ARGS...: podman with its store in a directory.
engine() {
    local where=$1
    shift
    timeout --kill-after=10 120 podman --root "$where/store" --runroot "$BOX/run" --storage-driver overlay \
        --storage-opt "overlay.mount_program=$program" --cgroup-manager cgroupfs --events-backend file "$@"
}

mkdir -p base/{gone,kept,opaque}
for dir in gone kept opaque; do echo "$dir" >"base/$dir/file"; done
tar -C base -cf base.tar .

# container WHERE: what the container's root is, seen through a mount of the engine's.
container() {
    local root
    root=$(engine "$1" mount box 2>log.mount) || fail "podman mount in $1: $(cat log.mount)"
    (cd "$root" && find . -type f | sort | while read -r file; do echo "$file: $(cat "$file")"; done)
    engine "$1" umount box >/dev/null
}

mount_union
engine "$mnt" import base.tar base >log.import 2>&1 || fail "podman import: $(cat log.import)"
engine "$mnt" create --name first --network none base /none >log.create 2>&1 || fail "podman create: $(cat log.create)"
root=$(engine "$mnt" mount first)
rm -r "$root/gone" "$root/opaque/file"
rmdir "$root/opaque"
mkdir "$root/opaque"
echo new >"$root/opaque/new"
mv "$root/kept" "$root/moved"
engine "$mnt" umount first >/dev/null
# The second layer comes out of an archive with `.wh.` names, and is unpacked by the engine in the union.
engine "$mnt" commit -q first second >log.commit 2>&1 || fail "podman commit: $(cat log.commit)"
engine "$mnt" save -q -o saved.tar second >log.save 2>&1 || fail "podman save: $(cat log.save)"
engine "$mnt" rm -f first >/dev/null
engine "$mnt" rmi -f second base >/dev/null
engine "$mnt" load -q -i saved.tar >log.load 2>&1 || fail "podman load: $(cat log.load)"
engine "$mnt" create --name box --network none second /none >log.create 2>&1 || fail "podman create: $(cat log.create)"
printf '%s\n' './moved/file: kept' './opaque/new: new' >expected
container "$mnt" >found
same expected found "the container's root in the union"

# fuse-overlayfs keeps its marks in attributes that look like ours, and deletes by names where it cannot make devices.
fuse_overlayfs() {
    timeout 30 fuse-overlayfs -o "lowerdir=$mnt/fo/l,upperdir=$mnt/fo/u,workdir=$mnt/fo/w" "$mnt/fo/m"
}
if command -v fuse-overlayfs >/dev/null; then
    mkdir -p "$mnt"/fo/{l/dir,u,w,m}
    for i in 1 2 3; do echo "$i" >"$mnt/fo/l/f$i"; done
    echo lower >"$mnt/fo/l/dir/lower"
    fuse_overlayfs
    echo new >"$mnt/fo/m/f1"
    rm -r "$mnt/fo/m/f2" "$mnt/fo/m/dir"
    mkdir "$mnt/fo/m/dir"
    ls -A "$mnt/fo/m" "$mnt/fo/m/dir" >fo.expected
    timeout 10 umount "$mnt/fo/m"
else
    echo "SKIPPED: $name: fuse-overlayfs is not installed: only podman is tried" >&2
fi

# Data that only looks like marks, and names that only look like whiteouts.
mkdir "$mnt/data"
touch "$mnt/data/.wh.gone" "$mnt/data/.wh..wh..opq" "$mnt/data/gone"
for attribute in trusted.overlay.opaque user.overlay.opaque user.fuseoverlayfs.opaque; do
    setfattr -n "$attribute" -v y "$mnt/data"
done
(cd "$mnt" && ls -A data && getfattr -d -m . data | sort) >data.expected

# The upperdir becomes a lowerdir, below another upperdir.
timeout 10 "$UNIONFUSE_BIN" umount "$mnt"
mv upper before
rm -r work
mkdir upper work
mount_union -l "$BOX/before:$lower"
(cd "$mnt" && ls -A data && getfattr -d -m . data | sort) >data.found
same data.expected data.found "what only looks like marks, below another upperdir"
container "$mnt" >found
same expected found "the container's root below another upperdir"
engine "$mnt" rm -f box >/dev/null
engine "$mnt" create --name box --network none second /none >log.create 2>&1 || fail "podman create below another upperdir: $(cat log.create)"
container "$mnt" >found
same expected found "a new container's root below another upperdir"
if [[ -e fo.expected ]]; then
    fuse_overlayfs
    ls -A "$mnt/fo/m" "$mnt/fo/m/dir" >fo.found
    timeout 10 umount "$mnt/fo/m"
    same fo.expected fo.found "what fuse-overlayfs shows below another upperdir"
fi
engine "$mnt" rm -f box >/dev/null
engine "$mnt" rmi -f second >/dev/null
timeout 10 "$UNIONFUSE_BIN" umount "$mnt"
no_daemon_of "$program" "the last umount"
