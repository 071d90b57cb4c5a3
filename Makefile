# What to type: `make help`. Everything a target needs is installed by it (Rust, Python 3.11 and Node must be there).

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# rust-toolchain.toml names the version. A machine that has it only as its default toolchain uses that: no second download.
RUST := $(shell sed -n 's/^channel = "\(.*\)"/\1/p' rust-toolchain.toml)
ifeq ($(filter $(RUST)-%,$(shell rustup toolchain list 2>/dev/null)),)
export RUSTUP_TOOLCHAIN ?= $(shell rustup default 2>/dev/null | cut -d' ' -f1)
endif

PSA_TOOLS ?= $(CURDIR)/.tools
export PSA_TOOLS
export SAM_CLI_TELEMETRY = 0
# The documentation is for those who work on the project: private modules are shown, and may be linked to.
export RUSTDOCFLAGS = -D warnings -A rustdoc::private-intra-doc-links
TARGET = $(or $(CARGO_TARGET_DIR),$(CURDIR)/target)
CHROMIUM ?= chromium
PYTEST = -q -ra -p no:cacheprovider --durations=5

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n  make -k test      goes on after a failing part\n'
	@printf '  PSA_TOOLS=DIR     where the Python environments live (now %s)\n' '$(PSA_TOOLS)'

.PHONY: test
test: lint docs unit release deployment conformance demo ## everything that CI runs

.PHONY: demo
demo: ## the real lambda binary: real Prefect 1 flows in a local world, a real Prefect 3 server (KEEP=1: until ctrl-c)
	scripts/demo.sh $(if $(KEEP),--keep)

.PHONY: page
page: tools-browser ## the page in Debian's Chromium, as a person comes to it: what is wrong with it, and screenshots in target/page
	@command -v $(CHROMIUM) > /dev/null || { echo "make page needs $(CHROMIUM): apt-get install chromium, or CHROMIUM=…" >&2; exit 1; }
	CHROMIUM=$$(command -v $(CHROMIUM)) PSA_BROWSER=$(PSA_TOOLS)/browser/bin/python PSA_SCREENSHOTS=$(TARGET)/page \
		cargo test --locked --workspace --test it page::browser -- --ignored --nocapture

.PHONY: bench
bench: release ## the speed budget, side by side with the Python agents (ten minutes)
	scripts/bench.sh

.PHONY: cold-start
cold-start: ## where the processor time of a cold start goes, in instructions (needs Valgrind; ten minutes)
	scripts/cold-start.sh

.PHONY: lint
lint: ## formatting and clippy, warnings are errors
	cargo fmt --all --check
	cargo clippy --locked --workspace --all-targets -- -D warnings

.PHONY: docs
docs: ## the Rust documentation, broken links are errors
	cargo doc --locked --workspace --no-deps --document-private-items

.PHONY: unit
unit: ## the Rust tests: unit, golden cases, stories against the fakes, histories (optimised: they run the real clients)
	cargo test --locked --workspace --exclude histories
	cargo test --locked --profile soak -p histories

.PHONY: release
release: tools-deploy ## the binary that is deployed, as `sam build` makes it: target/lambda/lambda/bootstrap
	PATH="$(PSA_TOOLS)/deploy/bin:$$PATH" cargo lambda build --release --locked --bin lambda
	@ls -l $(TARGET)/lambda/lambda/bootstrap

.PHONY: package
package: ## what is released, for this machine: target/package/wheels with the functions, their template and the command in it
	rm -rf target/package
	$(MAKE) functions wheel

.PHONY: functions
functions: release tools-package # the functions' zip and its template, laid out for a wheel
	@other=$$(test "$$(uname -m)" = x86_64 && echo aarch64 || echo x86_64); \
	if rustup target list --installed 2>/dev/null | grep -qx "$$other-unknown-linux-gnu"; then \
		PATH="$(PSA_TOOLS)/deploy/bin:$$PATH" cargo lambda build --release --locked --bin lambda \
			--target "$$other-unknown-linux-gnu" --lambda-dir $(TARGET)/lambda-other; \
		$(PSA_TOOLS)/package/bin/python scripts/package.py layout "$${other/aarch64/arm64}" $(TARGET)/lambda-other/lambda/bootstrap; \
	fi
	$(PSA_TOOLS)/package/bin/python scripts/package.py layout $(subst aarch64,arm64,$(shell uname -m)) $(TARGET)/lambda/lambda/bootstrap

