"""Tubelets: parts of a video that a head's features hold together (equation 1 of the paper)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.discovery.settings import Settings
from vtcd_ops.ops import slic3d, tubelet_pool
from vtcd_ops.ops.library import device_with_kernels

_NUM_BYTE = 255  # labels that a byte holds beside one value for "none"

_CROP_EDGE = (0.2, 0.6)  # a crop's edge, as a fraction of the volume's, is uniform in this range


@dataclass(frozen=True)
class Tubelets:
    """The tubelets of one video in several heads.

    Args:
        labels: int32 [B, T, H, W], the tubelet of every voxel, -1 where there is none.
        means: float32 [B, S, C], mean feature of each tubelet.
        sizes: int64 [B, S], voxels of each tubelet, 0 where the label does not occur.

    All on the features' device.
    """

    labels: Tensor
    means: Tensor
    sizes: Tensor

    def packed_labels(self) -> Tensor:
        """Return the labels as bytes where those hold them, 255 where there is none."""
        few = self.sizes.shape[1] < _NUM_BYTE
        return self.labels.to(torch.uint8) if few else self.labels  # -1 wraps around


def tubelet_device(model: torch.device, settings: Settings) -> torch.device:
    """Return where tubelets are found: on the model's device, if the operators have kernels there.

    >>> tubelet_device(torch.device("meta"), Settings(proposals="random_crops"))
    device(type='cpu')
    """
    operators = ("slic3d", "tubelet_pool") if settings.proposals == "slic" else ("tubelet_pool",)
    return device_with_kernels(model, *operators)


def find_tubelets(
    features: Tensor,  # [B, C, t, h, w]
    size: tuple[int, int, int],
    num_frames: int,
    settings: Settings,
    *,
    compactness: float,
    seeds: list[list[int]],
    present: Sequence[bool] | None = None,
) -> Tubelets:
    """Divide one video into tubelets by the features of each of B heads, on their device.

    Args:
        features: features of B heads [B, C, t, h, w].
        size: label grid (T, H, W).
        num_frames: frames before padding, at most T; the others belong to no tubelet and are cut
            off the labels.
        settings: proposals, n_segments, min_tubelet.
        compactness: of SLIC.
        seeds: for each head the numbers that seed its random crops.
        present: for each head whether the model has it; one that was pruned has no tubelets. By
            default all are there.

    Returns:
        The tubelets, small ones dropped; labels [B, num_frames, H, W].
    """
    if present is not None and not all(present):
        there = [row for row, is_there in enumerate(present) if is_there]
        found = None
        if there:
            its_seeds = [seeds[row] for row in there]
            found = find_tubelets(
                features[there], size, num_frames, settings, compactness=compactness,
                seeds=its_seeds,
            )  # fmt: skip
        return _spread(found, there, features, (num_frames, *size[1:]))
    if settings.proposals == "slic":
        labels = slic3d(features, size, settings.n_segments, compactness)
    else:
        crops = [random_crops(size, settings.n_segments, seed) for seed in seeds]
        labels = torch.from_numpy(np.stack(crops)).to(features.device)
    labels[:, num_frames:] = -1  # padding is no part of the video
    num_labels = int(labels.max()) + 1
    means, sizes = tubelet_pool(features, labels, num_labels)
    labels = labels[:, :num_frames]
    small = sizes < settings.min_tubelet * labels[0].numel()
    _drop(labels, small & (sizes > 0))
    return Tubelets(
        labels, means.masked_fill(small.unsqueeze(-1), 0.0), sizes.masked_fill(small, 0)
    )


def _spread(
    found: Tubelets | None, there: list[int], features: Tensor, shape: tuple[int, ...]
) -> Tubelets:
    """The tubelets of all B heads, from those of the heads that are there."""
    count = 0 if found is None else found.sizes.shape[1]
    heads, channels = features.shape[:2]
    labels = features.new_full((heads, *shape), -1, dtype=torch.int32)
    means = features.new_zeros(heads, count, channels, dtype=torch.float32)
    sizes = features.new_zeros(heads, count, dtype=torch.int64)
    if found is not None:
        labels[there], means[there], sizes[there] = found.labels, found.means, found.sizes
    return Tubelets(labels, means, sizes)


def _drop(labels: Tensor, small: Tensor) -> None:
    """Set the voxels of small tubelets to -1, in place; labels [B, T, H, W], small [B, S]."""
    numbers = torch.arange(-1, small.shape[1], dtype=labels.dtype, device=labels.device)
    for head in small.any(dim=1).nonzero().flatten().tolist():
        table = numbers.clone()
        table[1:].masked_fill_(small[head], -1)
        voxels = labels[head]
        voxels.copy_(table.index_select(0, (voxels + 1).flatten()).view_as(voxels))


def random_crops(size: tuple[int, int, int], num_crops: int, seed: list[int] | int) -> np.ndarray:
    """Divide a volume by boxes at random places, the baseline of the paper's Table 1.

    The boxes are drawn in order and later ones overwrite earlier ones, so that they become a
    partition (crops that overlap would not be label volumes); what no box covers is -1.

    >>> labels = random_crops((8, 32, 32), num_crops=5, seed=0)
    >>> labels.shape, int(labels.min()), int(labels.max())
    ((8, 32, 32), -1, 4)

    Args:
        size: the volume (T, H, W).
        num_crops: boxes drawn.
        seed: one number or several.

    Returns:
        int32 [T, H, W].
    """
    rng = np.random.default_rng(seed)
    labels = np.full(size, -1, dtype=np.int32)
    for crop in range(num_crops):
        box = []
        for length in size:
            edge = max(1, round(length * rng.uniform(*_CROP_EDGE)))
            start = int(rng.integers(0, length - edge + 1))
            box.append(slice(start, start + edge))
        labels[tuple(box)] = crop
    return labels
