#!/usr/bin/env bash
# The ways to one answer of the Claude Code CLI side by side: our pool, the CLI by itself, its Python SDK. What that needs is fetched once.
# BENCH_PROFILE=dev tries it on a development build; BENCH_ROUNDS and BENCH_WORKERS are for trying, too.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
bench=$target/bench/cli
profile=${BENCH_PROFILE:-release}
built=$target/${profile/#dev/debug}
cargo build --quiet --locked --profile "$profile"
[ -x "$bench/venv/bin/python" ] || python3 -m venv "$bench/venv"
"$bench/venv/bin/python" -m pip install --quiet --disable-pip-version-check -r bench/cli/requirements.txt
# Where `make sdk` puts it; else where it is installed for this.
claude=$target/sdk/node_modules/.bin/claude
if ! env -i HOME=/dev/null "$claude" --version >/dev/null 2>&1; then
  claude=$("$built/claude-code-api" claude install --data-dir "$bench")
  claude=${claude##*: }
fi
exec "$bench/venv/bin/python" -B bench/cli/compare.py "$built" "$claude"
