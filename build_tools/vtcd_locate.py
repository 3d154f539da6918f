"""Find what the build needs, PyTorch's headers, Eigen's and nvcc, without importing torch.

This also works inside pip's isolated build environment, which hides the interpreter's
site-packages from ``sys.path`` but keeps the interpreter itself.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MIN_TORCH = (2, 10)
USUAL_NVCC = "/usr/local/cuda/bin/nvcc"
EIGEN_PREFIXES = ("/usr", "/usr/local", "/opt/homebrew")


def _site_packages() -> Iterator[Path]:
    """Folders that may hold the user's torch, the most specific first."""
    for scheme in ("platlib", "purelib"):
        yield Path(sysconfig.get_path(scheme))
    yield from map(Path, site.getsitepackages())
    if site.ENABLE_USER_SITE is not None:
        yield Path(site.getusersitepackages())
    virtual_env = os.environ.get("VIRTUAL_ENV")  # uv and `python -m build` use a fresh environment
    if virtual_env:
        version = f"python{sys.version_info.major}.{sys.version_info.minor}"
        yield from Path(virtual_env).glob(f"lib*/{version}/site-packages")


def _torch_candidates() -> Iterator[Path]:
    if os.environ.get("VTCD_TORCH_DIR"):
        yield Path(os.environ["VTCD_TORCH_DIR"])
    spec = importlib.util.find_spec("torch")  # the build environment, or no isolation at all
    if spec and spec.origin:
        yield Path(spec.origin).parent
    for folder in _site_packages():
        yield folder / "torch"


def torch_version(torch_dir: Path) -> tuple[int, int]:
    """Return (major, minor) of the torch package in a folder, (0, 0) where it cannot be read."""
    version_file = torch_dir / "version.py"
    if not version_file.is_file():
        return 0, 0
    match = re.search(r"__version__\s*=\s*['\"](\d+)\.(\d+)", version_file.read_text())
    return (int(match[1]), int(match[2])) if match else (0, 0)


def find_torch() -> Path | None:
    """Return the folder of a torch package that has the stable ABI's headers, or None."""
    for torch_dir in _torch_candidates():
        has_headers = (torch_dir / "include/torch/csrc/stable/library.h").is_file()
        if has_headers and torch_version(torch_dir) >= MIN_TORCH:
            return torch_dir
    return None


def find_eigen() -> Path | None:
    """Return the include folder of Eigen 3.4: the system's, conda's or cmeel-eigen's, or None."""
    if os.environ.get("EIGEN3_INCLUDE_DIR"):
        return Path(os.environ["EIGEN3_INCLUDE_DIR"])
    prefixes = [*EIGEN_PREFIXES, sys.prefix, os.environ.get("CONDA_PREFIX", sys.prefix)]
    places = [Path(prefix) / "include/eigen3" for prefix in prefixes]
    places += [Path(path) / "cmeel.prefix/include/eigen3" for path in sys.path]
    return next((place for place in places if (place / "Eigen/Core").is_file()), None)


def torch_cuda(torch_dir: Path) -> str | None:
    """Return the version of CUDA that a torch package was built with, None for a CPU build."""
    version_file = torch_dir / "version.py"
    text = version_file.read_text() if version_file.is_file() else ""
    match = re.search(r"^cuda\b[^=\n]*=\s*['\"](\d[\d.]*)['\"]", text, re.MULTILINE)
    return match[1] if match else None


def find_nvcc() -> Path | None:
    """Return CUDA's compiler: as told, on the path, in its usual places or from PyPI; or None."""
    places = [os.environ.get("CUDACXX"), shutil.which("nvcc")]
    for variable in ("CUDA_HOME", "CUDA_PATH"):
        places.append(os.environ.get(variable) and f"{os.environ[variable]}/bin/nvcc")
    places.append(USUAL_NVCC)
    places += [f"{path}/nvidia/cu13/bin/nvcc" for path in sys.path]
    return next((Path(place) for place in places if place and Path(place).is_file()), None)


def cuda_environment() -> dict[str, str]:
    """Return the variables by which CMake finds `find_nvcc` and its libraries; none without it."""
    nvcc = find_nvcc()
    if nvcc is None:
        return {}
    found = {"CUDACXX": str(nvcc)}
    libraries = nvcc.parents[1] / "lib"  # of the packages from PyPI, which nvcc does not look into
    if (libraries / "libcudart_static.a").is_file():
        found["CUDAFLAGS"] = f"{os.environ.get('CUDAFLAGS', '')} -L{libraries}".strip()
    return found
