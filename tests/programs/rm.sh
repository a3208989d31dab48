#!/bin/bash
# rm -rf of a tree that is partly lower, partly copied up, partly new; nothing of it comes back when its names are used again.
source "$(dirname "$0")/lib.sh"

second=$BOX/second
for layer in "$lower" "$second"; do
    mkdir -p "$layer/tree"
    for dir in a b c d/e/f; do
        mkdir -p "$layer/tree/$dir"
        for i in $(seq 300); do
            echo "$layer $i" >"$layer/tree/$dir/file$i"
        done
    done
done
remember_lower
exact "$second" >second.before
mount_union -l "$lower:$second"

empty() { [[ -z $(ls -A "$1") ]] || fail "$2: $(find "$1" | head)"; }

[[ $(find "$mnt/tree" -type f | wc -l) == 1200 ]] || fail "the union does not show 1200 files"
for i in $(seq 1 7 300); do
    echo changed >>"$mnt/tree/a/file$i"
    echo new >"$mnt/tree/b/new$i"
    mv "$mnt/tree/c/file$i" "$mnt/tree/c/renamed$i"
done
mv "$mnt/tree/d/e" "$mnt/tree/d/moved"

# rm reads a directory while it empties it: an entry skipped by the reading would make rmdir fail.
rm -rf "$mnt/tree/a" "$mnt/tree/b"
mkdir "$mnt/tree/a"
empty "$mnt/tree/a" "a directory made again after rm -rf"
rm -r "$mnt/tree"
[[ ! -e $mnt/tree ]] || fail "the tree is still there"
empty "$mnt" "the union after rm -r"

mkdir -p "$mnt/tree/d/e"
empty "$mnt/tree/d/e" "an old name used again"
echo again >"$mnt/tree/a"
mkdir -p "$mnt/tree/c"
echo again >"$mnt/tree/c/file1"
(cd "$mnt" && find . | sort) >names
remount_union -l "$lower:$second"
(cd "$mnt" && find . | sort) >names.after
same names names.after "other names after a remount"
printf '%s\n' . ./tree ./tree/a ./tree/c ./tree/c/file1 ./tree/d ./tree/d/e >names.expected
same names.expected names "deleted names came back"
[[ $(cat "$mnt/tree/c/file1") == again ]] || fail "old contents came back"
kernel_shows_the_same "$lower:$second"
lower_is_unchanged
exact "$second" >second.after
same second.before second.after "the second lower layer changed"
