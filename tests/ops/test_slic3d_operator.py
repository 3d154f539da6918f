"""slic3d as an operator of torch: instruction sets, dtypes, layouts, compile and export."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch
from ops.volumes import noise, smooth
from torch import Tensor

import vtcd_ops
from vtcd_ops.ops import library

SMALL = (8, 14, 14)

LABELS_SCRIPT = """
import torch, vtcd_ops
features = torch.randn(2, 20, 4, 7, 9, generator=torch.Generator().manual_seed(0))
labels = vtcd_ops.ops.slic3d(features, (8, 40, 50), compactness=0.02)
means, _ = vtcd_ops.ops.tubelet_pool(features, labels, 20)
print(hash(labels.numpy().tobytes()), hash(means.numpy().tobytes()))
"""


def test_instruction_set_does_not_matter() -> None:
    best = torch.backends.cpu.get_cpu_capability().lower()
    order = library.INSTRUCTION_SETS
    runnable = order[: order.index(best) + 1] if best in order else order[:1]
    outputs = {
        subprocess.run(
            [sys.executable, "-c", LABELS_SCRIPT],
            env=os.environ | {"VTCD_CPU": name, "PYTHONHASHSEED": "0"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for name in runnable
    }
    assert len(outputs) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_narrow_dtypes_are_taken_as_float32(dtype: torch.dtype) -> None:
    features = smooth(4, (3, 6, 6))[None].to(dtype)
    size = (6, 30, 30)
    assert torch.equal(
        vtcd_ops.ops.slic3d(features, size), vtcd_ops.ops.slic3d(features.float(), size)
    )


def test_layout_does_not_matter() -> None:
    features = smooth(4, (3, 6, 6)).repeat(2, 1, 1, 1, 1)
    expected = vtcd_ops.ops.slic3d(features, (6, 30, 30))
    channels_last = features.movedim(1, -1).contiguous().movedim(-1, 1)
    assert not channels_last.is_contiguous()
    assert torch.equal(vtcd_ops.ops.slic3d(channels_last, (6, 30, 30)), expected)
    assert expected.dtype == torch.int32
    assert expected.is_contiguous()


def test_empty_batch() -> None:
    labels = vtcd_ops.ops.slic3d(torch.zeros(0, 4, 2, 3, 3), (4, 6, 6))
    assert labels.shape == (0, 4, 6, 6)
    assert labels.dtype == torch.int32


class Tubelets(torch.nn.Module):
    """Both operators, as a model would use them."""

    def forward(self, features: Tensor) -> tuple[Tensor, Tensor]:
        labels = torch.ops.vtcd.slic3d(features, [4, 24, 24], 9, compactness=0.2)
        means, _ = torch.ops.vtcd.tubelet_pool(features, labels, 9)
        return labels, means.square().sum(1)


@pytest.mark.parametrize(
    "features", [noise(3, (2, 4, 4))[None], noise(3, (2, 4, 4)).double().expand(2, -1, -1, -1, -1)]
)
def test_opcheck(features: Tensor) -> None:
    torch.library.opcheck(torch.ops.vtcd.slic3d.default, (features, [3, 9, 10]))
    torch.library.opcheck(
        torch.ops.vtcd.slic3d.default,
        (features, [3, 9, 10], 4, 0.3),
        {"spacing": [1.0, 2.0, 1.0], "interpolation": "nearest", "enforce_connectivity": False},
    )


@pytest.mark.parametrize("backend", ["aot_eager", "inductor"])
def test_compile(backend: str) -> None:
    features = smooth(5, (2, 6, 6)).repeat(2, 1, 1, 1, 1)
    compiled = torch.compile(Tubelets(), fullgraph=True, backend=backend, dynamic=True)
    for batch in (features, features[:1].repeat(3, 1, 1, 1, 1)):
        for found, expected in zip(compiled(batch), Tubelets()(batch), strict=True):
            torch.testing.assert_close(found, expected)


def test_export_with_dynamic_batch() -> None:
    features = smooth(5, (2, 6, 6)).repeat(2, 1, 1, 1, 1)
    batch = torch.export.Dim("batch", min=1, max=64)
    program = torch.export.export(Tubelets(), (features,), dynamic_shapes=({0: batch},))
    for volumes in (features, features.repeat(3, 1, 1, 1, 1)):
        for found, expected in zip(program.module()(volumes), Tubelets()(volumes), strict=True):
            torch.testing.assert_close(found, expected)
