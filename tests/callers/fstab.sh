#!/bin/bash
# `mount -a` with an fstab line of type fuse.unionfuse, by way of fuse3's mount.fuse3.
source "$(dirname "$0")/../programs/lib.sh"
need_root "mount -a"
need mount.fuse3 findmnt
[[ $SUBJECT != kernel ]] || skip "the kernel needs no helper"
[[ ! -e /sbin/mount.fuse.$SUBJECT ]] || skip "/sbin/mount.fuse.$SUBJECT would be run instead of mount.fuse3"

# mount.fuse3 runs the program by name, and mount(8) has taken PATH away from it: only the shell's default path counts. In
# our own mount namespace we may put it there.
[[ -n ${OWN_NAMESPACES:-} ]] || fail "would change the machine's /usr/local/bin"
program=${UNIONFUSE_BIN:-$(command -v "$SUBJECT")}
mkdir bin
install -m 755 "$program" "bin/$SUBJECT"
mount --bind bin /usr/local/bin

no_daemon() { no_daemon_of "$BOX/bin/$SUBJECT" "$1"; }

mkdir bottom ro
echo lower >lower/file
echo bottom >bottom/other
cat >fstab <<END
# source mountpoint type options dump pass
some-union $mnt fuse.$SUBJECT lowerdir=$lower:$BOX/bottom,upperdir=$upper,workdir=$work,nofail,nodev,x-systemd.automount,_netdev 0 0
ro-union $BOX/ro fuse.$SUBJECT lowerdir=$lower:$BOX/bottom,ro,noauto 0 0
END

timeout 30 mount -a -T fstab || fail "mount -a ended with $?"
mountpoint -q "$mnt" || fail "mount -a mounted nothing"
[[ $(cat "$mnt/file" "$mnt/other") == $'lower\nbottom' ]] || fail "the union shows something else: $(ls "$mnt")"
! mountpoint -q ro || fail "mount -a mounted a noauto line"
echo new >"$mnt/new"
rm "$mnt/other"
[[ $(cat "$upper/new") == new && ! -e $mnt/other ]] || fail "the union cannot be written"

if [[ $SUBJECT == unionfuse ]]; then
    [[ $(findmnt -n -o SOURCE,FSTYPE "$mnt" | tr -s ' ') == 'some-union fuse.unionfuse' ]] ||
        fail "findmnt shows: $(findmnt -n -o SOURCE,FSTYPE "$mnt")"
    findmnt -n -o OPTIONS "$mnt" | grep -qw nodev || fail "nodev is lost: $(findmnt -n -o OPTIONS "$mnt")"
    # mount -a must recognise what is already mounted.
    timeout 30 mount -a -T fstab || fail "a second mount -a ended with $?"
    [[ $(grep -c " $mnt " /proc/self/mountinfo) == 1 ]] || fail "a second mount -a mounted it again"
    # Other users see it, as any filesystem of the machine.
    chmod 755 "$BOX"
    [[ $(setpriv --reuid=65534 --regid=65534 --clear-groups cat "$mnt/file") == lower ]] || fail "other users cannot read it"
fi

mount -T fstab "$BOX/ro" || fail "mount of one line ended with $?"
[[ $(cat ro/file) == lower ]] || fail "the read-only union shows something else"
! touch ro/x 2>/dev/null || fail "the read-only union can be written"
umount ro

if [[ $SUBJECT == unionfuse ]]; then
    # Through mount.fuse3, which runs us: the mount keeps its daemon and only the flags change.
    mount -o remount,ro "$mnt" || fail "remount,ro ended with $?"
    ! touch "$mnt/x" 2>/dev/null || fail "it can be written after remount,ro"
    mount -o remount,rw "$mnt" || fail "remount,rw ended with $?"
    touch "$mnt/x" || fail "it cannot be written after remount,rw"
fi
umount "$mnt"
no_daemon umount

# The reason of a failure reaches the person who types mount.
sed -i "s,lowerdir=$lower:,lowerdir=$BOX/nowhere:," fstab
status=0
timeout 30 mount -T fstab "$mnt" >out 2>&1 || status=$?
[[ $status != 0 ]] || fail "a missing layer was mounted"
grep -q nowhere out || [[ $SUBJECT != unionfuse ]] || fail "mount does not name the missing layer: $(cat out)"
! mountpoint -q "$mnt" || fail "a missing layer was mounted"
no_daemon "after a failure"

# Called by the names mount(8) gives a helper of our own.
if [[ $SUBJECT == unionfuse ]]; then
    for helper in mount.unionfuse mount.fuse.unionfuse; do
        ln -s unionfuse "bin/$helper"
        timeout 30 "bin/$helper" spec "$mnt" -o "lowerdir=$lower:$BOX/bottom,ro" || fail "$helper ended with $?"
        [[ $(findmnt -n -o SOURCE "$mnt") == spec && $(cat "$mnt/file") == lower ]] || fail "$helper mounted something else"
        umount "$mnt"
        no_daemon "$helper"
    done
fi
