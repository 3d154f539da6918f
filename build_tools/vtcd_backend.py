"""PEP 517 backend: setuptools, plus the build requirements that this machine lacks.

Asking for torch in ``build-system.requires`` would download the newest CUDA build into every
isolated build, whatever the user has installed; so torch is asked for only where none is found.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403
from vtcd_locate import find_eigen, find_nvcc, find_torch, torch_cuda

# CUDA's compiler in five packages, whose versions must be of one release
CUDA_COMPILER = [
    f"nvidia-{name}==13.0.*"
    for name in ("cuda-nvcc", "cuda-crt", "nvvm", "cuda-runtime", "cuda-cccl")
]

ConfigSettings = dict[str, str | list[str] | None]


def _missing_requirements() -> list[str]:
    torch_dir, eigen_dir = find_torch(), find_eigen()
    missing = {
        "cmake>=3.22": shutil.which("cmake") is None,
        "ninja": shutil.which("ninja") is None,
        "cmeel-eigen>=3.4,<4": eigen_dir is None,
        "torch>=2.10": torch_dir is None,
    }
    requirements = [requirement for requirement, is_missing in missing.items() if is_missing]
    cuda, compiler = _cuda_part(torch_dir)
    requirements += compiler
    print(
        f"vtcd_ops build: torch {torch_dir}, Eigen {eigen_dir}, {cuda}, fetching {requirements}",
        flush=True,
    )
    return requirements


def _cuda_part(torch_dir: Path | None) -> tuple[str, list[str]]:
    """Say whether the CUDA kernels are built, and return what has to be fetched for them."""
    if "-DVTCD_CUDA=OFF" in os.environ.get("CMAKE_ARGS", ""):
        return "for the CPU only, as CMAKE_ARGS says", []
    if nvcc := find_nvcc():
        return f"for CPU and CUDA by {nvcc}", []
    if torch_dir is None or torch_cuda(torch_dir) is None:
        return "for the CPU only: no nvcc, and this torch has no CUDA", []
    return "for CPU and CUDA by an nvcc from PyPI", CUDA_COMPILER


def get_requires_for_build_wheel(config_settings: ConfigSettings | None = None) -> list[str]:
    """Return the requirements of a wheel build (PEP 517)."""
    return build_meta.get_requires_for_build_wheel(config_settings) + _missing_requirements()


def get_requires_for_build_editable(config_settings: ConfigSettings | None = None) -> list[str]:
    """Return the requirements of an editable install (PEP 660)."""
    return build_meta.get_requires_for_build_editable(config_settings) + _missing_requirements()
