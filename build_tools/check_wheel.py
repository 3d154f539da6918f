"""Look into a wheel: `check_wheel.py WHEEL` says what it holds, or what is wrong with it."""

from __future__ import annotations

import shutil
import sys
import zipfile
from pathlib import Path

LARGEST = 30e6  # bytes
LIBRARIES = {f"vtcd_ops/_C_{name}.so" for name in ("default", "avx2", "avx512")}
CUDA_LIBRARY = "vtcd_ops/_C_cuda.so"
SOURCES = (".cpp", ".h", ".cu", ".cuh")
LICENCES = ("LICENSE", "LICENCES.md")
OPERATORS = "vtcd_ops-"  # how the name of their wheel begins; the others are of integrations


def check(wheel: Path, *, cuda: bool) -> str:
    """Return what a wheel holds.

    Args:
        wheel: the file.
        cuda: whether it has to hold the kernels of a GPU.

    Raises:
        SystemExit: it is too large, lacks a library or a licence, or holds sources.
    """
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    of_operators = wheel.name.startswith(OPERATORS)
    wrong = [f"{name} is missing" for name in sorted(LIBRARIES - names) if of_operators]
    if of_operators and cuda and CUDA_LIBRARY not in names:
        wrong.append(f"{CUDA_LIBRARY} is missing, though nvcc is there")
    wrong += [f"{name} is a source" for name in sorted(names) if name.endswith(SOURCES)]
    found = {Path(name).name for name in names if "/licenses/" in name}
    licences = LICENCES if of_operators else LICENCES[:1]
    wrong += [f"{name} is missing" for name in licences if name not in found]
    size = wheel.stat().st_size
    if size > LARGEST:
        wrong.append(f"{size / 1e6:.1f} MB is more than {LARGEST / 1e6:.0f} MB")
    if wrong:
        raise SystemExit(f"{wheel.name}: " + "; ".join(wrong))
    held = ", for CPU and CUDA" if CUDA_LIBRARY in names else ", for CPU" if of_operators else ""
    return f"{wheel.name}: {size / 1e6:.1f} MB{held}"


if __name__ == "__main__":
    for file in sys.argv[1:]:
        print(check(Path(file), cuda=shutil.which("nvcc") is not None))
