#!/usr/bin/env bash
# The demo: flow runs of many kinds in a local world, polled and launched by the real `lambda` binary.
#
# What it builds is what `make test` builds too: the development profile, which is fast to build and slow to run. Name
# another binary to see other figures: `LAMBDA=target/lambda/lambda/bootstrap make demo` (after `make release`).
set -euo pipefail
cd "$(dirname "$0")/.."

cargo build --locked --workspace --bin lambda --bin demo
programs="${CARGO_TARGET_DIR:-target}/debug"
exec "$programs/demo" --lambda "${LAMBDA:-$programs/lambda}"
