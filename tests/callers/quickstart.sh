#!/bin/bash
# scripts/quickstart succeeds, leaves nothing behind, and fails when something is wrong.
source "$(dirname "$0")/../programs/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "it only knows unionfuse"
[[ -e /etc/debian_version ]] || skip "it is made for Debian"

# A copy, so that its processes are ours and nobody else's.
mkdir bin
install -m 755 "$UNIONFUSE_BIN" bin/unionfuse
mkdir scratch
[[ $EUID -eq 0 ]] || need fusermount3
quickstart() {
    timeout --kill-after=10 120 env -i PATH="$PATH" TMPDIR="$BOX/scratch" UNIONFUSE_BIN="$1" \
        bash "$here/../../scripts/quickstart" </dev/null >out 2>&1
}
nothing_left() {
    [[ -z $(mounts_below "$BOX") ]] || fail "$1: a mount is left: $(mounts_below "$BOX")"
    [[ -z $(ls -A scratch) ]] || fail "$1: files are left: $(find scratch | head)"
    no_daemon_of "$BOX/bin/unionfuse" "$1"
}

quickstart "$BOX/bin/unionfuse" || fail "quickstart: $(cat out)"
for line in 'hello.txt' '# added in the union' 'nothing: not a byte, owner, mode or time'; do
    grep -qF "$line" out || fail "quickstart does not say '$line': $(cat out)"
done
nothing_left "after success"

# A union that loses what is written: the step that checks it must fail, and clean up.
cat >bin/forgetful <<END
#!/bin/sh
if [ "\$1" = umount ]; then
    $BOX/bin/unionfuse "\$@" && rm -f $BOX/scratch/*/upper/hello.txt
else
    exec $BOX/bin/unionfuse "\$@"
fi
END
chmod 755 bin/forgetful
! quickstart "$BOX/bin/forgetful" || fail "quickstart does not notice that a written file is lost: $(cat out)"
nothing_left "after failure"
