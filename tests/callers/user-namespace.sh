#!/bin/bash
# A mount made by the root of a user namespace, as in a rootless container's build: set-id bits count there (sudo), for ids of the
# namespace only.
source "$(dirname "$0")/../programs/lib.sh"
[[ $SUBJECT == unionfuse ]] || skip "tests our own options"
need_root "to make a user namespace with many ids"
need setpriv

cp /usr/bin/id lower/suid
chown 200000:200000 lower lower/suid upper work mnt
chmod 4755 lower/suid
install -m 755 "$UNIONFUSE_BIN" unionfuse

cat >inside.sh <<'S'
timeout 20 ./unionfuse mount $1 --lower lower --upper upper --work work mnt || exit 9
setpriv --reuid=1000 --regid=1000 --clear-groups mnt/suid
./unionfuse umount mnt
S
cat >namespace.py <<'P'
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
ready, made = os.pipe()
mapped, go = os.pipe()
child = os.fork()
if child == 0:
    os.setgroups([]); os.setgid(200000); os.setuid(200000)
    if libc.unshare(0x10000000 | 0x20000):
        os._exit(8)
    os.write(made, b"x"); os.read(mapped, 1)
    os.setgroups([]); os.setgid(0); os.setuid(0)
    os.execvp("bash", ["bash", "inside.sh", *sys.argv[1:]])
os.read(ready, 1)
for kind in "uid", "gid":
    open(f"/proc/{child}/{kind}_map", "w").write("0 200000 65536")
os.write(go, b"x")
sys.exit(os.waitpid(child, 0)[1] >> 8)
P
status=0
said=$(timeout 60 python3 namespace.py 2>&1) || status=$?
[[ $status != 8 ]] || skip "no user namespaces here"
[[ $status == 0 ]] || fail "in a user namespace: $said"
[[ $said == *"euid=0"* ]] || fail "set-user-id is not honoured: $said"
said=$(timeout 60 python3 namespace.py "-o nosuid" 2>&1) || fail "with nosuid: $said"
[[ $said != *"euid=0"* ]] || fail "set-user-id is honoured with nosuid: $said"
