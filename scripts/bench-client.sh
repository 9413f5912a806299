#!/usr/bin/env bash
# The Python clients side by side: ours as it is shipped, the official SDKs and httpx. What that needs is fetched once.
set -euo pipefail
cd "$(dirname "$0")/.."

target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
venv=$target/bench/venv
wheels=$target/bench/wheels
[ -x "$venv/bin/python" ] || python3 -m venv "$venv"
pip() { "$venv/bin/python" -m pip --quiet --disable-pip-version-check "$@"; }
pip install -r crates/python/requirements-build.txt -r bench/client/requirements.txt
rm -rf "$wheels"
"$venv/bin/maturin" build --quiet --locked --release --manifest-path crates/python/Cargo.toml --out "$wheels"
pip install --no-deps --force-reinstall "$wheels"/*.whl
BENCH_PYTHON=$venv/bin/python cargo bench --quiet --locked -p claude-code-api-client --bench client
wheel=$(stat -c %s "$wheels"/*.whl)
printf '\nThe wheel: %d.%02d MB.\n' $((wheel / 1000000)) $((wheel / 10000 % 100))
