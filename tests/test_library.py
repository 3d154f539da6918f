"""Which library is loaded, and how loudly a failure to load one is told."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import vtcd_ops
from vtcd_ops.ops import library


def test_the_best_instruction_set_is_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VTCD_CPU", raising=False)
    for capability, expected in {"DEFAULT": "default", "AVX2": "avx2", "AVX512": "avx512"}.items():
        monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda c=capability: c)
        assert library.select_instruction_set() == expected


def test_an_unknown_capability_gets_the_baseline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("VTCD_CPU", raising=False)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "SVE256")
    assert library.select_instruction_set() == "default"


def test_every_instruction_set_was_built() -> None:
    assert library.built_instruction_sets() == ["default", "avx2", "avx512"]


def test_a_wrong_choice_is_an_import_error() -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import vtcd_ops"],
        env=os.environ | {"VTCD_CPU": "sse9"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    expected = "ImportError: vtcd_ops: VTCD_CPU expected one of default, avx2, avx512, got 'sse9'"
    assert done.stderr.splitlines()[-1] == expected


def test_a_missing_library_is_an_import_error_with_the_mending_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    monkeypatch.setattr(library, "library_path", lambda name: tmp_path / f"_C_{name}.so")
    with pytest.raises(ImportError, match=r"does not exist: it was not built\. .*pip install"):
        library.load()


def test_a_broken_library_is_an_import_error_with_its_cause(
    monkeypatch: pytest.MonkeyPatch, tmp_path: object
) -> None:
    broken = tmp_path / "_C_default.so"
    broken.write_bytes(b"not a library")
    monkeypatch.setattr(library, "library_path", lambda name: broken)
    with pytest.raises(ImportError, match=r"needs torch >= 2\.10 \(.*\)\. Rebuild it with: pip"):
        library.load()


def test_one_library_of_the_cpu_is_loaded_beside_that_of_cuda() -> None:
    assert vtcd_ops.INSTRUCTION_SET in library.INSTRUCTION_SETS
    loaded = [path for path in torch.ops.loaded_libraries if "_C_" in path]
    cuda = library.library_path("cuda")
    expected = [library.library_path(vtcd_ops.INSTRUCTION_SET), *([cuda] if cuda.is_file() else [])]
    assert sorted(loaded) == sorted(map(str, expected))


def test_what_is_dear_to_import_waits_for_its_first_use() -> None:
    """Scipy's parts and the libraries of the extras would double the time of every command."""
    listed = "import sys, vtcd_ops; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", listed], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    dear = {"scipy.stats", "scipy.optimize", "sklearn", "skimage", "transformers", "matplotlib"}
    assert "torch" in loaded
    assert not loaded & dear
