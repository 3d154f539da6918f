# SPDX-License-Identifier: MIT
"""Compactness of SLIC chosen from the features of a layer, without labels.

SLIC compares a voxel with a cluster by ``|f - f_k|^2 / m^2 + |x - x_k|^2``: features f scaled to
[0, 1], places x in steps of the seed grid, compactness m. Were a cluster a Gaussian whose feature
directions vary alike and whose space-time directions vary alike, its likelihood would weigh each
term by the inverse variance of one direction. So m is the ratio of these two spreads, measured in
the clusters of SLIC's first, purely spatial round::

    m^2 = rho(S_f) / rho(S_x)        rho(S) = tr(S^2) / tr(S)

S_f and S_x are the covariances of features and places within the cells of the seed grid. rho is the
variance of a typical direction: the mean of the eigenvalues, each weighted by the variance it
carries, so that the many nearly empty directions of a head do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import numpy as np
from torch import Tensor

__all__ = ["choose_compactness"]

_DEFAULT = 0.1  # of slic3d; kept where no feature varies, and any value gives the same tubelets
_DIGITS = 3  # so that the rounding of a model's forward cannot show in the value


def choose_compactness(
    features: Sequence[Tensor],  # of each video [A, C, t, h, w]
    size: tuple[int, int, int] | Sequence[tuple[int, int, int]],
    n_segments: int = 12,
) -> float:
    """Choose the compactness of :func:`vtcd_ops.slic3d` for a layer from a few videos.

    >>> import torch, vtcd_ops
    >>> generator = torch.Generator().manual_seed(0)
    >>> videos = [torch.rand(2, 8, 4, 7, 7, generator=generator) for _ in range(3)]
    >>> compactness = vtcd_ops.choose_compactness(videos, size=(8, 56, 56))
    >>> compactness
    0.801
    >>> labels = vtcd_ops.slic3d(videos[0], (8, 56, 56), compactness=compactness)

    Args:
        features: features of all heads of one layer, for each video floating point
            [A, C, t, h, w]. Three or four videos are enough: heads of one layer differ more than
            videos do.
        size: the label grid (T, H, W) that ``slic3d`` will be asked for; a list with one for each
            video where their lengths differ.
        n_segments: the number of tubelets that ``slic3d`` will be asked for.

    Returns:
        The median over heads and videos, to three digits; 0.1 where no feature varies.

    Raises:
        ValueError: no video, a tensor of another shape, NaN or infinite features, a size below 1.

    Note:
        Not in the paper, which tunes the value for each model by hand (.01, .1, .15) and names that
        as its first limitation. docs/compactness.md compares this rule with others.
    """
    sizes = _sizes(size, len(features))
    _check(features, sizes, n_segments)
    found = []
    for video, video_size in zip(features, sizes, strict=True):
        heads = video.detach().cpu().double().numpy()  # [A, C, t, h, w]
        places, cells = _seed_cells(heads.shape[2:], video_size, n_segments)
        place_spread = _typical_variance(places, cells)
        for head in heads:
            tokens = head.reshape(len(head), -1).T  # [t*h*w, C]
            extent = tokens.max() - tokens.min()  # slic3d scales to [0, 1] over all channels
            feature_spread = _typical_variance(tokens, cells)
            if extent > 0 and feature_spread > 0 and place_spread > 0:
                found.append(math.sqrt(feature_spread / place_spread) / float(extent))
    return float(f"{np.median(found):.{_DIGITS}g}") if found else _DEFAULT


def _seed_cells(
    grid: tuple[int, ...], size: tuple[int, int, int], n_segments: int
) -> tuple[np.ndarray, np.ndarray]:
    """Assign the tokens to SLIC's seeds by place alone, as its first round does.

    Args:
        grid: token grid (t, h, w).
        size: label grid (T, H, W).
        n_segments: number of seeds asked for.

    Returns:
        places [t*h*w, 3] in units of the largest seed step, and the cell of each token [t*h*w].
    """
    starts, steps = _seed_grid(size, n_segments)
    unit = max(steps)
    place_of_axis, cell_of_axis = [], []
    for tokens, voxels, start, step in zip(grid, size, starts, steps, strict=True):
        place = np.arange(tokens) * ((voxels - 1) / max(tokens - 1, 1))  # aligned corners
        seeds = np.arange(start, voxels, step)
        place_of_axis.append(place / unit)
        cell_of_axis.append(np.abs(place[:, None] - seeds).argmin(axis=1))
    places = np.stack(np.meshgrid(*place_of_axis, indexing="ij"), axis=-1).reshape(-1, 3)
    cells = np.stack(np.meshgrid(*cell_of_axis, indexing="ij"), axis=-1).reshape(-1, 3)
    return places, np.unique(cells, axis=0, return_inverse=True)[1].reshape(-1)


def _seed_grid(size: tuple[int, int, int], n_segments: int) -> tuple[list[int], list[int]]:
    """Return first seed and step along each axis, as scikit-image's ``regular_grid`` places them.

    >>> _seed_grid((16, 112, 112), 12)
    ([8, 16, 16], [16, 32, 32])
    """
    if math.prod(size) <= n_segments:
        return [0, 0, 0], [1, 1, 1]
    order = sorted(range(3), key=lambda axis: size[axis])
    step = dict.fromkeys(order, (math.prod(size) / n_segments) ** (1 / 3))
    for rank, axis in enumerate(order):
        if all(size[a] >= step[a] for a in order):
            break
        # an axis shorter than the step holds one seed; the others share the rest
        step[axis] = size[axis]
        rest = order[rank + 1 :]
        for other in rest:
            area = math.prod(size[a] for a in rest)
            step[other] = (area / n_segments) ** (1 / len(rest))
    return [int(step[a] // 2) for a in range(3)], [round(step[a]) for a in range(3)]


def _typical_variance(points: np.ndarray, cells: np.ndarray) -> float:
    """Return ``tr(S^2) / tr(S)`` of the covariance S of points [N, D] within their cells [N]."""
    counts = np.bincount(cells)
    sums = np.stack([np.bincount(cells, weights=column) for column in points.T], axis=1)
    rest = points - (sums / np.maximum(counts, 1)[:, None])[cells]
    # einsum adds in one order, whatever the number of threads; a BLAS product may not
    covariance = np.einsum("nc,nd->cd", rest, rest) / len(rest)
    trace = float(np.trace(covariance))
    return float((covariance**2).sum()) / trace if trace > 0 else 0.0


def _sizes(
    size: tuple[int, int, int] | Sequence[tuple[int, int, int]], num_videos: int
) -> list[tuple[int, int, int]]:
    """Return one size for each video."""
    if all(isinstance(edge, int) for edge in size):
        return [cast(tuple[int, int, int], tuple(size))] * num_videos
    return list(cast(Sequence[tuple[int, int, int]], size))


def _check(
    features: Sequence[Tensor], sizes: Sequence[tuple[int, int, int]], n_segments: int
) -> None:
    name = "choose_compactness"
    if len(features) == 0:
        raise ValueError(f"{name}: features expected at least one video, got none")
    if len(sizes) != len(features):
        raise ValueError(f"{name}: size expected one or {len(features)}, got {len(sizes)}")
    for video in features:
        if video.ndim != 5 or 0 in video.shape or not video.is_floating_point():
            raise ValueError(
                f"{name}: features expected floating point [A, C, t, h, w], "
                f"got {video.dtype} {list(video.shape)}"
            )
        if not bool(video.isfinite().all()):
            raise ValueError(f"{name}: features expected finite values, got NaN or infinite ones")
    for size in sizes:
        if len(size) != 3 or min(size) < 1:
            raise ValueError(f"{name}: size expected (T, H, W) of at least 1, got {size}")
    if n_segments < 1:
        raise ValueError(f"{name}: n_segments expected at least 1, got {n_segments}")
