"""Tubelets of one video: dropping, padding, random crops, tokens."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vtcd_ops.common.token_grid import token_voxels
from vtcd_ops.discovery.settings import Settings
from vtcd_ops.discovery.tubelets import find_tubelets, random_crops
from vtcd_ops.ops import slic3d

SIZE = (8, 32, 32)


def interpolate(features: torch.Tensor, size: tuple[int, int, int]) -> torch.Tensor:
    return torch.nn.functional.interpolate(
        features, size=size, mode="trilinear", align_corners=True
    )


@pytest.fixture
def features() -> torch.Tensor:
    noise = torch.randn(2, 6, 4, 4, 4)
    return torch.nn.functional.avg_pool3d(noise, 3, 1, 1)


@pytest.mark.parametrize("proposals", ["slic", "random_crops"])
def test_means_and_sizes_are_those_of_the_labels(features: torch.Tensor, proposals: str) -> None:
    settings = Settings(proposals=proposals, min_tubelet=0.02)
    found = find_tubelets(features, SIZE, 8, settings, compactness=0.1, seeds=[[0, 1], [0, 2]])
    dense = interpolate(features, SIZE)
    for head in range(2):
        labels = found.labels[head]
        for label in range(found.sizes.shape[1]):
            mask = labels == label
            assert int(mask.sum()) == int(found.sizes[head, label])
            if mask.any():
                mean = dense[head][:, mask].mean(dim=1)
                torch.testing.assert_close(found.means[head, label], mean, rtol=1e-4, atol=1e-5)


def test_small_tubelets_are_dropped(features: torch.Tensor) -> None:
    labels = slic3d(features, SIZE)
    sizes = torch.stack([torch.bincount(one.flatten(), minlength=20) for one in labels])
    limit = float(sizes[sizes > 0].float().median()) / labels[0].numel()
    settings = Settings(min_tubelet=limit)
    found = find_tubelets(features, SIZE, 8, settings, compactness=0.1, seeds=[])
    for head in range(2):
        small = [n for n in range(20) if 0 < sizes[head, n] < limit * labels[0].numel()]
        dropped = torch.isin(labels[head], torch.tensor(small, dtype=labels.dtype))
        assert small
        expected = labels[head].masked_fill(dropped, -1)
        assert torch.equal(found.labels[head], expected)
        assert not found.sizes[head][small].any()
        assert not found.means[head][small].any()


def test_padding_belongs_to_no_tubelet(features: torch.Tensor) -> None:
    settings = Settings(min_tubelet=0)
    whole = find_tubelets(features, SIZE, 8, settings, compactness=0.1, seeds=[])
    cut = find_tubelets(features, SIZE, 7, settings, compactness=0.1, seeds=[])
    assert cut.labels.shape == (2, 7, 32, 32)
    assert torch.equal(cut.labels, whole.labels[:, :7])
    mask = cut.labels[0] == 0
    mean = interpolate(features, SIZE)[0, :, :7][:, mask].mean(dim=1)
    torch.testing.assert_close(cut.means[0, 0], mean, rtol=1e-4, atol=1e-5)


def test_later_crops_overwrite_earlier_ones() -> None:
    fewer, more = random_crops(SIZE, 5, seed=3), random_crops(SIZE, 6, seed=3)
    # the sixth crop is a box, and everything outside of it is as before
    inside = np.argwhere(more == 5)
    low, high = inside.min(axis=0), inside.max(axis=0) + 1
    assert len(inside) == np.prod(high - low)
    np.testing.assert_array_equal(more[more != 5], fewer[more != 5])
    assert (random_crops(SIZE, 6, seed=4) != more).any()
    np.testing.assert_array_equal(random_crops(SIZE, 6, seed=3), more)


def test_a_token_takes_the_voxel_at_its_centre() -> None:
    """There, interpolating the tokens' numbers comes nearest to the token's own number."""
    grid, size = (3, 4, 5), (6, 32, 40)
    axes = token_voxels(grid, size, 6)
    for axis, (tokens, voxels) in enumerate(zip(grid, size, strict=True)):
        values = torch.arange(tokens, dtype=torch.float32).view(1, 1, tokens)
        dense = torch.nn.functional.interpolate(
            values, size=voxels, mode="linear", align_corners=True
        )[0, 0]
        distance = (dense[:, None] - values[0, 0]).abs()  # [voxels, tokens]
        at_voxel = distance[axes[axis], torch.arange(tokens)]
        torch.testing.assert_close(at_voxel, distance.min(dim=0).values)
    assert token_voxels(grid, size, 5)[0].max() == 4  # the sixth frame is padding
