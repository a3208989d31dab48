#!/bin/bash
# scripts/quickstart succeeds, leaves nothing behind, and fails when something is wrong. AS_USER: run it as that user.
source "$(dirname "$0")/../programs/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "it only knows unionfuse"
[[ -e /etc/debian_version ]] || skip "it is made for Debian"

# Copies, where any user can reach them.
mkdir -m 755 repo repo/scripts bin
install -m 755 "$here/../../scripts/quickstart" repo/scripts/
install -m 755 "$UNIONFUSE_BIN" bin/unionfuse
mkdir scratch
as=()
if [[ -n ${AS_USER:-} ]]; then
    need_root "becomes $AS_USER"
    need setpriv fusermount3
    chown "$AS_USER" scratch
    as=(setpriv --reuid="$AS_USER" --regid="$(id -g "$AS_USER")" --clear-groups)
elif [[ $EUID -ne 0 ]]; then
    need fusermount3
fi
quickstart() {
    timeout --kill-after=10 120 "${as[@]}" env -i PATH="$PATH" TMPDIR="$BOX/scratch" UNIONFUSE_BIN="$1" \
        bash "$BOX/repo/scripts/quickstart" </dev/null >out 2>&1
}
nothing_left() {
    [[ -z $(mounts_below "$BOX") ]] || fail "$1: a mount is left: $(mounts_below "$BOX")"
    [[ -z $(ls -A scratch) ]] || fail "$1: files are left: $(find scratch | head)"
    for _ in $(seq 50); do
        [[ -n $(daemons_of "$BOX/bin/unionfuse") ]] || return 0
        sleep 0.1
    done
    fail "$1: a daemon is left: $(daemons_of "$BOX/bin/unionfuse")"
}

quickstart "$BOX/bin/unionfuse" || fail "quickstart: $(cat out)"
for line in 'hello' 'nothing: not a byte, owner, mode or time'; do
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
