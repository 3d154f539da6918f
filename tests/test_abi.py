"""One library for every torch since 2.10 and every Python: no symbol of either's unstable ABI."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vtcd_ops.ops import library

ROOT = Path(__file__).parents[1]
LIBRARIES = [library.library_path(name) for name in library.INSTRUCTION_SETS]
CUDA_LIBRARY = library.library_path("cuda")
# at::, c10:: and torch:: classes and functions in mangled names; torch's stable headers are inlined
# into the library itself, so that an undefined one is a call into the unstable ABI
UNSTABLE = re.compile(r"_Z\w*?(2at|3c10|5torch)[0-9NCEIK]")
# torch 2.10 has only C functions of these prefixes to offer
STABLE = re.compile(r"^(aoti_torch_|torch_)\w+$")


def symbols(library: Path, *options: str) -> list[str]:
    """Names of dynamic symbols, without their versions."""
    nm = subprocess.run(
        ["nm", "--dynamic", *options, str(library)], capture_output=True, text=True, check=True
    )
    return [line.split()[-1].split("@")[0] for line in nm.stdout.splitlines()]


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_no_symbol_of_the_unstable_abi(library: Path) -> None:
    undefined = symbols(library, "--undefined-only")
    assert [name for name in undefined if UNSTABLE.match(name)] == []
    assert any(STABLE.match(name) for name in undefined), "nm sees no call into torch at all"


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_no_python_symbol(library: Path) -> None:
    assert [name for name in symbols(library) if name.startswith(("Py", "_Py"))] == []


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_nothing_of_eigen_or_the_core_is_exported(library: Path) -> None:
    exported = symbols(library, "--defined-only", "--extern-only")
    assert [name for name in exported if "vtcd" in name or "Eigen" in name] == []


@pytest.mark.parametrize("library", LIBRARIES, ids=lambda path: path.stem)
def test_no_thread_pool_of_its_own(library: Path) -> None:
    undefined = symbols(library, "--undefined-only")
    assert [
        name for name in undefined if name.startswith(("GOMP_", "omp_", "pthread_create"))
    ] == []


@pytest.mark.skipif(
    not CUDA_LIBRARY.is_file(), reason="no CUDA compiler: the CUDA kernels were NOT built"
)
def test_the_cuda_library_is_for_every_cuda_of_torch() -> None:
    """It brings CUDA's runtime along, and asks torch for one more function, where there is one.

    A library linked to libcudart.so.12, or to libtorch_cuda.so, would not load beside CUDA 13 or
    under a torch without CUDA.
    """
    undefined = symbols(CUDA_LIBRARY, "--undefined-only")
    assert [name for name in undefined if UNSTABLE.match(name)] == []
    assert [name for name in undefined if re.match(r"_*cu(da|[A-Z])", name)] == []
    assert [name for name in symbols(CUDA_LIBRARY) if name.startswith(("Py", "_Py"))] == []
    lines = subprocess.run(
        ["nm", "--dynamic", str(CUDA_LIBRARY)], capture_output=True, text=True, check=True
    ).stdout.splitlines()
    weak = [line.split()[-1] for line in lines if line.split()[0] == "w"]
    assert [name for name in weak if "torch" in name] == ["aoti_torch_get_current_cuda_stream"]
    needed = subprocess.run(
        ["readelf", "--dynamic", str(CUDA_LIBRARY)], capture_output=True, text=True, check=True
    ).stdout
    libraries = set(re.findall(r"\(NEEDED\).*\[(.*?)\.so", needed))
    assert libraries <= {
        "libtorch", "libtorch_cpu", "libstdc++", "libm", "libgcc_s", "libc", "ld-linux-x86-64",
        "libdl", "librt", "libpthread",
    }  # fmt: skip
    assert "libtorch" in libraries  # which leads to libtorch_cuda


def test_the_pattern_sees_unstable_symbols() -> None:
    for name in ("_ZN2at5emptyEv", "_ZN3c105ErrorC1Ev", "_ZNK2at6Tensor3dimEv"):
        assert UNSTABLE.match(name), name
    for name in ("_ZNSt6thread4joinEv", "aoti_torch_get_dim", "_ZdlPvm"):
        assert not UNSTABLE.match(name), name


def test_the_wheel_is_for_every_python(tmp_path: Path) -> None:
    """Only the tag: the libraries of the checkout are compiled by other tests already."""
    if not (ROOT / "setup.py").is_file() or shutil.which("cmake") is None:
        pytest.skip("needs a checkout and cmake to ask setup.py for the wheel's tag")
    code = (
        "import sys, runpy, setuptools, pathlib; sys.argv = ['setup.py', '--version']\n"
        "command = runpy.run_path('setup.py')['AnyPythonWheel'](setuptools.Distribution())\n"
        "command.ensure_finalized(); command.root_is_pure = False; print(*command.get_tag())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    )  # fmt: skip
    python_tag, abi_tag, platform_tag = done.stdout.splitlines()[-1].split()
    assert (python_tag, abi_tag) == ("py3", "none")
    assert platform_tag.startswith("linux_")
