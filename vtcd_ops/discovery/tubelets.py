"""Tubelets: parts of a video that a head's features hold together (equation 1 of the paper)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.discovery.settings import Settings
from vtcd_ops.ops import slic3d, tubelet_pool

_CROP_EDGE = (0.2, 0.6)  # a crop's edge, as a fraction of the volume's, is uniform in this range


@dataclass(frozen=True)
class Tubelets:
    """The tubelets of one video in several heads.

    Args:
        labels: int32 [B, T, H, W], the tubelet of every voxel, -1 where there is none.
        means: float32 [B, S, C], mean feature of each tubelet.
        sizes: int64 [B, S], voxels of each tubelet, 0 where the label does not occur.
    """

    labels: Tensor
    means: Tensor
    sizes: Tensor


def find_tubelets(
    features: Tensor,  # [B, C, t, h, w]
    size: tuple[int, int, int],
    num_frames: int,
    settings: Settings,
    *,
    compactness: float,
    seeds: list[list[int]],
) -> Tubelets:
    """Divide one video into tubelets by the features of each of B heads.

    Args:
        features: features of B heads [B, C, t, h, w].
        size: label grid (T, H, W).
        num_frames: frames before padding, at most T; the others belong to no tubelet and are cut
            off the labels.
        settings: proposals, n_segments, min_tubelet.
        compactness: of SLIC.
        seeds: for each head the numbers that seed its random crops.

    Returns:
        The tubelets, small ones dropped; labels [B, num_frames, H, W].
    """
    if settings.proposals == "slic":
        labels = slic3d(features, size, settings.n_segments, compactness)
    else:
        crops = [random_crops(size, settings.n_segments, seed) for seed in seeds]
        labels = torch.from_numpy(np.stack(crops))
    labels[:, num_frames:] = -1  # padding is no part of the video
    num_labels = int(labels.max()) + 1
    means, sizes = tubelet_pool(features, labels, num_labels)
    labels = labels[:, :num_frames]
    small = sizes < settings.min_tubelet * labels[0].numel()
    _drop(labels, small & (sizes > 0))
    return Tubelets(
        labels, means.masked_fill(small.unsqueeze(-1), 0.0), sizes.masked_fill(small, 0)
    )


def _drop(labels: Tensor, small: Tensor) -> None:
    """Set the voxels of small tubelets to -1, in place; labels [B, T, H, W], small [B, S]."""
    for head, label in small.nonzero().tolist():
        labels[head].masked_fill_(labels[head] == label, -1)


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
