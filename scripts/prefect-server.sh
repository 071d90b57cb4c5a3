#!/usr/bin/env bash
# A real Prefect 3 server on this machine, with due flow runs in a work pool of type `ecs`; `--help` says more.
set -euo pipefail
cd "$(dirname "$0")/.."

export PSA_TOOLS="${PSA_TOOLS:-$PWD/.tools}"
scripts/tools.sh prefect-3.9 >&2
exec "$PSA_TOOLS/prefect-3.9/bin/python" scripts/prefect_server "$@"
