.PHONY: help demo test check crash faults fuzz sdk soak bench-batch bench-cli bench-client bench-fairness bench-ledger bench-local bench-router fmt
help: ## What there is to make
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 15
demo: ## From a fresh checkout to an answer: install what is missing, build, start, call
	@scripts/demo.sh
test: ## Everything that proves the project, from nothing
	@scripts/test.sh
check: ## The inner loop: compiles, lints, unit tests; no model, no service
	@cargo clippy --workspace --all-targets --quiet -- -D warnings
	@cargo test --quiet --lib -p claude-code-api-wire -p claude-code-api-client -p claude-code-api-router -p claude-code-api-service
	@cargo test --quiet --test sse -p claude-code-api-wire
crash: ## SIGKILL a hundred times under load, and count what is left
	@CRASHES=100 cargo test --locked -p claude-code-api-testkit --test crash -- --nocapture
faults: ## Every misbehaviour of the upstream, in every dialect, whole and streamed; prints what came of each
	@PATH="$(abspath $(or $(CARGO_TARGET_DIR),target))/sdk/node_modules/.bin:$$PATH" \
	  cargo test --locked -p claude-code-api-testkit --test faults -- --nocapture --test-threads 1 --include-ignored \
	  --skip in_every_dialect
sdk: ## The official SDKs and the real Claude Code CLI against the service
	@scripts/sdk.sh
soak: ## Ten thousand calls through the real Claude Code CLI: nothing of one in another, nothing left of any, all in the ledger
	@CALLS=10000 scripts/sdk.sh -s -k test_claude_soak
fuzz: ## Two minutes of new bytes for the decoder and the dialects; needs cargo-fuzz and a nightly toolchain
	@cd crates/wire && for target in sse bodies; do \
	  mkdir -p fuzz/corpus/$$target && cargo +nightly fuzz run $$target fuzz/corpus/$$target fuzz/seeds/$$target -- -max_total_time=60 -max_len=4000 || exit 1; done
bench-batch: ## Items a second of batches, stored and waited for, and the memory that they take
	@cargo build --release --locked && cargo run --release --locked -p claude-code-api-testkit --bin bench-batch
bench-cli: ## The pool of Claude Code CLIs beside the CLI by itself and its Python SDK: how soon, how many, and what it takes
	@scripts/bench-cli.sh
bench-client: ## What a call, a token and a client take in Python: ours, the official SDKs and httpx side by side
	@scripts/bench-client.sh
bench-fairness: ## How long a call takes beside a batch of another project, and alone
	@cargo run --release --locked -p claude-code-api-testkit --bin bench-fairness
bench-ledger: ## Calls a second that the ledger reserves and settles, and how long each takes
	@cargo bench --locked -p claude-code-api-service --no-default-features --bench ledger
bench-local: ## Tokens per second of the embedded model at 1, 4 and 16 streams
	@cargo run --release --locked -p claude-code-api-testkit --bin bench-local
bench-router: ## How well auto picks a model, on prompts with outcomes: make bench-router DATA=DIR (docs/router.md says how to make one)
	@cargo run --quiet --locked -- router bench --data "$${DATA:?names a folder of prompts with outcomes, as docs/router.md describes it}"
fmt: ## Format
	@cargo fmt --all
