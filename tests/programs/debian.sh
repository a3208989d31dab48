#!/bin/bash
# A Debian root as lower layer, in which apt-get, dpkg, git, gcc, SQLite and useradd work in a chroot.
source "$(dirname "$0")/lib.sh"
lower_is_debian
remember_lower
mount_union
cp /etc/resolv.conf "$mnt/etc/resolv.conf"

# Also what an image build does: the downloaded lists and archives are deleted in the end.
apt() {
    in_root "$mnt" apt-get -q -o Acquire::Retries=3 -o Dpkg::Use-Pty=0 "$@" >apt.log 2>&1 || fail "apt-get $*: $(tail -n 40 apt.log)"
}
if in_root "$mnt" apt-get -q -o Acquire::Retries=3 -o APT::Update::Error-Mode=any update >apt.log 2>&1; then
    apt install -y --no-install-recommends hello
    [[ $(in_root "$mnt" hello) == 'Hello, world!' ]] || fail "the installed program does not run"
    apt install -y --reinstall --no-install-recommends make
    apt purge -y hello
    [[ ! -e $mnt/usr/bin/hello ]] || fail "hello is still there after purge"
    apt clean
    rm -rf "$mnt"/var/lib/apt/lists/*
else
    echo "SKIPPED: $name: apt-get install: the mirror cannot be reached from the chroot: $(tail -n 3 apt.log | tr '\n' ' ')" >&2
fi

# A package that came with the lower goes, with all its files.
in_root "$mnt" dpkg -L make >files
apt purge -y make
while read -r file; do
    [[ -d $mnt$file ]] || [[ ! -e $mnt$file ]] || fail "$file of a purged package is still there"
done <files
[[ ! -e $mnt/usr/share/doc/make ]] || fail "the documentation of a purged package is still there"
apt check
in_root "$mnt" dpkg --audit >audit 2>&1 || fail "dpkg --audit: $(cat audit)"
[[ ! -s audit ]] || fail "dpkg --audit: $(cat audit)"

# useradd locks by hard links and replaces files of the lower by rename.
in_root "$mnt" useradd --create-home --user-group somebody
grep -q '^somebody:' "$mnt/etc/passwd" || fail "useradd added nobody"
[[ $(stat -c %U:%a "$mnt/etc/shadow") == root:640 ]] || fail "the mode of /etc/shadow is $(stat -c %U:%a "$mnt/etc/shadow")"
[[ -d $mnt/home/somebody ]] || fail "useradd made no home"

cat >"$mnt/home/work" <<'END'
set -eu
cd /home/somebody
mkdir project && cd project
git init -q -b main .
git config user.name t && git config user.email t@localhost
printf '#include <stdio.h>\nint main(void) { puts("built in the union"); return 0; }\n' >a.c
git add a.c && git commit -qm one
gcc -O1 -o a a.c
./a
git clone -q . ../clone
git -C ../clone fsck --full --strict 2>&1
git gc -q
sqlite3 test.db 'PRAGMA journal_mode=WAL; CREATE TABLE t (a); INSERT INTO t VALUES (1), (2); PRAGMA integrity_check; SELECT sum(a) FROM t;'
# Replaces libraries' cache and alternatives, both by rename over lower files.
ldconfig
update-alternatives --quiet --auto awk
awk 'BEGIN { print "awk" }'
END
printf '%s\n' 'built in the union' wal ok 3 awk >expected
in_root "$mnt" sh /home/work >work.log 2>&1 || fail "work in the chroot: $(cat work.log)"
same expected work.log "work in the chroot says something else"
# And not as root: who may do what is decided by modes in the union.
in_root "$mnt" setpriv --reuid=somebody --regid=somebody --init-groups sh -c '
    echo mine >/home/somebody/own && echo x >/tmp/x && [ -O /tmp/x ] &&
        ! cat /etc/shadow && ! echo x >/etc/new && ! rm -f /etc/passwd && ! chmod 777 /etc/hostname' >permissions 2>&1 ||
    fail "permissions of a plain user in the chroot: $(cat permissions)"

kernel_shows_the_same
lower_is_unchanged
