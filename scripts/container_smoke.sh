#!/usr/bin/env bash
# Runs what the Dockerfile says without a container engine: its install step, its ENV, ENTRYPOINT, CMD and HEALTHCHECK,
# each read from the Dockerfile, so that they cannot drift. Ends with 0 when the health check passes and the gateway
# stops in order.
#
#   container_smoke.sh [--installed PREFIX] [PYTHON]
#
# With --installed, the install step is left out: PREFIX/bin holds `metaclaw`. Else it needs the package index.
# Differences to a container: loopback in place of 0.0.0.0, a free port, a data folder below /tmp, and our user.
set -euo pipefail
root=$(cd "$(dirname "$0")/.." && pwd)
prefix=
if [ "${1:-}" = --installed ]; then prefix=$2; shift 2; fi
python=${1:-python3}
work=$(mktemp -d)
gateway=
trap '[ -z "$gateway" ] || kill "$gateway" 2> /dev/null || true; rm -rf "$work"' EXIT

# The instructions, one a line, and of each the word or list behind it.
sed -e ':join' -e '/\\$/{N;s/\\\n */ /;b join' -e '}' -e '/^#/d' "$root/Dockerfile" > "$work/steps"
list_of() { # the JSON list behind an instruction, one element a line
    grep -o "$1 *\[.*\]" "$work/steps" | tail -n 1 | sed "s/^[^[]*//" \
        | "$python" -c 'import json, sys; print(*json.load(sys.stdin), sep="\n")'
}

if [ -z "$prefix" ]; then
    prefix=$work/opt
    mkdir "$work/source"
    grep -E '^COPY [^-]' "$work/steps" | while read -r _ line; do # what the image gets, and nothing else
        read -r -a words <<< "$line"
        target=$work/source/${words[-1]}
        mkdir -p "$(dirname "$target/x")" && [ -d "$target" ] || mkdir -p "$target"
        for one in "${words[@]:0:${#words[@]}-1}"; do
            if [ -d "$root/$one" ]; then cp -R "$root/$one/." "$target"; else cp "$root/$one" "$target"; fi
        done
    done
    install_step=$(sed -n 's/^RUN .*\(scripts\/[a-z_]*\.sh\) .*/\1/p' "$work/steps" | head -n 1)
    PATH=$(dirname "$(command -v "$python")"):$PATH "$work/source/$install_step" "$prefix"
fi

while read -r setting; do export "${setting?}"; done < <(
    grep '^ENV ' "$work/steps" | sed 's/^ENV //' | tr -s ' ' '\n' | grep '^METACLAW_\|^PYTHON'
)
mapfile -t entry < <(list_of '^ENTRYPOINT')
mapfile -t command < <(list_of '^CMD')
mapfile -t check < <(grep '^HEALTHCHECK' "$work/steps" | grep -o '\[.*\]' \
    | "$python" -c 'import json, sys; print(*json.load(sys.stdin), sep="\n")')

port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
export PATH=$prefix/bin:$PATH HOME=$work/home METACLAW_DATA_DIR=$work/data
export METACLAW_GATEWAY__HOST=127.0.0.1 METACLAW_GATEWAY__PORT=$port
export METACLAW_DASHBOARD__HOST=127.0.0.1 METACLAW_DASHBOARD__PORT=0
export METACLAW_UPSTREAM__URL=http://127.0.0.1:9/v1 # nobody is there: health does not ask the provider
mkdir -p "$HOME"
"${entry[@]}" "${command[@]}" > "$work/log" 2>&1 &
gateway=$!

check=("${check[@]//127.0.0.1:8790/127.0.0.1:$port}")
for _ in $(seq 240); do
    kill -0 "$gateway" 2> /dev/null || { echo "it ended:"; cat "$work/log"; exit 1; }
    if "${check[@]}" 2> "$work/unhealthy"; then healthy=yes; break; fi
    sleep 0.25
done
[ "${healthy:-}" = yes ] || { echo "never healthy:"; cat "$work/unhealthy" "$work/log"; exit 1; }
[ -s "$METACLAW_DATA_DIR/token" ] && [ -s "$METACLAW_DATA_DIR/metaclaw.db" ] || { echo "nothing was kept in /data"; exit 1; }
kill -TERM "$gateway" # the STOPSIGNAL
wait "$gateway" || { echo "it ended with $?:"; cat "$work/log"; exit 1; }
gateway=
echo "healthy on port $port, stopped in order"