.PHONY: wheel
wheel: tools-package # the command, with whatever functions are laid out
	mkdir -p target/package/wheels
	SOURCE_DATE_EPOCH=315532800 PATH="$(PSA_TOOLS)/package/bin:$$PATH" maturin build --release --out target/package/wheels \
		$(if $(filter Linux,$(shell uname -s)),--zig --compatibility manylinux_2_28)
	$(PSA_TOOLS)/package/bin/python scripts/package.py sums target/package/wheels

.PHONY: package-check
package-check: package ## builds what is released a second time: the same bytes must come out
	mkdir -p target/package-check && cp target/package/wheels/SHA256SUMS target/package-check/
	cargo clean --release --package prefect-serverless-agent
	find $(TARGET) -path '*/release/*' -name '*prefect?serverless?agent*' -prune -exec rm -rf {} +
	$(MAKE) package
	diff target/package-check/SHA256SUMS target/package/wheels/SHA256SUMS

.PHONY: newcomer
newcomer: package tools-deploy ## from the real wheel in a fresh virtual environment to a first launch in the local world
	cargo test --locked --workspace --exclude histories --no-run
	PSA_WORLD=$(TARGET)/debug/world PSA_WHEEL=$$(ls target/package/wheels/*.whl) $(PSA_TOOLS)/deploy/bin/pytest $(PYTEST) --durations=0 tests/deploy/test_newcomer.py

.PHONY: deployment
deployment: tools-deploy tools-aws release ## the templates: lint, `sam build`, what they give to whom, and a newcomer's way to a first launch
	cargo test --locked --workspace --exclude histories --no-run
	PSA_WORLD=$(TARGET)/debug/world $(PSA_TOOLS)/deploy/bin/pytest $(PYTEST) tests/deploy

.PHONY: conformance
conformance: tools-moto tools-prefect-0.15 tools-prefect-1.4 tools-prefect-2.10 tools-prefect-2.20 tools-prefect-3.8 tools-prefect-3.9 ## the fakes against real Prefect agents and servers, and moto
	cargo test --locked --workspace --exclude histories --no-run
	PSA_WORLD=$(TARGET)/debug/world $(PSA_TOOLS)/moto/bin/pytest $(PYTEST) tests/conformance

.PHONY: soak
soak: ## a million random histories in virtual time, and pollers side by side in many more orders (HISTORIES=n SHARD=k/n LOSSY=1)
	cargo test --locked --profile soak -p histories -- --ignored
	cargo run --locked --profile soak -p histories --bin soak -- --histories $(or $(HISTORIES),1000000) $(if $(SHARD),--shard $(SHARD)) $(if $(LOSSY),--lossy)

.PHONY: kills
kills: tools-moto tools-prefect-3.9 ## kill -9 at random moments, 500 rounds each: Prefect 1 and a real Prefect 3 server (KILLS=n)
	cargo build --locked --workspace --bins
	KILLS=$(or $(KILLS),500) cargo test --locked --workspace --test it kills -- --nocapture
	KILLS=$(or $(KILLS),500) PSA_WORLD=$(TARGET)/debug/world $(PSA_TOOLS)/moto/bin/pytest $(PYTEST) -s \
		tests/conformance/test_prefect3_lambda.py -k killed

.PHONY: mutants
mutants: ## mutation testing of what decides, launches and classifies: hours (SHARD=k/n does an n-th)
	scripts/mutants.sh $(if $(SHARD),--shard $(SHARD))

.PHONY: deny
deny: ## licences, duplicates, sources and known vulnerabilities of the dependencies (needs the network)
	scripts/deny.sh

.PHONY: fmt
fmt: ## formats the Rust code
	cargo fmt --all

.PHONY: tools
tools: ## installs all Python environments
	scripts/tools.sh

tools-%:
	@scripts/tools.sh $*

.PHONY: clean
clean: ## removes what was built and installed
	rm -rf $(TARGET) .aws-sam "$(PSA_TOOLS)"
