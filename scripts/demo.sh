#!/usr/bin/env bash
# From a fresh checkout to an answer: builds, starts the service on its embedded model, calls it from Python.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n\033[1m==> %s\033[0m\n' "$*"; }
target=${CARGO_TARGET_DIR:-target}
scripts/setup.sh
scripts/build.sh

work=$(mktemp -d)
service=
stop() {
  if [ -n "$service" ]; then
    kill -TERM "$service" 2>/dev/null || true
    wait "$service" || true
  fi
  rm -rf "$work"
}
trap stop EXIT

say "Starting the service on a free port, on its embedded model"
# What the caller's environment says of services, clients and keys is none of the demo's: it must never cost money.
mapfile -t unset < <(env | sed -n 's/^\(CLAUDE_CODE_API_[A-Z_]*\|ANTHROPIC_[A-Z_]*\)=.*/--unset=\1/p')
env "${unset[@]}" "$target/debug/claude-code-api" serve --listen localhost:0 --backend local --data-dir "$work/data" \
  --log warn >"$work/banner" 2>"$work/log" &
service=$!
for _ in $(seq 300); do
  url=$(sed -n '1s/.* listens on \(http:.*\)$/\1/p' "$work/banner")
  [ -n "$url" ] && break
  kill -0 "$service" 2>/dev/null || break
  sleep 0.1
done
[ -n "$url" ] || { echo "error: the service did not start:" >&2; cat "$work/log" >&2; exit 1; }
cat "$work/banner"

for example in quick_start quick_start_async stream; do
  say "examples/$example.py"
  sed "s|http://localhost:8080|$url|" "examples/$example.py" >"$work/$example.py"
  env "${unset[@]}" "$target/venv/bin/python" "$work/$example.py"
done

cat <<END

It works. To go on:

  $target/debug/claude-code-api serve            # listens on http://localhost:8080
  curl http://localhost:8080/v1/complete -H 'content-type: application/json' -d '{"prompt": "Hello"}'
  $target/debug/claude-code-api complete "Hello"
  $target/venv/bin/python examples/quick_start.py
END
