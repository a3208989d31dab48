#!/bin/bash
# Rootless `podman build --isolation chroot` with us as storage's mount_program: RUN steps delete, rename and replace files and
# directories of earlier layers; the image, a container made of it, and the exported layers hold exactly what they should.
source "$(dirname "$0")/../programs/lib.sh"
need_root "makes a plain user for the time of the test"
need podman newuidmap setpriv useradd busybox
busybox=$(command -v busybox)
# A dynamically linked one would need its libraries in the image.
! ldd "$busybox" >/dev/null 2>&1 || skip "busybox-static is not installed"

user=unionfuse-$$
chmod 755 "$BOX"
useradd --no-create-home --home-dir "$BOX/home" --shell /bin/bash "$user"
remove_user() {
    # Podman leaves a process that keeps the user namespace.
    ps -o pid= -u "$user" | xargs -r kill -KILL 2>/dev/null || true
    userdel "$user" 2>/dev/null || true
    # Files of subordinate users are in the box; only root can remove them.
    [[ -n ${OWN_BOX:-} ]] || rm -rf --one-file-system "${BOX:?}/home" "${BOX:?}/storage"
}
at_exit+=(remove_user)
grep -q "^$user:" /etc/subuid || usermod --add-subuids 300000-365535 "$user"
grep -q "^$user:" /etc/subgid || usermod --add-subgids 300000-365535 "$user"

program=${UNIONFUSE_BIN:-$(command -v "$SUBJECT" || echo /bin/false)}
mkdir -p home/.config/containers home/run storage build log bin
install -m 755 "$program" "bin/$(basename "$program")"
# Podman calls this; it notes how, and becomes the program.
cat >bin/mount-program <<END
#!/bin/sh
printf '%s\n' "\$*" >>$BOX/log/calls
exec $BOX/bin/$(basename "$program") "\$@"
END
chmod 755 bin/mount-program
cat >home/.config/containers/storage.conf <<END
[storage]
driver = "overlay"
graphroot = "$BOX/storage"
runroot = "$BOX/home/run/storage"
[storage.options.overlay]
mount_program = "$BOX/bin/mount-program"
END
cat >home/.config/containers/containers.conf <<'END'
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
END
echo '{ "default": [ { "type": "insecureAcceptAnything" } ] }' >home/.config/containers/policy.json

# A root tree to begin with: busybox, and directories for the steps to work on.
root=$BOX/build/root
mkdir -p "$root"/{bin,etc,tmp,proc,sys,dev} "$root"/data/{deep/er,gone,kept,renamed-from/sub,replaced}
chmod 1777 "$root/tmp"
cp "$busybox" "$root/bin/busybox"
printf 'root:x:0:0:root:/:/bin/sh\nuser:x:1000:1000:user:/:/bin/sh\n' >"$root/etc/passwd"
for dir in deep/er gone kept renamed-from renamed-from/sub replaced; do
    for i in 1 2 3 4 5; do echo "$dir $i" >"$root/data/$dir/file$i"; done
done
ln "$root/data/kept/file1" "$root/data/kept/link1"
tar --numeric-owner --owner=0 --group=0 -C "$root" -cf build/root.tar .
rm -r "$root"
cat >build/Dockerfile <<'END'
FROM scratch
ADD root.tar /
RUN ["/bin/busybox", "--install", "-s", "/bin"]
RUN rm /data/kept/file2 && rm -r /data/gone && echo added >/data/kept/added && chown 1000:1000 /data/kept/file3
RUN mv /data/renamed-from /data/renamed-to && mv /data/kept/file4 /data/moved && mv /data/deep/er /data/er
RUN rm -r /data/replaced && mkdir /data/replaced && echo new >/data/replaced/new && mkdir /data/gone && echo back >/data/gone/back
RUN echo more >>/data/renamed-to/sub/file1 && rm /data/renamed-to/file5 && mv /data/renamed-to/sub /data/deep/sub && ln /data/kept/link1 /data/third
RUN mkdir /data/renamed-from && echo fresh >/data/renamed-from/fresh && rm -r /data/er && chmod 0500 /data/deep
RUN cd /data && find . | sort >/tmp/found && ln kept/file1 /tmp/link && { [ kept/link1 -ef /tmp/link ] || echo apart >>/tmp/found; }
END
# Podman then mounts the kernel's overlayfs itself.
[[ $SUBJECT != kernel ]] || sed -i /mount_program/d home/.config/containers/storage.conf
chown -R "$user:" home storage build log

as_user() {
    (cd "$BOX/home" && timeout --kill-after=10 300 setpriv --reuid="$user" --regid="$user" --init-groups \
        env -i HOME="$BOX/home" USER="$user" XDG_RUNTIME_DIR="$BOX/home/run" PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C \
        TMPDIR="$BOX/home" CONTAINERS_STORAGE_CONF="$BOX/home/.config/containers/storage.conf" "$@")
}

info=$(as_user podman info --format '{{.Store.GraphDriverName}} {{index .Store.GraphOptions "overlay.mount_program"}}' 2>log.info) ||
    fail "podman info: $(cat log.info)"
