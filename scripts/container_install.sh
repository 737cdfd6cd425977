#!/bin/sh
# The one step that installs MetaClaw for a container: the Dockerfile runs it, and scripts/container_smoke.sh.
#
#   container_install.sh PREFIX [EXTRAS]     EXTRAS as pip has them: "" (the gateway alone) or "local,train"
#
# PyTorch comes first, from its index for processors where TORCH_INDEX names it, so that nothing for other hardware comes
# along.
set -eu
prefix=$1
extras=${2:-}
source=$(cd "$(dirname "$0")/.." && pwd)

python3 -m venv "$prefix"
pip="$prefix/bin/python -m pip --disable-pip-version-check --no-cache-dir --quiet"
case ",$extras," in
    *,train,*) $pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} --constraint "$source/constraints.txt" torch ;;
esac
$pip install --constraint "$source/constraints.txt" "$source${extras:+[$extras]}"
