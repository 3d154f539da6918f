"""What is packed: an sdist holds all that the libraries are made of, a wheel none of it."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

ROOT = Path(__file__).parents[1]
SOURCES = {".cpp", ".h", ".cu", ".cuh"}
AT_THE_TOP = ("pyproject.toml", "CMakeLists.txt", "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md",
              "LICENSE", "LICENCES.md", "Makefile", "SECURITY.md", "conftest.py")  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packed, because setuptools writes beside it."""
    copy = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("vtcd_ops", "build_tools", "tests", "examples"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("setup.py", "MANIFEST.in", "README.md", *AT_THE_TOP):
        shutil.copy(ROOT / name, copy / name)
    return copy


def load_checker() -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        "check_wheel", ROOT / "build_tools/check_wheel.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run_setup(checkout: Path, *arguments: str | Path) -> None:
    subprocess.run(
        [sys.executable, "setup.py", "-q", *arguments], cwd=checkout, check=True,
        capture_output=True,
    )  # fmt: skip


def test_an_sdist_holds_the_sources(checkout: Path, tmp_path: Path) -> None:
    run_setup(checkout, "sdist", "--dist-dir", tmp_path)
    [archive] = tmp_path.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    sources = {
        str(path.relative_to(ROOT))
        for path in (ROOT / "vtcd_ops").rglob("*")
        if path.suffix in SOURCES | {".py"}
    }
    assert {Path(name).suffix for name in sources} == SOURCES | {".py"}
    assert sources - names == set()
    beside = {
        str(path.relative_to(ROOT))
        for folder in ("build_tools", "tests", "examples")
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert (beside | set(AT_THE_TOP)) - names == set()
    assert not any("__pycache__" in name or name.endswith(".so") for name in names)


def test_a_wheel_holds_no_sources(checkout: Path, tmp_path: Path) -> None:
    run_setup(checkout, "build_py", "--build-lib", tmp_path)
    names = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert {Path(name).suffix for name in names} & SOURCES == set()
    packed = {path.relative_to(tmp_path) for path in tmp_path.rglob("*.py")}
    assert packed == {path.relative_to(ROOT) for path in (ROOT / "vtcd_ops").rglob("*.py")}
    assert "py.typed" in names
    for folder in ("templates", "static"):
        kept = {path.name for path in (tmp_path / "vtcd_ops/reporting" / folder).iterdir()}
        assert kept == {path.name for path in (ROOT / "vtcd_ops/reporting" / folder).iterdir()}


LIBRARIES = [f"vtcd_ops/_C_{name}.so" for name in ("default", "avx2", "avx512", "cuda")]
LICENCES = [f"x.dist-info/licenses/{name}" for name in ("LICENSE", "LICENCES.md")]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (LIBRARIES + LICENCES, "vtcd_ops-1.whl: 0.0 MB, for CPU and CUDA"),
        (LIBRARIES[1:] + LICENCES, "vtcd_ops-1.whl: vtcd_ops/_C_default.so is missing"),
        (
            LIBRARIES[:3] + LICENCES,
            "vtcd_ops-1.whl: vtcd_ops/_C_cuda.so is missing, though nvcc is there",
        ),
        (LIBRARIES + LICENCES[:1], "vtcd_ops-1.whl: LICENCES.md is missing"),
        ([*LIBRARIES, *LICENCES, "vtcd_ops/a.cuh"], "vtcd_ops-1.whl: vtcd_ops/a.cuh is a source"),
        (["vtcd_tcow/a.py", *LICENCES[:1]], "vtcd_tcow-1.whl: 0.0 MB"),
        (["vtcd_tcow/a.py"], "vtcd_tcow-1.whl: LICENSE is missing"),
    ],
)
def test_a_wheel_is_looked_into(names: list[str], expected: str, tmp_path: Path) -> None:
    wheel = tmp_path / expected.partition(":")[0]
    with zipfile.ZipFile(wheel, "w") as archive:
        for name in names:
            archive.writestr(name, "")
    try:
        said = load_checker().check(wheel, cuda=True)
    except SystemExit as error:
        said = str(error)
    assert said == expected


def test_a_wheel_that_is_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with zipfile.ZipFile(tmp_path / "vtcd_ops-1.whl", "w") as archive:
        for name in LIBRARIES + LICENCES:
            archive.writestr(name, "x" * 1000)
    checker = load_checker()
    monkeypatch.setattr(checker, "LARGEST", 4e3)
    with pytest.raises(SystemExit, match="is more than 0 MB"):
        checker.check(tmp_path / "vtcd_ops-1.whl", cuda=True)


@pytest.mark.parametrize("name", sorted(one.name for one in (ROOT / "integrations").iterdir()))
def test_an_integration_ships_its_licence_and_its_data(name: str) -> None:
    """Each is a wheel of its own, which has to bring the licence along."""
    folder = ROOT / "integrations" / name
    assert (folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()
    with (folder / "pyproject.toml").open("rb") as file:
        project = tomllib.load(file)
    assert project["project"]["license-files"] == ["LICENSE"]
    [package] = project["tool"]["setuptools"]["package-data"]
    packed = {
        path
        for pattern in project["tool"]["setuptools"]["package-data"][package]
        for path in (folder / package).glob(pattern)
    }
    data = {
        path
        for path in (folder / package).rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    assert data - packed == set()
