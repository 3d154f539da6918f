"""Find what the build needs, PyTorch's headers and Eigen's, without importing torch.

This also works inside pip's isolated build environment, which hides the interpreter's
site-packages from ``sys.path`` but keeps the interpreter itself.
"""

from __future__ import annotations

import importlib.util
import os
import re
import site
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

MIN_TORCH = (2, 10)
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
