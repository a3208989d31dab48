#!/bin/bash
# tar reads a union without a complaint, and extracts into it, also over a lower layer's tree, as into a plain directory.
source "$(dirname "$0")/lib.sh"
source "$here/sample-tree.sh"
need tar setfacl setfattr setcap

# GNU tar puts access times into the archive when it stores xattrs; reading changes those.
with=(--xattrs "--xattrs-include=*" --acls --numeric-owner "--pax-option=delete=atime,delete=ctime")
sample_tree "$lower/tree"
remember_lower
mount_union

pack() {
    # The later sparse formats put the process number into the archive.
    tar "${with[@]}" --sparse --sparse-version=0.0 --sort=name -C "$1" -cf "$2" . 2>"$BOX/complaints"
    # "file changed as we read it" would be here, and "hard link cannot be found".
    [[ ! -s $BOX/complaints ]] || fail "tar of $1: $(cat "$BOX/complaints")"
}

pack "$mnt/tree" cold.tar
pack "$mnt/tree" warm.tar
pack "$lower/tree" plain.tar
cmp plain.tar cold.tar || fail "the archive of the union differs from that of its lower"
cmp plain.tar warm.tar || fail "a second pass over the union gives another archive"

mkdir "$mnt/new"
tar "${with[@]}" -C "$mnt/new" -xpf plain.tar
same_trees "$lower/tree" "$mnt/new" "extraction into a new directory"

# An archive of changes, extracted over the lower: new contents, a file where a directory was, a directory where a file was.
sample_tree "$BOX/changed"
rm -r "$BOX/changed/docs/deep" "$BOX/changed/docs/file9"
echo 'now a file' >"$BOX/changed/docs/deep"
mkdir "$BOX/changed/docs/file9"
echo inside >"$BOX/changed/docs/file9/inside"
echo longer >>"$BOX/changed/docs/file10"
find "$BOX/changed" -depth -exec touch -h -d '2022-03-04 05:06:07' {} +
pack "$BOX/changed" changed.tar

cp -a "$lower/tree" plain
for how in --overwrite --recursive-unlink; do
    [[ $how == --overwrite ]] && rm -rf "$mnt/tree/docs/deep" plain/docs/deep "$mnt/tree/docs/file9" plain/docs/file9
    tar "${with[@]}" "$how" -C "$mnt/tree" -xpf changed.tar
    tar "${with[@]}" "$how" -C plain -xpf changed.tar
    same_trees plain "$mnt/tree" "extraction over the lower with $how"
done

remount_union
same_trees plain "$mnt/tree" "after a remount"
touch -d 2023-01-01 plain "$mnt/tree"
pack "$mnt/tree" after.tar
pack plain after.plain.tar
cmp after.plain.tar after.tar || fail "the archive after a remount differs"
kernel_shows_the_same
lower_is_unchanged
