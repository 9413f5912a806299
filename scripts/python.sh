#!/usr/bin/env bash
# The Python package's tests, in the virtual environment of the build; or, where they are named, of another version and interpreter:
# `scripts/python.sh 3.8 /usr/bin/python3.8` makes one for it, and leaves out what does not depend on the interpreter.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
suite=crates/python/tests
venv=$target/venv${1:+-$1}
install() { "$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$@"; }
tests() { "$venv/bin/python" -m pytest -q -p no:cacheprovider "$@" "$suite"; }
install_pyright() {
  cmp -s "$suite/package-lock.json" "$target/pyright/installed.json" && return
  mkdir -p "$target/pyright"
  cp "$suite/package.json" "$suite/package-lock.json" "$target/pyright/"
  (cd "$target/pyright" && npm ci --silent --no-audit --no-fund --no-update-notifier)
  cp "$suite/package-lock.json" "$target/pyright/installed.json"
}

[ -x "$venv/bin/python" ] || "${2:?no $venv: scripts/build.sh makes it}" -m venv --clear "$venv"
install -r crates/python/requirements-test.txt
if [ $# -gt 0 ]; then
  install --no-deps --force-reinstall "$target"/wheels/*.whl
  tests -m "not once"
else
  install_pyright
  tests
fi
