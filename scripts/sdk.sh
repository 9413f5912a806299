#!/usr/bin/env bash
# The official SDKs and the real Claude Code CLI against the service and the simulator. What they need is fetched once. Arguments are
# pytest's; with any, its suite is all that runs.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
suite=crates/testkit/sdk
sdk=$target/sdk
# Does its work where the file has changed since it was done, and remembers the file.
once() {
  local file=$1
  shift
  cmp -s "$suite/$file" "$sdk/installed/$file" && return
  "$@"
  cp "$suite/$file" "$sdk/installed/$file"
}
install_python() {
  [ -x "$sdk/venv/bin/python" ] || python3 -m venv "$sdk/venv"
  "$sdk/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r "$suite/requirements.txt"
}
install_node() {
  cp "$suite/package.json" "$suite/package-lock.json" "$sdk/"
  # The package's own script puts the program of this platform in place; some versions of npm run no scripts.
  (cd "$sdk" && npm ci --silent --no-audit --no-fund --no-update-notifier)
  local package=$sdk/node_modules/@anthropic-ai/claude-code
  "$package/../../.bin/claude" --version >/dev/null 2>&1 || node "$package/install.cjs"
}

mkdir -p "$sdk/installed"
once requirements.txt install_python
once package-lock.json install_node
# Programs that the caller has named are tested as they are. As scripts/build.sh builds, so that nothing is built in two ways.
[ -n "${SDK_TEST_CLAUDE_CODE_API:-}" ] && [ -n "${SDK_TEST_SIMULATOR:-}" ] || cargo build --locked --quiet
# The tests in Rust that need the CLI find it as the service does, on the path.
if [ $# -eq 0 ]; then
  for test in claude faults aborted; do
    PATH="$sdk/node_modules/.bin:$PATH" cargo test --locked --quiet -p claude-code-api-testkit --test "$test" -- \
      --ignored --skip at_every_door
  done
fi
exec env PYTHONDONTWRITEBYTECODE=1 "$sdk/venv/bin/python" -m pytest -q -p no:cacheprovider "$@" "$suite"
