#!/usr/bin/env bash
# Everything that proves the project, from nothing. Prints at its end what took how long.
set -euo pipefail
cd "$(dirname "$0")/.."

target=${CARGO_TARGET_DIR:-target}
# Thousands of connections, and both of their ends are a test's own.
ulimit -n "$(ulimit -Hn)"
times=()
run() {
  local name=$1 begun=$SECONDS
  shift
  printf '\n\033[1m==> %s\033[0m\n' "$name"
  "$@"
  times+=("$(printf '%5d s  %s' $((SECONDS - begun)) "$name")")
}
rust_tests() {
  if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --locked --no-fail-fast
    cargo test --locked --doc --quiet
  else
    cargo test --locked --no-fail-fast
  fi
}
# The oldest Python that the package promises, and the newest that is here, unless the build's own is that.
other_pythons() {
  local found versions version python
  found=$(scripts/interpreters.sh)
  versions=$(printf '3.8\n%s\n' "${found##*$'\n'}" | cut -d ' ' -f 1 | sort -V -u)
  for version in $versions; do
    python=$(sed -n "s/^$version //p" <<<"$found")
    if [ -z "$python" ]; then
      times+=("      –  Python tests on $version: it is not on this machine")
    elif ! "$target/venv/bin/python" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$version')"; then
      run "Python tests on $version" scripts/python.sh "$version" "$python"
    fi
  done
}

run "What building and testing need" scripts/setup.sh tests
run "Build" scripts/build.sh
run "Format" cargo fmt --all --check
run "Lints" cargo clippy --locked --workspace --all-targets --quiet -- -D warnings
run "Documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --locked --workspace --no-deps --quiet
run "Rust tests" rust_tests
run "Python tests" scripts/python.sh
other_pythons
run "Source distribution" scripts/sdist.sh
run "Official SDKs and Claude Code" scripts/sdk.sh
run "Demo" scripts/demo.sh

printf '\nWhere the time went:\n'
printf '%s\n' "${times[@]}"
