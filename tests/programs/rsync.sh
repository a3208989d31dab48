#!/bin/bash
# rsync brings an old tree in a lower layer up to date, deletes what is gone, and then finds nothing left to do.
source "$(dirname "$0")/lib.sh"
source "$here/sample-tree.sh"
need rsync setfacl setfattr setcap

all=(-aHAX --numeric-ids --delete)
sample_tree "$lower/tree"
sample_tree "$BOX/new"
rm -r "$BOX/new/docs/deep" "$BOX/new/empty"
find "$BOX/new/docs" -name 'file1*' -exec sh -c 'echo more >>"$1"' - {} \;
rm "$BOX/new/docs/file2"
mkdir "$BOX/new/docs/file2" "$BOX/new/added"
echo x >"$BOX/new/docs/file2/x"
cp "$BOX/new/docs/large" "$BOX/new/added/"
chmod 0640 "$BOX/new/docs/file20"
# rsync takes two directories for equally old when only the fraction of a second differs.
find "$BOX/new" -depth -newermt 2021-01-01 -exec touch -h -d 2019-01-01 {} +
remember_lower
mount_union

rsync "${all[@]}" "$BOX/new/" "$mnt/tree/"
same_trees "$BOX/new" "$mnt/tree" "rsync into the union"
left=$(rsync "${all[@]}" --checksum --dry-run --itemize-changes "$BOX/new/" "$mnt/tree/")
[[ -z $left ]] || fail "a second rsync still finds work: $left"

rsync "${all[@]}" --inplace --no-whole-file --ignore-times "$BOX/new/" "$mnt/tree/"
same_trees "$BOX/new" "$mnt/tree" "rsync --inplace over what is there"

rsync "${all[@]}" "$mnt/tree/" "$BOX/out/"
same_trees "$BOX/new" "$BOX/out" "rsync out of the union"

remount_union
left=$(rsync "${all[@]}" --checksum --dry-run --itemize-changes "$BOX/new/" "$mnt/tree/")
[[ -z $left ]] || fail "after a remount, rsync finds work: $left"
kernel_shows_the_same
lower_is_unchanged
