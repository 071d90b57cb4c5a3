#!/usr/bin/env bash
# The speed budget: our release binary (`make release`) and the real Python agents against the same fakes, side by side
# in one run, and our binary against a real Prefect 3 server. Arguments name measures (benches/side_by_side.py lists
# them); none means all. PSA_BENCH_REPEAT: how often each is repeated.
set -euo pipefail
cd "$(dirname "$0")/.."

export PSA_TOOLS="${PSA_TOOLS:-$PWD/.tools}"
export PSA_TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
export PSA_WORLD="$PSA_TARGET/fakes/world"

scripts/tools.sh prefect-0.15 prefect-1.4 prefect-3.9
scripts/postgresql.sh
# Fakes that are slow would hide who is fast: not their debug build.
cargo build --locked --profile fakes -p world --bin world
# The command connects a server, which may take its time; a test is built along as in scripts/demo.sh.
cargo build --locked --workspace --bin prefect-serverless-agent --test server
export PSA_COMMAND="$PSA_TARGET/debug/prefect-serverless-agent"
# The floor: what a function costs that does nothing.
CARGO_TARGET_DIR="$PSA_TARGET/empty" cargo build --release --locked --manifest-path benches/empty/Cargo.toml

exec timeout 2100 "$PSA_TOOLS/prefect-0.15/bin/python" benches/side_by_side.py "$@"
