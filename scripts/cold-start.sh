#!/usr/bin/env bash
# Where the processor time of a cold start goes: the release binary with its symbols under Valgrind, against the fakes.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v valgrind > /dev/null || { echo "this needs Valgrind: apt-get install valgrind" >&2; exit 1; }
export PSA_TOOLS="${PSA_TOOLS:-$PWD/.tools}"
target="${CARGO_TARGET_DIR:-$PWD/target}"
scripts/tools.sh prefect-0.15
cargo build --locked -p world --bin world
export PSA_WORLD="$target/debug/world"
CARGO_PROFILE_RELEASE_STRIP=false CARGO_PROFILE_RELEASE_DEBUG=1 CARGO_TARGET_DIR="$target/profiled" \
  cargo build --release --locked --bin lambda

PYTHONPATH="$PWD/benches:$PWD/tests/conformance" timeout 600 \
  "$PSA_TOOLS/prefect-0.15/bin/python" benches/cold_start.py "$target/profiled/release/lambda"
