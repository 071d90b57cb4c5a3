#!/usr/bin/env bash
# Python environments of this project: `scripts/tools.sh deploy moto …` (no name: all of them).
#
# Each scripts/requirements/NAME.txt (every version pinned) becomes the virtual environment $PSA_TOOLS/NAME.
# An environment carries the hash of its requirements: nothing is installed, and no network is needed, while it matches.
set -euo pipefail
cd "$(dirname "$0")/.."

tools="${PSA_TOOLS:-$PWD/.tools}"
requirements="scripts/requirements"
install_seconds="${PSA_INSTALL_SECONDS:-900}"

die() { echo "tools: $*" >&2; exit 1; }

# Prefect 0.15 needs `distutils`, which Python 3.12 dropped; its pins are known to work on 3.11.
python="${PSA_PYTHON:-}"
if [ -z "$python" ]; then
  for candidate in python3.11 python3; do
    if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
      python="$candidate"
      break
    fi
  done
fi
[ -n "$python" ] || die "Python 3.11 is needed (python3.11 or python3 on the PATH; PSA_PYTHON names another)"

# macOS has none; pip has its own limits for each connection.
limit=()
if command -v timeout > /dev/null; then limit=(timeout "$install_seconds"); fi

install() {
  local name="$1" file="$requirements/$1.txt" home="$tools/$1" wanted started
  [ -f "$file" ] || die "no environment called '$name': there is no $file"
  wanted="$({ "$python" -V; cat "$file"; } | "$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())')"
  [ "$(cat "$home/.requirements" 2>/dev/null)" = "$wanted" ] && return

  started=$SECONDS
  echo "tools: installing $name"
  rm -rf "$home"
  "$python" -m venv "$home"
  ${limit[@]+"${limit[@]}"} "$home/bin/pip" install --quiet --disable-pip-version-check \
    --timeout 30 --retries 5 --requirement "$file" \
    || die "could not install $name: see pip's message above, then run this again"
  # Last, so that an interrupted installation is repeated.
  echo "$wanted" > "$home/.requirements"
  echo "tools: $name ready after $((SECONDS - started)) s"
}

mkdir -p "$tools"
# Two runs at once (a test and a demo) must not build the same environment.
exec 9> "$tools/.lock"
if command -v flock > /dev/null; then
  flock --wait "$install_seconds" 9 || die "another installation has been running for $install_seconds s"
fi

if [ $# -eq 0 ]; then
  for file in "$requirements"/*.txt; do
    name="${file##*/}"
    set -- "$@" "${name%.txt}"
  done
fi
for name in "$@"; do install "$name"; done
