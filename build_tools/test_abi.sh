#!/usr/bin/env bash
# test_abi.sh VENV OTHER TORCH: build a wheel in VENV with the torch there, install that very wheel into the environment
# OTHER (made where there is none) beside another TORCH, and run the operators' tests on it.
set -euo pipefail
venv=$1 other=$2 torch=$3
cd "$(dirname "$0")/.."

PATH="$(cd "$venv/bin" && pwd):$PATH" "$venv/bin/python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir build/wheel .
wheel=$(ls -t build/wheel/*.whl | head -n 1)
"$venv/bin/python" -c "import torch; print('built with torch', torch.__version__, '->', '$wheel')"

[ -x "$other/bin/python" ] || "${PYTHON:-python3}" -m venv "$other"
"$other/bin/python" -m pip install --quiet --disable-pip-version-check "torch==$torch"
"$other/bin/python" -m pip install --quiet --disable-pip-version-check pytest hypothesis scikit-image scikit-learn
"$other/bin/python" -m pip install --quiet --disable-pip-version-check --force-reinstall --no-deps "$wheel"
"$other/bin/python" -m pip install --quiet --disable-pip-version-check "$wheel"
other=$(cd "$other" && pwd)

# from a folder without vtcd_ops/, so that the installed wheel is what is tested
rm -rf build/installed && mkdir -p build/installed && cp -r tests examples conftest.py pyproject.toml build/installed/
cd build/installed
"$other/bin/python" -c "import torch, vtcd_ops; print('tested with torch', torch.__version__, vtcd_ops.__file__)"
exec "$other/bin/python" -m pytest -q tests/ops tests/test_library.py
