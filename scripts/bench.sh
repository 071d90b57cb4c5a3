#!/usr/bin/env bash
# The speed budget: our release binary and the real Python agents against the same fakes, side by side in one run.
# Arguments name measures (benches/side_by_side.py lists them); none means all. PSA_BENCH_REPEAT: repetitions of each.
set -euo pipefail
cd "$(dirname "$0")/.."

export PSA_TOOLS="${PSA_TOOLS:-$PWD/.tools}"
export PSA_TARGET="${CARGO_TARGET_DIR:-$PWD/target}"
export PSA_WORLD="$PSA_TARGET/fakes/world"

scripts/tools.sh deploy prefect-0.15 prefect-1.4
# Fakes that are slow would hide who is fast: not their debug build.
cargo build --locked --profile fakes -p world
PATH="$PSA_TOOLS/deploy/bin:$PATH" cargo lambda build --release --locked --bin lambda
# The floor: what a function costs that does nothing, of the same profile and linked the same way.
PATH="$PSA_TOOLS/deploy/bin:$PATH" cargo lambda build --release --locked \
  --manifest-path benches/empty/Cargo.toml --target-dir "$PSA_TARGET/empty"

exec timeout 1200 "$PSA_TOOLS/prefect-0.15/bin/python" benches/side_by_side.py "$@"
