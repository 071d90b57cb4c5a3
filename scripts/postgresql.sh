#!/usr/bin/env bash
# PostgreSQL for `make bench`: installs Debian's package if there is none.
set -euo pipefail

if compgen -G '/usr/lib/postgresql/*/bin/postgres' > /dev/null || command -v initdb > /dev/null; then
  exit 0
fi
command -v apt-get > /dev/null || { echo "postgresql: install PostgreSQL, so that initdb is on the PATH" >&2; exit 1; }
root=()
[ "$(id -u)" = 0 ] || root=(sudo)
echo "postgresql: installing Debian's package"
"${root[@]}" apt-get update -qq
"${root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends postgresql > /dev/null
