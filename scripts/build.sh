#!/usr/bin/env bash
# The service, the embedded model, and a virtual environment that has the Python package. Nothing is done twice.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\033[1m==> %s (%s s so far)\033[0m\n' "$*" "$SECONDS"; }
target=${CARGO_TARGET_DIR:-target}

say "Building the service; the first time llama.cpp alone takes some minutes"
cargo build --locked

say "Fetching the embedded model, unless it is in place"
"$target/debug/claude-code-api" model install

say "Building the Python package"
[ -x "$target/venv/bin/python" ] || python3 -m venv "$target/venv"
requirements=crates/python/requirements-build.txt
if ! cmp -s "$requirements" "$target/venv/installed.txt"; then
  "$target/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$requirements"
  cp "$requirements" "$target/venv/installed.txt"
fi
rm -rf "$target/wheels"
"$target/venv/bin/maturin" build --quiet --locked --profile dev --manifest-path crates/python/Cargo.toml --out "$target/wheels"
"$target/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --force-reinstall "$target"/wheels/*.whl
say "Built"
