#!/usr/bin/env bash
# Builds what is compared, then measures: `make bench`.
set -euo pipefail
cd "$(dirname "$0")/.."

target="${CARGO_TARGET_DIR:-$PWD/target}"
tools="${PSA_TOOLS:-$PWD/.tools}"
scripts/tools.sh deploy prefect-0.15 prefect-1.4
cargo build --locked --profile fakes -p world --bin world
CARGO_TARGET_DIR="$target/empty" cargo build --release --locked --manifest-path benches/empty/Cargo.toml
exec timeout 1200 "$tools/deploy/bin/python" benches/side_by_side.py
