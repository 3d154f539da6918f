"""The build finds the user's torch and Eigen, and asks only for what is missing."""

from __future__ import annotations

import importlib
import shutil
import sys
from pathlib import Path
from types import ModuleType

import pytest
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def locate(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "build_tools"))
    for variable in ("VTCD_TORCH_DIR", "EIGEN3_INCLUDE_DIR"):
        monkeypatch.delenv(variable, raising=False)
    return importlib.reload(importlib.import_module("vtcd_locate"))


@pytest.fixture
def backend(locate: ModuleType) -> ModuleType:
    return importlib.import_module("vtcd_backend")


def make_torch(folder: Path, version: str, headers: bool = True) -> Path:
    """A folder that looks like torch to the build."""
    header = folder / "include/torch/csrc/stable/library.h"
    header.parent.mkdir(parents=True)
    if headers:
        header.touch()
    (folder / "version.py").write_text(f"__version__ = '{version}'\n")
    return folder


def test_the_torch_of_this_environment_is_found(locate: ModuleType) -> None:
    assert locate.find_torch() == Path(torch.__file__).parent


def test_torch_is_found_without_importing_it(
    locate: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As inside pip's isolated build environment, where sys.path does not lead to it."""
    monkeypatch.setattr(locate.importlib.util, "find_spec", lambda name: None)
    assert locate.find_torch() == Path(torch.__file__).parent


def test_the_users_choice_comes_first(
    locate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("VTCD_TORCH_DIR", str(make_torch(tmp_path / "torch", "2.11.0+cu130")))
    assert locate.find_torch() == tmp_path / "torch"


@pytest.mark.parametrize(
    ("version", "headers"), [("2.9.1", True), ("1.13.0", True), ("2.12.0", False)]
)
def test_a_torch_that_does_not_do_is_passed_over(
    locate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, version: str, headers: bool
) -> None:
    folder = make_torch(tmp_path / "torch", version, headers)
    monkeypatch.setattr(locate, "_torch_candidates", lambda: iter([folder]))
    assert locate.find_torch() is None


def test_eigen_of_a_python_package_is_found(
    locate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    header = tmp_path / "cmeel.prefix/include/eigen3/Eigen/Core"
    header.parent.mkdir(parents=True)
    header.touch()
    monkeypatch.setattr(locate, "EIGEN_PREFIXES", ())
    monkeypatch.delenv("CONDA_PREFIX", raising=False)
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    assert locate.find_eigen() == header.parents[1]


def test_nothing_is_asked_for_that_is_there(
    backend: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(backend, "find_torch", lambda: Path("/torch"))
    monkeypatch.setattr(backend, "find_eigen", lambda: Path("/eigen"))
    assert backend._missing_requirements() == []


def test_what_is_missing_is_asked_for(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(backend, "find_torch", lambda: None)
    monkeypatch.setattr(backend, "find_eigen", lambda: None)
    expected = ["cmake>=3.22", "ninja", "cmeel-eigen>=3.4,<4", "torch>=2.10"]
    assert backend._missing_requirements() == expected
