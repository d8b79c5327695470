# Every command that a person or CI runs.
SHELL := /bin/bash
CACHE ?= $(CURDIR)/.cache
VENV  := $(CACHE)/venv
export CACHE
export ENVOY ?= $(VENV)/lib/python3.11/site-packages/envoy/_bin/envoy

.PHONY: help
help: ## Lists the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 14

.PHONY: setup
setup: $(CACHE)/rust.done $(CACHE)/venv.done $(CACHE)/clients.done ## Installs what building and testing needs, at pinned versions

$(CACHE)/rust.done: rust-toolchain.toml
	@mkdir -p $(CACHE)
	rustup target add wasm32-wasip1 wasm32-unknown-unknown
	rustup component add clippy rustfmt
	@touch $@

$(CACHE)/venv.done: tests/requirements.txt
	@mkdir -p $(CACHE)
	python3 -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r tests/requirements.txt
	@touch $@

$(CACHE)/clients.done: tests/clients/package-lock.json
	@mkdir -p $(CACHE)
	npm ci --prefix tests/clients --no-audit --no-fund --loglevel=error
	@touch $@
