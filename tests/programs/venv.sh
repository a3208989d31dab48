#!/bin/bash
# python -m venv: made in the union, used, upgraded over one that lies in a lower layer, cleared and removed.
source "$(dirname "$0")/lib.sh"
python=/usr/bin/python3
[[ -x $python ]] || skip "$python is not installed"
"$python" -c 'import venv, ensurepip' 2>/dev/null || skip "python3-venv is not installed"

# An environment is bound to its path, so the one in the lower is made where the union will be mounted.
"$python" -m venv "$mnt/old"
mv "$mnt/old" "$lower/"
mkdir "$lower/package"
echo 'def answer(): return 42' >"$lower/package/module.py"
touch "$lower/package/__init__.py"
remember_lower
mount_union

check() {
    (cd "$mnt" && "$1/bin/python" -c '
import sys, pip, package.module
assert sys.prefix != sys.base_prefix, sys.prefix
assert package.module.answer() == 42
import compileall; assert compileall.compile_dir("package", quiet=1, force=True)') || fail "$2: its python does not work"
    "$1/bin/pip" --version >/dev/null || fail "$2: its pip does not work"
}

check "$mnt/old" "an environment from the lower"
"$python" -m venv "$mnt/new"
check "$mnt/new" "an environment made in the union"
"$python" -m venv --upgrade "$mnt/old"
check "$mnt/old" "an environment upgraded over the lower"

# pip uninstall moves what it removes aside and puts it back when something fails: renames of lower directories.
"$mnt/old/bin/pip" uninstall -q -y setuptools
! "$mnt/old/bin/python" -c 'import setuptools' 2>/dev/null || fail "setuptools is still there after pip uninstall"
[[ -z $(find "$mnt/old" -name '~*') ]] || fail "pip left its temporary names: $(find "$mnt/old" -name '~*')"
"$mnt/old/bin/python" -m ensurepip --upgrade >/dev/null
"$mnt/old/bin/python" -c 'import setuptools' || fail "setuptools does not come back"
"$python" -m venv --clear "$mnt/old"
check "$mnt/old" "an environment cleared and made again"
rm -rf "$mnt/new"

remount_union
check "$mnt/old" "after a remount"
[[ ! -e $mnt/new ]] || fail "the removed environment is back"
kernel_shows_the_same
lower_is_unchanged
