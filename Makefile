# Every command that a person or CI runs. `make` lists them.
SHELL   := /bin/bash
CACHE   ?= $(CURDIR)/.cache
VENV    := $(CACHE)/venv
RUST    := 1.95.0
FUZZ_TARGETS := stream response request approval grant json sse jwt key_set config record
WASM    := target/wasm32-wasip1/wasm/filter.wasm
export CACHE
# Laws are tried on the same made-up input each time. To hunt: PROPTEST_RNG_SEED=7 PROPTEST_CASES=20000
export PROPTEST_RNG_SEED ?= 1
export ENVOY ?= $(VENV)/lib/python3.11/site-packages/envoy/_bin/envoy

# Runs a command and says how long it took: $(STAGE) NAME COMMAND…
STAGE = bash -c 's=$$SECONDS; "$$@" || exit; printf "== %s: %d s\n" "$$0" $$((SECONDS - s))'

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: run
run: programs ## The gateway with everything around it; stays up. UPSTREAM=github uses the real hosts
	@target/debug/world run --upstream $(or $(UPSTREAM),fake)

.PHONY: shell
shell: programs ## A shell in which the gateway's names resolve, on port 443, and nothing leads out
	@target/debug/world shell

.PHONY: demo
demo: programs ## Plays requests with planted secrets, shows what each side saw, checks all of it
	@target/debug/world demo

.PHONY: test
test: ## All tests
	@$(STAGE) setup $(MAKE) --no-print-directory setup
	@$(STAGE) wasm $(MAKE) --no-print-directory wasm
	@$(STAGE) build cargo test --workspace --exclude filter --locked --no-run
	@$(STAGE) test-wasm $(MAKE) --no-print-directory test-wasm
	@$(STAGE) tests $(MAKE) --no-print-directory tests

# The tests themselves, and the programs that they start: built as the tests are, so that nothing is twice.
.PHONY: tests
tests: setup wasm
	cargo build --workspace --exclude filter --bins --tests --locked
	cargo test --workspace --exclude filter --locked

.PHONY: unit
unit: ## The fast tests: without Envoy, BigQuery and clients
	cargo test --locked -p contract -p filter-core -p bigquery -p lineage -p approvals -p gate

.PHONY: test-wasm
test-wasm: $(CACHE)/rust.done $(CACHE)/wasm-bindgen.done ## The core's vectors as wasm in V8: the same results as natively
	CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUNNER=$(CACHE)/wasm-bindgen/bin/wasm-bindgen-test-runner \
	  cargo test --locked -p filter-core --test vectors --target wasm32-unknown-unknown

.PHONY: e2e
e2e: programs ## The tests in real Envoy
	cargo test --locked -p e2e

.PHONY: faults
faults: $(CACHE)/rust.done $(CACHE)/venv.done ## Kills the sink and its store N times under load, counts what is lost or doubled. SEED=…
	N=$(or $(N),50) SEED=$(or $(SEED),1) cargo test --locked -p bigquery-sink --test faults

.PHONY: fuzz
fuzz: $(CACHE)/fuzz.done ## Tries laws on input that libFuzzer makes up: TARGET=stream SECONDS=60, else all, one after another
	@cp Cargo.lock fuzz/Cargo.lock # what is tried is what is built
	@for target in $(or $(TARGET),$(FUZZ_TARGETS)); do \
	  mkdir -p fuzz/corpus/$$target; \
	  PATH=$(CACHE)/fuzz/bin:$$PATH cargo fuzz run -s none $$target fuzz/corpus/$$target fuzz/seeds/$$target -- \
	    -max_total_time=$(or $(SECONDS),60) -max_len=4096 -timeout=60 -print_final_stats=1 \
	    -dict=fuzz/dictionaries/$$target.dict || exit; \
	done

.PHONY: check
check: ## Format, lints, documentation
	cargo fmt --all --check
	rustfmt --check fuzz/src/lib.rs fuzz/fuzz_targets/*.rs
	cargo clippy --workspace --exclude filter --all-targets --locked -- -D warnings
	cargo clippy -p filter --target wasm32-wasip1 --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc -p contract -p filter-core -p bigquery --no-deps --locked --quiet

.PHONY: bench
bench: $(CACHE)/venv.done wasm ## What the gateway costs against bare Envoy, as target/bench/report.json; QUICK=1 for less
	cargo build --release -p e2e --bin bench --locked
	cargo bench -p bigquery-sink --bench throughput --no-run --locked
	target/release/bench $(if $(QUICK),--quick)

.PHONY: wasm
wasm: $(CACHE)/rust.done ## Builds the filter's module and prints its size
	cargo build -p filter --target wasm32-wasip1 --profile wasm --locked
	@printf '%s: %d bytes, %d compressed\n' $(WASM) "$$(wc -c < $(WASM))" "$$(gzip -c $(WASM) | wc -c)"

.PHONY: programs
programs: setup wasm
	cargo build --workspace --exclude filter --locked

.PHONY: lint-deps
lint-deps: ## Licences, sources and unused dependencies; needs cargo-deny and cargo-machete
	cargo deny check bans licenses sources
	cargo machete

.PHONY: precommit
precommit: check test ## What CI runs

.PHONY: setup
setup: $(CACHE)/rust.done $(CACHE)/wasm-bindgen.done $(CACHE)/venv.done $(CACHE)/litellm.done $(CACHE)/clients.done ## Installs what is needed, at pinned versions

$(CACHE)/rust.done: rust-toolchain.toml
	@mkdir -p $(CACHE)
	rustc +$(RUST) --version || rustup toolchain install $(RUST) --profile minimal
	rustup component add --toolchain $(RUST) clippy rustfmt
	rustup target add --toolchain $(RUST) wasm32-wasip1 wasm32-unknown-unknown
	@touch $@

# Runs tests in Node; its version must be that of the crate.
$(CACHE)/wasm-bindgen.done: Cargo.lock $(CACHE)/rust.done
	version=$$(sed -n '/^name = "wasm-bindgen"$$/ { n; s/^version = "\(.*\)"$$/\1/p }' Cargo.lock) && \
	CARGO_PROFILE_DEV_DEBUG=0 cargo install wasm-bindgen-cli --version $$version --bin wasm-bindgen-test-runner \
	  --debug --locked --root $(CACHE)/wasm-bindgen
	@touch $@

$(CACHE)/fuzz.done: $(CACHE)/rust.done
	cargo install cargo-fuzz --version 0.13.2 --locked --root $(CACHE)/fuzz
	@touch $@

$(CACHE)/venv.done: tests/requirements.txt
	@mkdir -p $(CACHE)
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

# It wants another version of an SDK than the tests have.
$(CACHE)/litellm.done: tests/clients/requirements-litellm.txt
	@mkdir -p $(CACHE)
	python3 -m venv $(CACHE)/litellm
	$(CACHE)/litellm/bin/pip install --quiet --disable-pip-version-check -r $<
	@touch $@

$(CACHE)/clients.done: tests/clients/package-lock.json
	@mkdir -p $(CACHE)
	npm ci --prefix tests/clients --no-audit --no-fund --loglevel=error
	@touch $@