[[ $info == overlay*mount-program* || $SUBJECT == kernel ]] || fail "podman does not use us: $info"

as_user podman build --isolation chroot --network host -t demo "$BOX/build" >log.build 2>&1 || fail "podman build: $(tail -n 30 log.build)"
[[ -s log/calls || $SUBJECT == kernel ]] || fail "podman built without calling us"

cat >expected <<'END'
.
./deep
./deep/sub
./deep/sub/file1
./deep/sub/file2
./deep/sub/file3
./deep/sub/file4
./deep/sub/file5
./gone
./gone/back
./kept
./kept/added
./kept/file1
./kept/file3
./kept/file5
./kept/link1
./moved
./renamed-from
./renamed-from/fresh
./renamed-to
./renamed-to/file1
./renamed-to/file2
./renamed-to/file3
./renamed-to/file4
./replaced
./replaced/new
./third
END

# check DIR WHERE: the tree of the image is the one the steps ask for.
cat >check <<'END'
set -eu
cd "$1/data"
find . | LC_ALL=C sort
cat deep/sub/file1 moved replaced/new gone/back renamed-from/fresh
stat -c '%n %u:%g %a %h' kept/file3 deep renamed-to
END
{
    cat expected
    printf '%s\n' 'renamed-from/sub 1' more 'kept 4' new back fresh \
        'kept/file3 1000:1000 644 1' 'deep 0:0 500 3' 'renamed-to 0:0 755 2'
} >expected.check

# In the last step, as seen by a program in the build, and in the image mounted read-only through us.
# shellcheck disable=SC2016 # podman unshare's shell expands these
as_user podman unshare sh -c '
    set -eu
    image=$(podman image mount demo)
    cat "$image/tmp/found" >'"$BOX"'/log/found
    sh '"$BOX"'/check "$image" >'"$BOX"'/log/image
    ! touch "$image/data/new" 2>/dev/null || exit 9
    podman image unmount demo >/dev/null' >log.image 2>&1 || fail "podman image mount: $(cat log.image log/image)"
# Two names of one lower file, one of them copied up; without an index the kernel's overlayfs shows two files then.
[[ $SUBJECT == unionfuse ]] || sed -i '/^apart$/d' log/found
same expected log/found "the last RUN step saw another tree"
# A directory of an overlay says 1 link, of a plain filesystem one for each subdirectory; both are right.
sed -i -E 's/^((deep|renamed-to) .*) [0-9]+$/\1/' log/image expected.check
same expected.check log/image "the image holds another tree"

# A container over the image: written to, committed, exported.
as_user podman create --name box demo /bin/true >log.create 2>&1 || fail "podman create: $(cat log.create)"
# shellcheck disable=SC2016
as_user podman unshare sh -c '
    set -eu
    top=$(podman mount box)
    mv "$top/data/renamed-to" "$top/data/again"
    rm -r "$top/data/kept"
    podman umount box >/dev/null' >log.mount 2>&1 || fail "podman mount: $(cat log.mount)"
as_user podman diff box 2>log.diff | sort >changes
[[ -s changes ]] || fail "podman diff says nothing: $(cat log.diff)"
for line in 'D /data/kept' 'D /data/renamed-to' 'A /data/again' 'A /data/again/file1' 'C /data'; do
    grep -qx "$line" changes || fail "podman diff does not say '$line': $(cat changes)"
done
as_user podman commit -q box demo2 >log.commit 2>&1 || fail "podman commit: $(cat log.commit)"
as_user podman export -o "$BOX/home/box.tar" box 2>log.export || fail "podman export: $(cat log.export)"
tar -tf home/box.tar | grep '^data/' | grep -v '/$' | sort >exported
grep -v -e /kept -e '^\.$' expected | sed 's,renamed-to,again,; s,^\./,data/,' |
    grep -v -x -E 'data/(deep|deep/sub|gone|again|renamed-from|replaced)' | sort >expected.exported
same expected.exported exported "podman export has other files"
as_user podman rm box >/dev/null
as_user podman save -q --format oci-dir -o "$BOX/home/saved" demo2 >log.save 2>&1 || fail "podman save: $(cat log.save)"
for blob in home/saved/blobs/sha256/*; do
    # Layers are archives; the image's description is not.
    tar -tf "$blob" 2>/dev/null || tar -tzf "$blob" 2>/dev/null || true
done >layers
# Each deletion of an earlier layer's name is a whiteout in the layer that deleted it.
for whiteout in data/kept/.wh.file2 data/.wh.renamed-from data/.wh.er data/.wh.kept data/.wh.renamed-to; do
    grep -qxF "$whiteout" layers || fail "no layer has $whiteout: $(grep -F .wh. layers)"
done

# Nothing of ours is left: no mount, no daemon.
as_user podman rmi -f demo demo2 >/dev/null 2>&1 || fail "podman rmi"
[[ -z $(mounts_below "$BOX") ]] || fail "mounts left: $(mounts_below "$BOX")"
[[ $SUBJECT != unionfuse ]] || no_daemon_of "$BOX/bin/$(basename "$program")" "podman rmi"
