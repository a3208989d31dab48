#!/bin/bash
# Prints the path of a small Debian root tree (debootstrap, minbase, with a compiler, git and SQLite), made on the first
# call and kept, because it takes a minute or two and several tests use it as their lower layer. Nobody may change it.
set -euo pipefail

cache=${UNIONFUSE_TEST_CACHE:-/var/cache/unionfuse-tests}
packages=git,gcc,libc6-dev,make,sqlite3,attr,procps

# shellcheck source=/dev/null
codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
# The mirror this machine's apt is configured with, whatever form its sources are written in.
# shellcheck disable=SC2016 # apt expands these, not the shell
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk -v r="$codename" '$2 == r && $3 == "main" { print $1; exit }')
if [[ -z $codename || -z $mirror ]]; then
    echo "no Debian mirror is configured for '${codename:-unknown}' (run apt-get update)" >&2
    exit 77
fi

mkdir -p "$cache"
exec 9>"$cache/lock"
flock 9
tree=$cache/debian-$codename-$(printf %s "$packages" | cksum | cut -d' ' -f1)
if [[ ! -e $tree.complete ]]; then
    rm -rf "$tree"
    mkdir -m 755 "$tree"
    # Several attempts: a mirror behind a proxy drops a connection now and then.
    for attempt in 1 2 3; do
        if timeout 900 debootstrap --variant=minbase --include="$packages" "$codename" "$tree" "$mirror" \
            >"$tree.log" 2>&1; then
            break
        elif [[ $attempt == 3 ]]; then
            tail -n 20 "$tree.log" "$tree/debootstrap/debootstrap.log" >&2 || true
            exit 1
        fi
        umount -l "$tree/proc" 2>/dev/null || true
        rm -rf "$tree"
        mkdir -m 755 "$tree"
    done
    umount -l "$tree/proc" 2>/dev/null || true
    : >"$tree.complete"
fi
echo "$tree"
