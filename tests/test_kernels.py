"""What the assembler says of the CUDA kernels: read rightly, and nothing spills."""

from __future__ import annotations

import importlib
import re
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
LOG = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function '_ZN4vtcd4cuda3sumIfEEvPKf' for 'sm_80'
ptxas info    : Function properties for _ZN4vtcd4cuda3sumIfEEvPKf
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 38 registers, used 1 barriers, 1040 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function '_ZN4vtcd4cuda3sumIfEEvPKf' for 'sm_90a'
ptxas info    : Function properties for _ZN4vtcd4cuda3sumIfEEvPKf
    16 bytes stack frame, 12 bytes spill stores, 20 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers
ptxas info    : Function properties for _ZN4vtcd4cuda6addendEv
    0 bytes stack frame, 4 bytes spill stores, 6 bytes spill loads
"""


@pytest.fixture
def ptxas(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "build_tools"))
    return importlib.import_module("ptxas")


def test_the_assembler_is_understood(ptxas: ModuleType) -> None:
    first, second = ptxas.demangled(ptxas.usages(LOG))
    assert first == ptxas.Usage("void vtcd::cuda::sum<float>(float const*)", 80, 38, 1040, 0)
    assert (second.architecture, second.registers, second.spilled_bytes) == (90, 255, 42)
    assert second.name == "sum"


@pytest.mark.parametrize(
    ("registers", "shared", "threads", "expected"),
    [
        (32, 0, 1024, 1.0),
        (33, 0, 1024, 0.5),  # 40 a thread, as registers are given
        (255, 0, 256, 0.125),
        (32, 100 << 10, 256, 0.25),
        (32, 0, 32, 0.5),  # 32 blocks at most
    ],
)
def test_occupancy_is_that_of_nvidias_calculator(
    ptxas: ModuleType, registers: int, shared: int, threads: int, expected: float
) -> None:
    assert ptxas.occupancy(ptxas.Usage("k", 90, registers, shared, 0), threads) == expected


def test_a_spill_fails_the_check(
    ptxas: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ptxas, "LOGS", tmp_path)
    assert ptxas.main(["--check"]) == 1
    assert "no CUDA kernel was compiled" in capsys.readouterr().out
    (tmp_path / "sum.cu.o.log").write_text(LOG)
    assert ptxas.main(["--check"]) == 1
    assert "sm_90: void vtcd::cuda::sum<float>(float const*) spills 42" in capsys.readouterr().out
    (tmp_path / "sum.cu.o.log").write_text(re.sub(r"\d+ bytes (?=spill)", "0 bytes ", LOG))
    assert ptxas.main(["--check"]) == 0


def test_what_a_compiler_says_is_kept_and_its_status_returned(tmp_path: Path) -> None:
    command = [ROOT / "build_tools/keep_output.sh", "sh", "-c", "echo said >&2; exit 3", "-o"]
    done = subprocess.run([*command, tmp_path / "a.o"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (3, "said\n")
    assert (tmp_path / "a.o.log").read_text() == "said\n"


def test_no_kernel_spills(ptxas: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    build = ptxas.read_build()
    if not build:
        pytest.skip("no CUDA compiler: the CUDA kernels were NOT built")
    sources = {path.stem for path in (ROOT / "vtcd_ops/cuda").glob("*.cu")}
    assert build.keys() == sources
    assert ptxas.main(["--check"]) == 0, capsys.readouterr().out


def test_block_sizes_are_read_from_the_sources(
    ptxas: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "some.cuh").write_text(
        "inline constexpr unsigned kWarps = 4;\n"
        "inline constexpr unsigned kThreads = kWarps * 32;\n"
        "__global__ void __launch_bounds__(kThreads, 2)\n    first(int x) {}\n"
        "__global__ void __launch_bounds__(2 * kThreads) second(int x) {}\n"
        "__global__ void __launch_bounds__(Other::kThreads) third(int x) {}\n"
    )
    monkeypatch.setattr(ptxas, "SOURCES", tmp_path)
    assert ptxas.block_sizes() == {"first": 128, "second": 256}
