# SPDX-License-Identifier: MIT
"""Rules for SLIC's compactness: the one of ``vtcd_ops.compactness`` and others that were tried.

Each takes the features of one layer in a few videos, list of [A, C, t, h, w], and the label grid,
and returns one value; none sees a label or a mask.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from vtcd_ops.compactness import _seed_cells, choose_compactness

Videos = Sequence[Tensor]
Size = tuple[int, int, int]
N_SEGMENTS = 12


def whole(videos: Videos, size: Size) -> float:
    """As the cells' rule, but over the whole volume: one standard deviation of each is as much."""
    return _median(
        videos, size, lambda f, x, _: (_typical_variance(f) / _typical_variance(x)) ** 0.5
    )


def neighbours(videos: Videos, size: Size) -> float:
    """As the cells' rule, but features vary by what neighbouring tokens differ by: their noise."""
    found = []
    for video in videos:
        places, cells = _seed_cells(tuple(video.shape[2:]), size, N_SEGMENTS)
        for head in video.double().numpy():
            pairs = [np.diff(head, axis=axis).reshape(len(head), -1) for axis in (1, 2, 3)]
            noise = np.concatenate(pairs, axis=1).T / 2**0.5  # [pairs, C]
            covariance = noise.T @ noise / len(noise)
            spread = (covariance**2).sum() / np.trace(covariance)
            found.append((spread / _typical_variance(_rest(places, cells))) ** 0.5 / np.ptp(head))
    return float(np.median(found))


def slope(videos: Videos, size: Size) -> float:
    """Change of the cells' mean feature from seed to neighbouring seed, per seed step."""

    def value(f: np.ndarray, x: np.ndarray, cells: np.ndarray) -> float:
        features, places = _means(f, cells), _means(x, cells)
        apart = np.abs(places[:, None] - places[None])  # [S, S, 3]
        moved = apart > 1e-9
        first, second = np.nonzero(np.triu(moved.sum(-1) == 1))
        gap = apart[first, second]
        # of the pairs that differ along one axis, those a single step apart
        axis = gap.argmax(1)
        length = gap.max(1)
        shortest = np.array([length[axis == a].min(initial=np.inf) for a in range(3)])
        near = length < 1.5 * shortest[axis]
        jump = features[first[near]] - features[second[near]]
        return float(np.sqrt((jump**2).sum() / (length[near] ** 2).sum()))

    return _median(videos, size, value)


def _typical_variance(points: np.ndarray) -> float:
    covariance = np.cov(points.T, bias=True)
    return float((covariance**2).sum() / np.trace(covariance))


RULES: dict[str, Callable[[Videos, Size], float]] = {
    "auto": choose_compactness,
    "whole": whole,
    "neighbours": neighbours,
    "slope": slope,
}


def _median(
    videos: Videos, size: Size, value: Callable[[np.ndarray, np.ndarray, np.ndarray], float]
) -> float:
    found = []
    for video in videos:
        places, cells = _seed_cells(tuple(video.shape[2:]), size, N_SEGMENTS)
        for head in video.double().numpy():
            tokens = head.reshape(len(head), -1).T  # [N, C]
            scaled = tokens / (tokens.max() - tokens.min())  # as slic3d scales
            found.append(value(scaled, places, cells))
    return float(np.median(found))


def _means(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    counts = np.bincount(cells)
    sums = np.stack([np.bincount(cells, weights=column) for column in points.T], axis=1)
    return sums / counts[:, None]


def _rest(points: np.ndarray, cells: np.ndarray) -> np.ndarray:
    return points - _means(points, cells)[cells]
