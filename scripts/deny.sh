#!/usr/bin/env bash
# Licences, duplicates, sources and known vulnerabilities of all dependencies (deny.toml). Arguments name checks:
# `scripts/deny.sh licenses bans sources` needs no network once cargo-deny is installed.
set -euo pipefail
cd "$(dirname "$0")/.."

version=0.20.2
tools="${PSA_TOOLS:-$PWD/.tools}/cargo"
if [ "$("$tools/bin/cargo-deny" --version 2>/dev/null)" != "cargo-deny $version" ]; then
  cargo install cargo-deny --version "$version" --locked --root "$tools"
fi
exec "$tools/bin/cargo-deny" --workspace --locked --all-features check "$@"
