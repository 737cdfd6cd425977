#!/usr/bin/env bash
# Builds wheel and sdist, installs each into a clean environment with what it depends on and nothing else, and looks
# whether it starts there: `make test-package`. Needs the package index; takes a minute or two.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
python=${1:-python3}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/build"
"$work/build/bin/pip" install --quiet --disable-pip-version-check build
mkdir "$work/source" # setuptools leaves its work beside the source
tar -C "$root" --exclude ./.venv --exclude ./.git --exclude ./build --exclude '*.egg-info' -cf - . | tar -C "$work/source" -xf -
"$work/build/bin/python" -m build --outdir "$work/dist" "$work/source" > "$work/build.log" || { cat "$work/build.log"; exit 1; }

for made in "$work"/dist/*; do
    echo "== $(basename "$made")"
    rm -rf "$work/clean" && "$python" -m venv "$work/clean"
    "$work/clean/bin/pip" install --quiet --disable-pip-version-check --constraint "$root/constraints.txt" "$made"
    cd "$work" # so that nothing is found beside us
    export HOME=$work/home METACLAW_DATA_DIR=$work/data
    "$work/clean/bin/metaclaw" --version
    "$work/clean/bin/metaclaw" --help > /dev/null
    "$work/clean/bin/metaclaw" status --json > /dev/null
    "$work/clean/bin/python" - <<'PYTHON'
import importlib.util, sys
heavy = [name for name in ("torch", "transformers", "xllamacpp", "aiohttp", "mcp") if importlib.util.find_spec(name)]
sys.exit(f"the gateway alone brought {heavy}" if heavy else 0)
PYTHON
    if told=$("$work/clean/bin/metaclaw" start --port 0 2>&1); then echo "it started without an engine: $told"; exit 1; fi
    grep -q "pip install 'metaclaw\[local\]'" <<< "$(tr -s '\n ' ' ' <<< "$told")" || { echo "unclear: $told"; exit 1; }
    du -sh "$work/clean" | sed 's/\t.*/ in a clean environment/'
    cd "$root"
done
echo "both install, start and say what they lack"
