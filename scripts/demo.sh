#!/usr/bin/env bash
# The demo: flow runs of many kinds in a local world, then real flows of Prefect 1 in it, then those of a real Prefect 3
# server; all polled and launched by the real `lambda` binary. `--keep` keeps the server and its agent running
# afterwards, until ctrl-c.
#
# The development profile is fast to build and slow to run. Name another binary to see other figures:
# `make release && LAMBDA=target/lambda/lambda/bootstrap make demo`.
set -euo pipefail
cd "$(dirname "$0")/.."

export PSA_TOOLS="${PSA_TOOLS:-$PWD/.tools}"
# Beside the build, which takes longer: what is not installed by then, the demo waits for when it comes to that scene.
scripts/tools.sh prefect-1.4 prefect-3.9 >&2 &
# A test is built along so that crates get the features they have under `cargo test --workspace`: else `make demo` and
# `make test` would each build the AWS crates for themselves.
echo "demo: building the functions, the command and the local world: minutes the first time, most of them for AWS's crates" >&2
cargo build --locked --workspace --bin lambda --bin prefect-serverless-agent --bin demo --test server
programs="${CARGO_TARGET_DIR:-target}/debug"
exec "$programs/demo" --lambda "${LAMBDA:-$programs/lambda}" "$@"
