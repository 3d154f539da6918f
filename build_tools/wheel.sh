#!/usr/bin/env bash
# wheel.sh VENV: make the sdist and, from it, the wheel in dist/, look into both, and try the wheel and those of the
# integrations in a fresh environment, which borrows torch and the other dependencies of VENV: doctor and demo.
set -euo pipefail
venv=$(cd "$1" && pwd)
cd "$(dirname "$0")/.."
run="$venv/bin/python"
export PATH="$venv/bin:$PATH"

rm -rf dist build/wheel
"$run" -m build --no-isolation --outdir dist .
"$run" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir dist ./integrations/*/
"$run" build_tools/check_wheel.py dist/*.whl

"$run" -m venv build/wheel
lent=$("$run" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$lent" > "$(build/wheel/bin/python -c 'import sysconfig; print(sysconfig.get_path("purelib"))')/lent.pth"
build/wheel/bin/python -m pip install --quiet --no-deps --disable-pip-version-check dist/*.whl
vtcd=$PWD/build/wheel/bin/vtcd
# from a folder without vtcd_ops/, so that the installed wheel is what is tried
cd build/wheel
bin/python -c 'import vtcd_ops; print("tried:", vtcd_ops.__file__)' | grep build/wheel
"$vtcd" doctor
"$vtcd" demo --out demo
ls -l ../../dist
