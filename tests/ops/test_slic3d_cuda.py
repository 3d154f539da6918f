"""slic3d on a GPU: the CPU's labels on every voxel, the CPU's words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from ops.cuda import expect_same_words
from ops.test_slic3d import CASES, EXTREMES
from ops.volumes import LAYERS, SEQUENCES, noise, real_keys, scikit_labels, smooth
from torch import Tensor

import vtcd_ops

pytestmark = pytest.mark.filterwarnings("ignore:.*channels last:UserWarning")
SMALL = (8, 14, 14)
SIZE = (16, 112, 112)


def expect_labels_of_the_cpu(
    device: torch.device, features: Tensor, size: tuple[int, int, int], **options: Any
) -> None:
    """Compare all voxels, before and after fragments are connected."""
    for connected in (False, True):
        given = {**options, "enforce_connectivity": connected}
        expected = vtcd_ops.ops.slic3d(features, size, **given)
        found = vtcd_ops.ops.slic3d(features.to(device), size, **given)
        assert found.device == device
        assert found.dtype == torch.int32
        wrong = int((found.cpu() != expected).sum())
        assert wrong == 0, f"{wrong} of {expected.numel()} voxels, connected={connected}"


@pytest.mark.parametrize("case", CASES)
def test_equals_the_cpu(cuda_device: torch.device, case: str) -> None:
    features, size, options = CASES[case]
    expect_labels_of_the_cpu(cuda_device, features[None], size, **options)


@pytest.mark.parametrize("case", EXTREMES)
def test_equals_the_cpu_where_rounding_may_decide(cuda_device: torch.device, case: str) -> None:
    features, size, options = EXTREMES[case]
    expect_labels_of_the_cpu(cuda_device, features[None], size, **options)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["smooth", "noise", "ties"])
def test_equals_the_cpu_for_twelve_heads(
    cuda_device: torch.device, name: str, dtype: torch.dtype
) -> None:
    features = torch.stack(
        [(noise if name == "noise" else smooth)(64, SMALL, i) for i in range(12)]
    )
    if name == "ties":
        features = features.round()
    expect_labels_of_the_cpu(cuda_device, features.to(dtype), SIZE)


@pytest.mark.parametrize("compactness", [0.01, 0.1])
@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("sequence", SEQUENCES)
def test_equals_the_cpu_on_real_keys(
    cuda_device: torch.device, sequence: str, layer: int, compactness: float
) -> None:
    features = real_keys(sequence)[layer]
    expect_labels_of_the_cpu(cuda_device, features, SIZE, compactness=compactness)


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.2), (0.1, 0.5), (1.0, 1.5), (2.0, 0.2), (1, 50)])
def test_equals_the_cpu_for_any_sizes_of_fragments(
    cuda_device: torch.device, low: float, high: float
) -> None:
    features = torch.stack([noise(8, SMALL), smooth(8, SMALL), smooth(8, SMALL, 1, 7)])
    expect_labels_of_the_cpu(
        cuda_device, features, (16, 56, 56), compactness=0.02, min_size_factor=low,
        max_size_factor=high,
    )  # fmt: skip


def test_twenty_thousand_segments(cuda_device: torch.device) -> None:
    features = smooth(16, SMALL)[None]
    expect_labels_of_the_cpu(cuda_device, features, (16, 64, 64), n_segments=20_000)


def test_equals_scikit_image(cuda_device: torch.device) -> None:
    features = smooth(64, SMALL)
    found = vtcd_ops.ops.slic3d(features[None].to(cuda_device), SIZE)[0]
    assert np.array_equal(found.cpu().numpy(), scikit_labels(features, SIZE))


def test_batch_does_not_matter_and_calls_repeat(cuda_device: torch.device) -> None:
    features = torch.stack([noise(16, SMALL), smooth(16, SMALL), smooth(16, SMALL, 2)])
    features = features.to(cuda_device)
    size = (16, 56, 56)
    expected = vtcd_ops.ops.slic3d(features, size)
    assert torch.equal(vtcd_ops.ops.slic3d(features, size), expected)
    alone = torch.cat([vtcd_ops.ops.slic3d(volume[None], size) for volume in features])
    assert torch.equal(alone, expected)


def test_layout_does_not_matter(cuda_device: torch.device) -> None:
    features = smooth(4, (3, 6, 6)).repeat(2, 1, 1, 1, 1).to(cuda_device)
    expected = vtcd_ops.ops.slic3d(features, (6, 30, 30))
    channels_last = features.movedim(1, -1).contiguous().movedim(-1, 1)
    assert not channels_last.is_contiguous()
    assert torch.equal(vtcd_ops.ops.slic3d(channels_last, (6, 30, 30)), expected)


def test_empty(cuda_device: torch.device) -> None:
    labels = vtcd_ops.ops.slic3d(torch.zeros(0, 4, 2, 3, 3, device=cuda_device), (4, 6, 6))
    assert labels.shape == (0, 4, 6, 6)
    assert labels.device == cuda_device


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_told_in_the_words_of_the_cpu(
    cuda_device: torch.device, value: float
) -> None:
    features = torch.stack([noise(4, (3, 6, 6)), noise(4, (3, 6, 6), 1)])
    features[1, 2, 1, 3, 3] = value
    expect_same_words(cuda_device, "slic3d", features, [6, 30, 30])
    features[1, 2, 1, 3, 3] = 0
    expect_labels_of_the_cpu(cuda_device, features, (6, 30, 30))


@pytest.mark.parametrize(
    "wrong",
    [{"size": [4, 0, 8]}, {"size": [4, 8]}, {"n_segments": 0}, {"compactness": 0.0},
     {"max_num_iter": 0}, {"spacing": [1.0, -0.5, 1.0]}, {"min_size_factor": -1.0},
     {"max_size_factor": 0.0}, {"interpolation": "cubic"}],
    ids=str,
)  # fmt: skip
def test_wrong_arguments_are_told_in_the_words_of_the_cpu(
    cuda_device: torch.device, wrong: dict[str, Any]
) -> None:
    arguments = {"features": noise(4, (3, 6, 6))[None], "size": [6, 30, 30]} | wrong
    expect_same_words(cuda_device, "slic3d", **arguments)


def test_many_rounds_end_when_nothing_changes(cuda_device: torch.device) -> None:
    features = smooth(4, (2, 5, 5))[None]
    expect_labels_of_the_cpu(cuda_device, features, (4, 20, 20), max_num_iter=10**6)


def test_opcheck(cuda_device: torch.device) -> None:
    features = noise(3, (2, 4, 4))[None].to(cuda_device)
    torch.library.opcheck(torch.ops.vtcd.slic3d.default, (features, [3, 9, 10]))


@pytest.mark.parametrize("name", ["smooth", "ties"])
def test_is_recorded_into_a_graph(cuda_device: torch.device, name: str) -> None:
    features = smooth(8, SMALL)[None].to(cuda_device)
    torch.ops.vtcd.slic3d(features, [16, 56, 56])
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        labels = torch.ops.vtcd.slic3d(features, [16, 56, 56])
    other = smooth(8, SMALL, 1)
    features.copy_((other.round() if name == "ties" else other)[None])
    graph.replay()
    assert torch.equal(labels, torch.ops.vtcd.slic3d(features, [16, 56, 56]))
