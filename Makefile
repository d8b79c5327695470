# Every command that a person or CI runs. `make` lists them.
SHELL   := /bin/bash
CACHE   ?= $(CURDIR)/.cache
VENV    := $(CACHE)/venv
RUST    := 1.95.0
WASM    := target/wasm32-wasip1/wasm/filter.wasm
export CACHE
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
	@$(STAGE) tests $(MAKE) --no-print-directory tests

# The tests themselves: everything they start is built.
.PHONY: tests
tests: programs
	cargo test --workspace --exclude filter --locked

.PHONY: unit
unit: ## The fast tests: without Envoy, BigQuery and clients
	cargo test --locked -p contract -p filter-core -p gate

.PHONY: e2e
e2e: programs ## The tests in real Envoy
	cargo test --locked -p e2e

.PHONY: faults
faults: $(CACHE)/rust.done $(CACHE)/venv.done ## Kills the sink and its store N times under load, counts what is lost or doubled. SEED=…
	N=$(or $(N),50) SEED=$(or $(SEED),1) cargo test --locked -p bigquery-sink --test faults

.PHONY: check
check: ## Format, lints, documentation
	cargo fmt --all --check
	cargo clippy --workspace --exclude filter --all-targets --locked -- -D warnings
	cargo clippy -p filter --target wasm32-wasip1 --locked -- -D warnings
	RUSTDOCFLAGS="-D warnings" cargo doc -p contract -p filter-core --no-deps --locked --quiet

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
setup: $(CACHE)/rust.done $(CACHE)/venv.done $(CACHE)/clients.done ## Installs what is needed, at pinned versions

$(CACHE)/rust.done: rust-toolchain.toml
	@mkdir -p $(CACHE)
	rustc +$(RUST) --version || rustup toolchain install $(RUST) --profile minimal
	rustup component add --toolchain $(RUST) clippy rustfmt
	rustup target add --toolchain $(RUST) wasm32-wasip1 wasm32-unknown-unknown
	@touch $@

$(CACHE)/venv.done: tests/requirements.txt
	@mkdir -p $(CACHE)
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

$(CACHE)/clients.done: tests/clients/package-lock.json
	@mkdir -p $(CACHE)
	@# Not `npm ci`: it wants all platforms' packages in the lock file, which npm leaves out.
	npm install --prefix tests/clients --no-save --no-audit --no-fund --loglevel=error
	@touch $@
