#!/bin/bash
# gcc and make build a C project whose sources lie in a lower layer; make's idea of what is out of date is right before and
# after copy-up, since it depends on nothing but modification times.
source "$(dirname "$0")/lib.sh"
need gcc make ar
[[ -e /usr/include/stdio.h ]] || skip "libc6-dev is not installed"

project=$lower/project
mkdir -p "$project/src" "$project/include"
for i in $(seq 20); do
    echo "int f$i(int);" >>"$project/include/all.h"
    printf '#include "all.h"\n#include "one.h"\nint f%d(int x) { return x * %d + ONE; }\n' "$i" "$i" >"$project/src/f$i.c"
done
echo '#define ONE 1' >"$project/include/one.h"
{
    printf '#include <stdio.h>\n#include "all.h"\nint main(void) {\n    int sum = 0;\n'
    for i in $(seq 20); do echo "    sum += f$i($i);"; done
    printf '    printf("%%d\\n", sum);\n    return 0;\n}\n'
} >"$project/src/main.c"
cat >"$project/Makefile" <<'END'
CFLAGS = -O1 -Iinclude -MMD -MP
objects = $(patsubst src/%.c,build/%.o,$(filter-out src/main.c,$(wildcard src/*.c)))
program: build/main.o build/libf.a
	$(CC) -o $@ $^
build/libf.a: $(objects)
	rm -f $@
	$(AR) crs $@ $^
build/%.o: src/%.c | build
	$(CC) $(CFLAGS) -c -o $@ $<
build:
	mkdir build
clean:
	rm -rf build program
-include build/*.d
END
# Already built once in the lower, as in an image with a build cache.
make -s -j2 -C "$project" >/dev/null
remember_lower
mount_union
cd "$mnt/project"

up_to_date() { make -q || fail "$1: make wants to do: $(make -n | head)"; }
compiled() { grep -c -e ' -c ' <<<"$1"; }

up_to_date "a build in the lower"
[[ $(./program) == 2890 ]] || fail "the lower's program says $(./program)"

# A header that everything includes but main.c, changed through the union: exactly the 20 others are compiled again.
sed -i 's/1/2/' include/one.h
log=$(make -j2)
[[ $(compiled "$log") == 20 ]] || fail "a changed header compiled $(compiled "$log") files, not 20"
[[ $(./program) == 2910 ]] || fail "the program says $(./program)"
up_to_date "after a build"

touch src/f7.c
log=$(make)
[[ $(compiled "$log") == 1 ]] || fail "a touched source compiled $(compiled "$log") files, not 1"
chmod 600 src/f8.c
up_to_date "copy-up for a chmod must keep the modification time"

mv src/f20.c src/other.c
log=$(make)
[[ $(compiled "$log") == 1 ]] || fail "a renamed source compiled $(compiled "$log") files, not 1"
make -s clean
[[ ! -e build && ! -e program ]] || fail "make clean left something"
make -s -j2 >/dev/null
[[ $(./program) == 2910 ]] || fail "built from scratch, the program says $(./program)"

cp program running
./running >out
[[ $(cat out) == 2910 ]] || fail "a copied program says $(cat out)"
remount_union
cd "$mnt/project"
up_to_date "after a remount"
[[ $(./program) == 2910 ]] || fail "after a remount the program says $(./program)"
cd "$BOX"
kernel_shows_the_same
lower_is_unchanged
