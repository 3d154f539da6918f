"""What is packed: an sdist holds all that the libraries are made of, a wheel none of it."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = {".cpp", ".h", ".cu", ".cuh"}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what is packed, because setuptools writes beside it."""
    copy = tmp_path_factory.mktemp("checkout")
    ignored = shutil.ignore_patterns("*.so", "__pycache__")
    for name in ("vtcd_ops", "build_tools"):
        shutil.copytree(ROOT / name, copy / name, ignore=ignored)
    for name in ("setup.py", "pyproject.toml", "MANIFEST.in", "CMakeLists.txt", "README.md",
                 "CHANGELOG.md", "LICENSE"):  # fmt: skip
        shutil.copy(ROOT / name, copy / name)
    return copy


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
    tools = {str(path.relative_to(ROOT)) for path in (ROOT / "build_tools").glob("*.*")}
    assert (tools | {"CMakeLists.txt", "LICENSE", "pyproject.toml"}) - names == set()


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
