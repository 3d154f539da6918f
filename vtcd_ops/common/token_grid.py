"""The geometry of a token grid (t, h, w) in a grid of voxels (T, H, W)."""

from __future__ import annotations

import numpy as np


def volume_size(
    grid: tuple[int, int, int], tubelet_size: int, voxels_per_token: int
) -> tuple[int, int, int]:
    """Return the label grid (T, H, W) of a token grid: a voxel is a frame long.

    >>> volume_size((8, 14, 14), tubelet_size=2, voxels_per_token=8)
    (16, 112, 112)
    """
    t, h, w = grid
    return t * tubelet_size, h * voxels_per_token, w * voxels_per_token


def token_voxels(
    grid: tuple[int, int, int], size: tuple[int, int, int], num_frames: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the voxel nearest to each token along each axis, under the aligned-corner map.

    >>> [axis.tolist() for axis in token_voxels((2, 3, 3), (4, 24, 24), num_frames=3)]
    [[0, 2], [0, 12, 23], [0, 12, 23]]

    Args:
        grid: token grid (t, h, w).
        size: label grid (T, H, W) of the padded video.
        num_frames: frames before padding; tokens beyond take the last one.
    """
    axes = []
    for tokens, voxels in zip(grid, size, strict=True):
        # nearest integer, halves up; a single token stands at voxel 0
        position = np.arange(tokens) * (voxels - 1) / max(tokens - 1, 1)
        axes.append(np.floor(position + 0.5).astype(np.int64))
    return np.minimum(axes[0], num_frames - 1), axes[1], axes[2]
