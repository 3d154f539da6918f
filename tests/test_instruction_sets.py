"""The operators on every instruction set that this CPU has: each in a process of its own.

A process can load one library only; so this runs the operators' own tests again, with ``VTCD_CPU``
set.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import vtcd_ops

TESTS = Path(__file__).parent / "ops"
CAPABILITIES = {"default": "DEFAULT", "avx2": "AVX2", "avx512": "AVX512"}
# Tests of what no instruction set can change: of Python, checks, other devices, torch's compilers.
OF_PYTHON = ["*_cuda.py", "*_errors.py", "test_wrong_calls.py", "test_choose_num_concepts.py",
             "test_learn_a_mask.py", "test_out_of_memory.py"]  # fmt: skip
OF_TORCH = "compil or export or opcheck"
OF_ALL = "test_instruction_set_does_not_matter"  # compares them itself
# what this very run uses, tests/ops has tested
OTHERS = [name for name in CAPABILITIES if name != vtcd_ops.INSTRUCTION_SET]


def run(instruction_set: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=os.environ | {"VTCD_CPU": instruction_set},
        capture_output=True,
        text=True,
        check=False,
    )


def skip_where_lacking(instruction_set: str) -> None:
    order = list(CAPABILITIES.values())
    capability = torch.backends.cpu.get_cpu_capability()
    best = order.index(capability) if capability in order else 0
    if order.index(CAPABILITIES[instruction_set]) > best:
        pytest.skip(f"this CPU has {capability}, not {instruction_set}: its library was NOT tested")


@pytest.mark.parametrize("instruction_set", CAPABILITIES)
def test_the_library_asked_for_is_loaded(instruction_set: str) -> None:
    skip_where_lacking(instruction_set)
    done = run(instruction_set, "-c", "import vtcd_ops; print(vtcd_ops.INSTRUCTION_SET)")
    assert (done.stdout.strip(), done.stderr) == (instruction_set, "")


@pytest.mark.slow
@pytest.mark.parametrize("instruction_set", OTHERS)
def test_the_operators_pass_their_tests(instruction_set: str) -> None:
    skip_where_lacking(instruction_set)
    left_out = [f"--ignore-glob={TESTS}/{name}" for name in OF_PYTHON]
    chosen = ["-m", "not slow", "-k", f"not ({OF_TORCH} or {OF_ALL})", *left_out]
    done = run(instruction_set, "-m", "pytest", "-q", *chosen, "-p", "no:cacheprovider", str(TESTS))
    closing = done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr
    assert done.returncode == 0, done.stdout[-5000:]
    assert re.search(r"\d+ passed", closing), closing
