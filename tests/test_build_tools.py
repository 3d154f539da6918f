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
    monkeypatch.setattr(backend, "find_nvcc", lambda: Path("/cuda/bin/nvcc"))
    assert backend._missing_requirements() == []


def test_what_is_missing_is_asked_for(backend: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(backend, "find_torch", lambda: None)
    monkeypatch.setattr(backend, "find_eigen", lambda: None)
    monkeypatch.setattr(backend, "find_nvcc", lambda: None)
    expected = ["cmake>=3.22", "ninja", "cmeel-eigen>=3.4,<4", "torch>=2.10"]
    assert backend._missing_requirements() == expected


COMPILER = [
    "nvidia-cuda-nvcc==13.0.*", "nvidia-cuda-crt==13.0.*", "nvidia-nvvm==13.0.*",
    "nvidia-cuda-runtime==13.0.*", "nvidia-cuda-cccl==13.0.*",
]  # fmt: skip


@pytest.mark.parametrize(
    ("cuda", "nvcc", "arguments", "expected", "said"),
    [
        ("'13.0'", None, "", COMPILER, "for CPU and CUDA by an nvcc from PyPI"),
        ("'12.8'", None, "-DVTCD_CUDA=OFF", [], "for the CPU only, as CMAKE_ARGS says"),
        ("'13.0'", "/cuda/bin/nvcc", "", [], "for CPU and CUDA by /cuda/bin/nvcc"),
        ("None", "/cuda/bin/nvcc", "", [], "for CPU and CUDA by /cuda/bin/nvcc"),
        ("None", None, "", [], "for the CPU only: no nvcc, and this torch has no CUDA"),
    ],
)
def test_the_compiler_of_cuda_is_asked_for_where_torch_has_cuda_alone(
    backend: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    cuda: str,
    nvcc: str | None,
    arguments: str,
    expected: list[str],
    said: str,
) -> None:
    torch_dir = make_torch(tmp_path / "torch", "2.14.1")
    with (torch_dir / "version.py").open("a") as file:
        file.write(f"cuda: Optional[str] = {cuda}\nhip: Optional[str] = '6.0'\n")
    monkeypatch.setattr(shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(backend, "find_torch", lambda: torch_dir)
    monkeypatch.setattr(backend, "find_eigen", lambda: Path("/eigen"))
    monkeypatch.setattr(backend, "find_nvcc", lambda: nvcc and Path(nvcc))
    monkeypatch.setenv("CMAKE_ARGS", arguments)
    assert backend._missing_requirements() == expected
    assert f", {said}, fetching" in capsys.readouterr().out


def test_the_compiler_of_the_packages_is_found_with_its_libraries(
    locate: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for file in ("bin/nvcc", "lib/libcudart_static.a"):
        path = tmp_path / "nvidia/cu13" / file
        path.parent.mkdir(parents=True)
        path.touch()
    for variable in ("CUDACXX", "CUDA_HOME", "CUDA_PATH", "CUDAFLAGS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(locate, "USUAL_NVCC", str(tmp_path / "none"))
    assert locate.cuda_environment() == {}
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    root = tmp_path / "nvidia/cu13"
    assert locate.cuda_environment() == {
        "CUDACXX": str(root / "bin/nvcc"),
        "CUDAFLAGS": f"-L{root}/lib",
    }
    monkeypatch.setenv("CUDACXX", str(tmp_path / "nvidia/cu13/bin/nvcc"))
    monkeypatch.setattr(sys, "path", [])
    assert locate.find_nvcc() == root / "bin/nvcc"


def test_requirements_are_all_but_the_projects_themselves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`make env` installs them while the operators are compiled, so before the packages."""
    monkeypatch.syspath_prepend(str(ROOT / "build_tools"))
    requirements = importlib.import_module("requirements").requirements
    (tmp_path / "integrations/some").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "own"\ndependencies = ["torch>=2.10"]\n'
        '[project.optional-dependencies]\ntest = ["pytest<9"]\nlint = ["own[test]", "ruff==1"]\n'
    )
    (tmp_path / "integrations/some/pyproject.toml").write_text(
        '[project]\nname = "own-some"\ndependencies = ["own>=1", "tqdm", "torch>=2.10"]\n'
    )
    assert requirements(tmp_path, []) == ["torch>=2.10", "tqdm"]
    assert requirements(tmp_path, ["test", "lint"]) == [
        "pytest<9", "ruff==1", "torch>=2.10", "tqdm",
    ]  # fmt: skip
