#!/usr/bin/env bash
# environment.sh PYTHON VENV TORCH: make VENV from PYTHON where it does not exist, and install into it torch (only
# where there is none), what tests and lint need, and this package with its integrations (editable).
set -euo pipefail
python=$1 venv=$2 torch=$3
cd "$(dirname "$0")/.."

if [ ! -x "$venv/bin/python" ]; then
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' || { echo "$python is older than 3.10; set PYTHON=..." >&2; exit 1; }
  # an interpreter that has torch lends it to the environment
  if "$python" -c 'import importlib.util, sys; sys.exit(importlib.util.find_spec("torch") is None)'; then
    "$python" -m venv --system-site-packages "$venv"
  else
    "$python" -m venv "$venv"
  fi
fi

run="$venv/bin/python"
pip() { "$run" -m pip --disable-pip-version-check "$@"; }
# Python compiles at its first import what is imported; pip would compile all there is, most of which never is.
install() { pip install --quiet --no-compile "$@"; }

if ! "$run" -c 'import torch' 2> /dev/null; then
  # pip prefers a CPU build (2.13.0+cpu) where it is offered one; PyPI's own Linux wheels hold CUDA (gigabytes):
  # PIP_EXTRA_INDEX_URL=https://download.pytorch.org/whl/cpu spares them
  install "torch==$torch"
fi
"$run" -c 'import torch; print("torch", torch.__version__)'

# cmake and ninja from PyPI: a bare machine has neither
install 'setuptools>=77' wheel 'cmake>=3.22' ninja build
PATH="$(cd "$venv/bin" && pwd):$PATH"
[ -d /usr/include/eigen3 ] || install 'cmeel-eigen>=3.4,<4'

# The compiler works while pip installs what tests and lint need; its output comes when it has ended.
mkdir -p build
flock build/.lock "$run" setup.py -q build_ext --inplace > build/environment.log 2>&1 &
compiler=$!
"$run" build_tools/requirements.py test lint docs > build/requirements.txt
install -r build/requirements.txt
wait "$compiler" || { cat build/environment.log >&2; exit 1; }
# one call, so that pip takes what they need of one another from here
editable=(-e '.[test,lint,docs]')
for integration in integrations/*/pyproject.toml; do
  [ -f "$integration" ] && editable+=(-e "./$(dirname "$integration")")
done
install --no-build-isolation "${editable[@]}"
