"""A few of the random calls of `operator_fuzzer.py`, by another seed than the documented ones."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from ops.operator_fuzzer import call_of
from ops.test_wrong_calls import KERNELS

FUZZER = Path(__file__).with_name("operator_fuzzer.py")


def test_random_calls_give_results_or_name_operator_and_argument() -> None:
    call = [sys.executable, "-W", "ignore", str(FUZZER), "--calls", "1500", "--seed", "20"]
    done = subprocess.run(call, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    counts = json.loads(done.stdout.splitlines()[-1])
    assert counts["result"] > 300
    assert counts["error"] > 500


def test_calls_depend_on_their_number_alone() -> None:
    (op, first), (other, second) = call_of(3, 12), call_of(3, 12)
    assert op == other
    assert repr(first) == repr(second)
    assert {call_of(3, number)[0] for number in range(300)} == set(KERNELS)


def test_a_search_without_values_is_refused() -> None:
    offsets = torch.tensor([0, 2, 4])
    meta = [x.to("meta") for x in (torch.arange(12), torch.tensor([0, 1, 3]), offsets)]
    with pytest.raises(ValueError, match="rosetta_search: supports expected a tensor with values"):
        torch.ops.vtcd.rosetta_search(*meta)
