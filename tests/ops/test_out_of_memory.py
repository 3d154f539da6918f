"""What asks for more memory than there is: an error that names operator and argument.

Expanded tensors are as large as one likes and take no memory; a copy of them, or an output as
large, does. What an operator needs in between is refused by a limit on the process.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

import vtcd_ops

MOST = 2**47  # more bytes than a process can address
TOO_LARGE = "expected a size that memory suffices for, got"
NO_OUTPUT = "expected an output that fits into memory, got"
VOLUMES = torch.ones(1, 1, 1, 1, 1)


def many(shape: list[int], dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros((), dtype=dtype).expand(shape)


LABELS = many([MOST], torch.int64)
CALLS: dict[str, tuple[Callable[[], Any], str]] = {
    "slic3d, many channels": (
        lambda: vtcd_ops.slic3d(many([1, MOST, 1, 1, 1]), (1, 1, 1)),
        f"slic3d: features {TOO_LARGE} [1, {MOST}, 1, 1, 1]",
    ),
    "slic3d, many volumes": (
        lambda: vtcd_ops.slic3d(many([MOST, 1, 1, 1, 1]), (1, 1, 1)),
        f"slic3d: size {NO_OUTPUT} [{MOST}, 1, 1, 1]",
    ),
    "tubelet_pool, many channels": (
        lambda: vtcd_ops.tubelet_pool(
            many([1, MOST, 1, 1, 1]), torch.zeros(1, 1, 1, 1, dtype=torch.int64), 1
        ),
        f"tubelet_pool: features {TOO_LARGE} [1, {MOST}, 1, 1, 1]",
    ),
    "tubelet_pool, many voxels": (
        lambda: vtcd_ops.tubelet_pool(VOLUMES, many([1, 2**9, 2**19, 2**19], torch.int64), 1),
        f"tubelet_pool: labels {TOO_LARGE} [1, {2**9}, {2**19}, {2**19}]",
    ),
    "tubelet_pool, many tubelets": (
        lambda: vtcd_ops.tubelet_pool(VOLUMES, torch.zeros(1, 1, 1, 1, dtype=torch.int64), MOST),
        f"tubelet_pool: num_tubelets {NO_OUTPUT} [1, {MOST}, 1]",
    ),
    "tubelet_pool, many tokens": (
        lambda: vtcd_ops.tubelet_pool(
            many([1, 1, MOST, 1, 1]), torch.zeros(1, 1, 1, 1, dtype=torch.int64), 1
        ),
        f"tubelet_pool: features {TOO_LARGE} [1, 1, {MOST}, 1, 1]",
    ),
    "slic3d, many tokens": (
        lambda: vtcd_ops.slic3d(many([1, 1, MOST, 1, 1]), (1, 1, 1)),
        f"slic3d: features {TOO_LARGE} [1, 1, {MOST}, 1, 1]",
    ),
    "cnmf": (
        lambda: vtcd_ops.cnmf(many([MOST, 1]), 1, init=LABELS),
        f"cnmf: data {TOO_LARGE} [{MOST}, 1]",
    ),
    "kmeans": (
        lambda: vtcd_ops.kmeans(many([MOST, 1]), 1),
        f"kmeans: data {TOO_LARGE} [{MOST}, 1]",
    ),
    "silhouette": (
        lambda: vtcd_ops.silhouette(many([MOST, 1]), LABELS),
        f"silhouette: data {TOO_LARGE} [{MOST}, 1]",
    ),
    "concept_mask": (
        lambda: vtcd_ops.concept_mask(
            many([MOST, 1, 1, 1]), torch.zeros(1, 1, 1, dtype=torch.int32), many([MOST, 1])
        ),
        f"concept_mask: x {TOO_LARGE} [{MOST}, 1, 1, 1]",
    ),
    "cris_sample": (
        lambda: vtcd_ops.cris_sample(2, MOST, 0.5, seed=0),
        f"cris_sample: num_masks {NO_OUTPUT} [{MOST}, 2]",
    ),
    "cris_accumulate": (
        lambda: vtcd_ops.cris_accumulate(
            torch.zeros(2, 1, dtype=torch.int64), torch.zeros(2, 1, dtype=torch.float64),
            torch.zeros(2, 1, dtype=torch.float64), many([MOST, 1], torch.bool),
            many([MOST], torch.float64),
        ),
        f"cris_accumulate: keep {TOO_LARGE} [{MOST}, 1]",
    ),
    "rosetta_search": (
        lambda: vtcd_ops.rosetta_search(
            many([2 * MOST], torch.int64), torch.tensor([0, MOST]), torch.tensor([0, 1, 2])
        ),
        f"rosetta_search: supports {TOO_LARGE} [{2 * MOST}]",
    ),
    "rosetta_ratios": (
        lambda: vtcd_ops.rosetta_ratios(
            torch.zeros(2, dtype=torch.int64), torch.tensor([0, 1]), torch.tensor([0, 1, 2]),
            many([MOST, 2], torch.int32),
        ),
        f"rosetta_ratios: tuples {TOO_LARGE} [{MOST}, 2]",
    ),
    "contour_match": (
        lambda: vtcd_ops.contour_match(
            many([MOST, 1, 1], torch.bool), many([MOST, 1, 1], torch.bool), 1
        ),
        f"contour_match: prediction {TOO_LARGE} [{MOST}, 1, 1]",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", CALLS)
def test_larger_than_any_memory(what: str) -> None:
    call, message = CALLS[what]
    with pytest.raises(ValueError, match=rf"^{re.escape(message)}$"):
        call()


def test_many_tokens_of_nothing() -> None:
    """A batch without a volume, or one without channels, is done at once, however many tokens."""
    labels = torch.zeros(0, 1, 1, 1, dtype=torch.int64)
    means, counts = vtcd_ops.tubelet_pool(torch.empty(0, 1, 2**61, 1, 1), labels, 3)
    assert means.shape == (0, 3, 1)
    assert counts.shape == (0, 3)
    backward = torch.ops.vtcd._tubelet_pool_backward
    labels, counts = labels.new_zeros(1, 1, 1, 1), labels.new_zeros(1, 3)
    grad = backward(torch.ones(1, 3, 0), labels, counts, [2**61, 1, 1], "nearest")
    assert grad.shape == (1, 0, 2**61, 1, 1)


# What is given, a call that has memory for its output and not for its work, the megabytes that it
# has, and the argument that is refused, with its shape.
LARGE = {
    "slic3d": (
        "data = torch.rand(1, 2, 1, 128, 128)",
        "vtcd_ops.slic3d(data, (64, 512, 512), 4096)",
        72, "features", [1, 2, 1, 128, 128],
    ),
    "cnmf": (
        "data, labels = torch.rand(2**20, 1), torch.zeros(2**20, dtype=torch.int32)",
        "vtcd_ops.cnmf(data, 1, init=labels)",
        32, "data", [2**20, 1],
    ),
    "kmeans": ("data = torch.rand(2**22, 1)", "vtcd_ops.kmeans(data, 1)", 32, "data", [2**22, 1]),
    "silhouette": (
        "data, labels = torch.rand(2**22, 1), torch.zeros(2**22, dtype=torch.int32)",
        "vtcd_ops.silhouette(data, labels)",
        56, "data", [2**22, 1],
    ),
}  # fmt: skip
SCRIPT = """
import resource, torch, vtcd_ops
torch.set_num_threads(1)
{given}
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + {megabytes} * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, -1))
try:
    {call}
except ValueError as error:
    print(error, end="|")
print(vtcd_ops.kmeans(torch.arange(4.0)[:, None], 4).inertia.item())
"""


@pytest.mark.parametrize("op", LARGE)
def test_no_memory_to_work_in(op: str) -> None:
    """The operator says so, and the next call has what the failed one held."""
    given, call, megabytes, refused, shape = LARGE[op]
    script = SCRIPT.format(given=given, call=call, megabytes=megabytes)
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stdout == f"{op}: {refused} {TOO_LARGE} {shape}|0.0\n", done.stderr
