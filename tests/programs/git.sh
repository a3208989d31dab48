#!/bin/bash
# git works on a repository that lies in a lower layer: status, branches, renames, commit, clone, gc, fsck; and ends with the
# same history and files as the same commands in a plain directory.
source "$(dirname "$0")/lib.sh"
need git

make_repository() {
    mkdir "$1"
    (
        cd "$1"
        git init -q -b main .
        local i
        for i in $(seq 60); do
            mkdir -p "src/part$((i % 7))"
            seq "$i" $((i * 20)) >"src/part$((i % 7))/file$i.txt"
            git add -A
            GIT_AUTHOR_DATE="@$((1700000000 + i)) +0000" GIT_COMMITTER_DATE="@$((1700000000 + i)) +0000" \
                git commit -qm "commit $i"
            [[ $i != 30 ]] || git branch old
        done
        git checkout -q -b feature HEAD~5
        git mv src/part1 src/moved
        git rm -rq src/part2
        GIT_AUTHOR_DATE='@1700001000 +0000' GIT_COMMITTER_DATE='@1700001000 +0000' git commit -qm 'move and remove'
        git checkout -q main
        # Packs and loose objects, both in the lower.
        git repack -q -d
    )
}

work_in() {
    cd "$1"
    export GIT_AUTHOR_DATE='@1700002000 +0000' GIT_COMMITTER_DATE='@1700002000 +0000'
    [[ -z $(git status --porcelain) ]] || fail "a repository fresh from the lower is not clean: $(git status --short | head)"
    git checkout -q old
    git checkout -q feature
    git -c merge.directoryRenames=true merge -q --no-edit main
    git mv src/part3 src/renamed-directory
    git mv src/part4/file4.txt src/part5/
    echo more >>src/part6/file6.txt
    git rm -q -r src/part0
    git add -A
    git commit -qm 'work in the union'
    echo junk >src/junk
    git stash -q -u
    git stash drop -q
    [[ -z $(git status --porcelain) ]] || fail "not clean after commit and stash: $(git status --short | head)"
    git clone -q . ../clone
    git clone -q --no-hardlinks . ../copy
    git worktree add -q ../worktree old
    git gc -q --aggressive --prune=now
    git fsck --full --strict >"$BOX/fsck" 2>&1 || fail "git fsck: $(cat "$BOX/fsck")"
    local clone
    for clone in ../clone ../copy; do
        git -C "$clone" fsck --full >"$BOX/fsck" 2>&1 || fail "git fsck of a clone: $(cat "$BOX/fsck")"
        [[ $(git -C "$clone" rev-parse HEAD) == "$(git rev-parse HEAD)" ]] || fail "the clone has another HEAD"
        [[ -z $(git -C "$clone" status --porcelain) ]] || fail "the clone is not clean"
    done
    git worktree remove ../worktree
    cd "$BOX"
}

make_repository "$lower/project"
mkdir plain
cp -a "$lower/project" plain/
remember_lower
mount_union
work_in "$mnt/project"
work_in "$BOX/plain/project"

for what in HEAD 'HEAD^{tree}' main old; do
    [[ $(git -C "$mnt/project" rev-parse "$what") == "$(git -C plain/project rev-parse "$what")" ]] ||
        fail "$what differs from the same work in a plain directory"
done
diff -r --exclude=.git "$mnt/project" plain/project || fail "the work tree differs from the same work in a plain directory"

remount_union
[[ -z $(git -C "$mnt/project" status --porcelain) ]] || fail "not clean after a remount"
git -C "$mnt/project" fsck --full >"$BOX/fsck" 2>&1 || fail "git fsck after a remount: $(cat "$BOX/fsck")"
kernel_shows_the_same
lower_is_unchanged
