#!/usr/bin/env bash
# try_wheel.sh PYTHON: try the wheels of dist/, which `make wheel` leaves, in an environment that has torch and what
# pyproject.toml names under `test`: the operators' quick tests, doctor, the demo, and a tutorial; what this writes
# otherwise than its page is shown (another torch may round the model otherwise).
set -euo pipefail
python=$(command -v "$1")
cd "$(dirname "$0")/.."
"$python" -m pip install --quiet --no-deps --force-reinstall --disable-pip-version-check dist/*.whl
bin=$("$python" -c 'import sysconfig; print(sysconfig.get_path("scripts"))')
export HF_HUB_OFFLINE=1
root=$PWD page=which_concepts.md

# from a folder without vtcd_ops/, so that the installed wheel is what is tried
tried=$(mktemp -d)
trap 'rm -rf "$tried"' EXIT
cp -r tests examples conftest.py pyproject.toml "docs/tutorials/$page" "$tried"
cd "$tried"
"$python" -c 'import sys, torch, av, vtcd_ops
print("Python", sys.version.split()[0], "torch", torch.__version__, "av", av.__version__, vtcd_ops.__file__)'
files=(tests/ops/test_{cnmf,concept_mask,cris_accumulate,cris_sample,kmeans,slic3d,tubelet_pool}.py)
"$python" -m pytest -q -p no:cacheprovider -m "not slow" -k "not compil and not export and not inductor" \
  "${files[@]}" tests/test_library.py
"$bin/vtcd" doctor
"$bin/vtcd" demo --out demo
"$python" "$root/build_tools/run_tutorial.py" "$page"
diff "$page" "$root/docs/tutorials/$page" || true
echo "tried: all of it passed"
