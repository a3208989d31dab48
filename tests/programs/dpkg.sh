#!/bin/bash
# dpkg in a chroot into a union over a Debian tree: build, install, divert, upgrade in a second union stacked on the first
# one's upper, remove and purge; every file it leaves is the one it should be.
source "$(dirname "$0")/lib.sh"
lower_is_debian
remember_lower
mount_union

mkdir "$mnt/build"
cat >"$mnt/build/make-packages" <<'END'
set -eu
cd /build
for version in 1 2; do
    root=demo_$version
    mkdir -p $root/DEBIAN $root/usr/share/demo/data $root/etc/demo $root/usr/bin
    printf 'Package: demo\nVersion: %s\nArchitecture: all\nMaintainer: t <t@localhost>\nDescription: demo\n' $version >$root/DEBIAN/control
    echo /etc/demo/demo.conf >$root/DEBIAN/conffiles
    echo "setting = $version" >$root/etc/demo/demo.conf
    printf '#!/bin/sh\necho demo %s\n' $version >$root/usr/bin/demo
    chmod 755 $root/usr/bin/demo
    for i in $(seq 50); do echo "$version $i" >$root/usr/share/demo/data/file$i; done
    ln $root/usr/share/demo/data/file1 $root/usr/share/demo/linked
    printf '#!/bin/sh\nset -e\necho configured %s >/var/lib/demo-state\n' $version >$root/DEBIAN/postinst
    printf '#!/bin/sh\nset -e\n[ "$1" != purge ] || rm -f /var/lib/demo-state\n' >$root/DEBIAN/postrm
    chmod 755 $root/DEBIAN/postinst $root/DEBIAN/postrm
done
# Version 2 has lost a directory's worth of files, and a file has become a directory and the reverse.
mkdir demo_1/usr/share/demo/gone demo_1/usr/share/demo/was-dir
echo 1 >demo_1/usr/share/demo/gone/file
echo 1 >demo_1/usr/share/demo/was-dir/file
echo 1 >demo_1/usr/share/demo/was-file
mkdir demo_2/usr/share/demo/was-file
echo 2 >demo_2/usr/share/demo/was-file/file
echo 2 >demo_2/usr/share/demo/now-file
for version in 1 2; do dpkg-deb --root-owner-group -Zgzip -b demo_$version >/dev/null; done
END
in_root "$mnt" sh /build/make-packages

in_root "$mnt" dpkg-divert --quiet --local --rename --add /usr/bin/attr
[[ -e $mnt/usr/bin/attr.distrib && ! -e $mnt/usr/bin/attr ]] || fail "dpkg-divert did not rename a lower file"
in_root "$mnt" dpkg -i /build/demo_1.deb >dpkg.log 2>&1 || fail "dpkg -i: $(cat dpkg.log)"
[[ $(in_root "$mnt" demo) == 'demo 1' ]] || fail "the installed program does not run"
[[ $(stat -c %h "$mnt/usr/share/demo/linked") == 2 ]] || fail "a hard link of the package is not one"
[[ -z $(in_root "$mnt" dpkg --verify) ]] || fail "dpkg --verify: $(in_root "$mnt" dpkg --verify)"
echo 'mine = yes' >>"$mnt/etc/demo/demo.conf"

# The upper of the first union is now a lower, over the same Debian tree.
unmount_union
first=$BOX/first
mv "$upper" "$first"
rm -rf "$work"
mkdir "$upper" "$work"
exact "$first" >first.before
mount_union -l "$first:$lower"

in_root "$mnt" dpkg --force-confold -i /build/demo_2.deb >dpkg.log 2>&1 || fail "dpkg -i of the upgrade: $(cat dpkg.log)"
[[ $(in_root "$mnt" demo) == 'demo 2' ]] || fail "the upgraded program does not run"
[[ $(cat "$mnt/var/lib/demo-state") == 'configured 2' ]] || fail "the upgrade was not configured"
[[ $(head -n 1 "$mnt/etc/demo/demo.conf") == 'setting = 1' ]] || fail "the changed conffile was overwritten"
[[ -e $mnt/etc/demo/demo.conf.dpkg-dist ]] || fail "the new conffile was not put beside the old"
[[ ! -e $mnt/usr/share/demo/gone && ! -e $mnt/usr/share/demo/was-dir ]] || fail "files of the old version are still there"
[[ $(cat "$mnt/usr/share/demo/was-file/file" "$mnt/usr/share/demo/now-file") == $'2\n2' ]] || fail "new files are missing"
[[ $(cat "$mnt"/usr/share/demo/data/file* | sort -u | cut -d' ' -f1 | uniq) == 2 ]] || fail "old files remain"

in_root "$mnt" dpkg --purge demo >dpkg.log 2>&1 || fail "dpkg --purge: $(cat dpkg.log)"
left=$(find "$mnt" -xdev -path "$mnt/build" -prune -o -path '*/demo*' -print)
[[ -z $left ]] || fail "left after purge: $left"
in_root "$mnt" dpkg-divert --quiet --local --rename --remove /usr/bin/attr
[[ -e $mnt/usr/bin/attr && ! -e $mnt/usr/bin/attr.distrib ]] || fail "the diversion was not undone"
in_root "$mnt" dpkg --audit >dpkg.log 2>&1 || fail "dpkg --audit: $(cat dpkg.log)"
[[ ! -s dpkg.log ]] || fail "dpkg --audit: $(cat dpkg.log)"

kernel_shows_the_same "$first:$lower"
lower_is_unchanged
exact "$first" >first.after
same first.before first.after "the first upper changed while it was a lower"
