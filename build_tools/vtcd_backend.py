"""PEP 517 backend: setuptools, plus the build requirements that this machine lacks.

Asking for torch in ``build-system.requires`` would download the newest CUDA build into every
isolated build, whatever the user has installed; so torch is asked for only where none is found.
"""

from __future__ import annotations

import shutil

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403
from vtcd_locate import find_eigen, find_torch

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
    print(
        f"vtcd_ops build: torch {torch_dir}, Eigen {eigen_dir}, fetching {requirements}", flush=True
    )
    return requirements


def get_requires_for_build_wheel(config_settings: ConfigSettings | None = None) -> list[str]:
    """Return the requirements of a wheel build (PEP 517)."""
    return build_meta.get_requires_for_build_wheel(config_settings) + _missing_requirements()


def get_requires_for_build_editable(config_settings: ConfigSettings | None = None) -> list[str]:
    """Return the requirements of an editable install (PEP 660)."""
    return build_meta.get_requires_for_build_editable(config_settings) + _missing_requirements()
