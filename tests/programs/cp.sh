#!/bin/bash
# cp -a out of a union, into it, within it, and over a tree of a lower layer.
source "$(dirname "$0")/lib.sh"
source "$here/sample-tree.sh"
need setfacl setfattr setcap

sample_tree "$lower/tree"
sample_tree "$BOX/other"
remember_lower
mount_union

cp -a "$mnt/tree" "$BOX/out"
same_trees "$lower/tree" "$BOX/out" "cp -a out of the union"

cp -a "$BOX/other" "$mnt/in"
same_trees "$BOX/other" "$mnt/in" "cp -a into the union"

cp -a "$mnt/tree" "$mnt/within"
same_trees "$lower/tree" "$mnt/within" "cp -a within the union"

# Over existing files of the lower: each is opened, truncated and written, or removed and made again.
cp -a "$lower/tree" "$BOX/plain"
find "$BOX/other" -name 'file1?' -exec sh -c 'echo changed >>"$1"; touch -d 2021-01-01 "$1"' - {} \;
cp -a "$BOX/other/." "$BOX/plain/"
cp -a "$BOX/other/." "$mnt/tree/"
same_trees "$BOX/plain" "$mnt/tree" "cp -a over a lower tree"
cp -a --remove-destination "$BOX/other/." "$mnt/tree/"
cp -a --remove-destination "$BOX/other/." "$BOX/plain/"
same_trees "$BOX/plain" "$mnt/tree" "cp -a --remove-destination over a lower tree"

remount_union
same_trees "$BOX/plain" "$mnt/tree" "the tree after a remount"
same_trees "$BOX/out" "$mnt/within" "the copy after a remount"
kernel_shows_the_same
lower_is_unchanged
