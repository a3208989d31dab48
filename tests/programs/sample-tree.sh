# shellcheck shell=bash
# sample_tree DIR: a tree with one of everything a copying program must carry over.
sample_tree() {
    (
        mkdir -p "$1"
        cd "$1"
        mkdir -p docs/deep/er/still empty private
        local i
        for i in $(seq 200); do
            seq "$i" >"docs/file$i"
        done
        seq 9000000 9400000 >docs/large
        ln docs/large docs/deep/second-name
        ln docs/file1 docs/deep/er/first
        ln docs/file1 docs/deep/er/second
        ln -s ../docs/file1 empty-link
        ln -s /nowhere docs/dangling
        truncate -s 50M docs/sparse
        printf x | dd of=docs/sparse bs=1 seek=20000000 conv=notrunc status=none
        mkfifo fifo
        printf 'odd' >$'name with space, \xff\xfe and "quotes"'
        chmod 0600 docs/file2
        chmod 0751 docs/file3
        chmod 02775 docs/deep
        chmod 01777 empty
        chmod 0500 private
        setfattr -n user.note -v 'a value' docs/file5
        setfattr -n user.binary -v 0x00ff0a00 docs/deep
        setfacl -m u:12345:rw,g:54321:r docs/file6
        setfacl -d -m u:12345:rwx docs/deep
        if [[ $EUID -eq 0 ]]; then
            chmod 0000 docs/file4
            chown 1234:4321 docs/file7 docs/deep/er
            chown -h 1234:4321 docs/dangling
            mknod null c 1 3
            cp /bin/true docs/with-caps
            setcap cap_net_raw+ep docs/with-caps
            cp /bin/true docs/suid
            chmod 04755 docs/suid
        fi
        find . -depth -exec touch -h -d '2020-02-02 02:02:02.123456789' {} +
        touch -h -d '1970-01-02 00:00:00.5' docs/file8
    )
}
