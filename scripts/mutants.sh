#!/usr/bin/env bash
# Mutation testing of what decides, launches and classifies (.cargo/mutants.toml): changes one thing at a time and runs
# the tests beside the code. Hours for all of it; `scripts/mutants.sh --shard 3/40` does a fortieth. What no test noticed
# is listed in mutants.out/missed.txt.
set -euo pipefail
cd "$(dirname "$0")/.."

version=27.1.0
tools="${PSA_TOOLS:-$PWD/.tools}/cargo"
if [ "$("$tools/bin/cargo-mutants" mutants --version 2>/dev/null)" != "cargo-mutants $version" ]; then
  cargo install cargo-mutants --version "$version" --locked --root "$tools"
fi
exec "$tools/bin/cargo-mutants" mutants --package prefect-serverless-agent --colors never "$@"
