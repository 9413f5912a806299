#!/usr/bin/env bash
# Installs the Python package as its users do, from a source distribution and from a checkout, each where nothing is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
sdist=$target/sdist
rm -rf "$sdist"
"$target/venv/bin/maturin" sdist --manifest-path crates/python/Cargo.toml --out "$sdist" 2>"$sdist.log" || { cat "$sdist.log"; exit 1; }
# Not under the target folder: of what it has built from there, cargo would never see that the checkout's files change.
unpacked=$(mktemp -d)
trap 'rm -rf "$unpacked"' EXIT
# The files' own time is long ago.
tar xzf "$sdist"/*.tar.gz -C "$unpacked" --touch

for source in "$unpacked"/claude_code_api-*/ crates/python; do
  begun=$SECONDS
  python3 -m venv --clear "$sdist/venv"
  # A user's build is a release, which takes minutes; what is built here is what the tests have built.
  CARGO_TARGET_DIR=$target MATURIN_PEP517_ARGS="--profile dev --out $sdist" \
    "$sdist/venv/bin/python" -m pip install --quiet --disable-pip-version-check "$source"
  "$sdist/venv/bin/python" -I -c 'import claude_code_api, client; claude_code_api.ClaudeClient().close(); print(client.__version__)'
  printf 'Installed from %s in %s s\n' "$source" $((SECONDS - begun))
done
