#!/usr/bin/env bash
# The first minutes of a new user, timed: a fresh clone, a new environment, an empty home, and nothing but what the README
# says, until a request gets the first learned skill. Writes bench/results/first-minutes.json. Needs the package index and
# about 8 GB of disk, and takes five to ten minutes on two quiet cores.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=$("${1:-python3}" -c 'import sys; print(sys.executable)') # itself: a shim may look for its own in the home
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
now() { "$python" -c 'import time; print(time.time())'; }
since() { "$python" -c 'import sys, time; print(round(time.time() - float(sys.argv[1]), 1))' "$1"; }

export HOME=$work/home # so nothing that was downloaded before is found, neither packages nor weights
mkdir "$HOME"
began=$(now)
git clone --quiet "$root" "$work/metaclaw"
clone_seconds=$(since "$began")
cd "$work/metaclaw"
began=$(now)
make setup PYTHON="$python"
set_up_seconds=$(since "$began")
.venv/bin/python -m metaclaw.bench.first_minutes --results "$root/bench/results" --data-dir "$HOME/.metaclaw" \
    --clone-seconds "$clone_seconds" --set-up-seconds "$set_up_seconds"
