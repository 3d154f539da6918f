# SPDX-License-Identifier: MIT
"""Rules for SLIC's compactness: the one of ``vtcd_ops.discovery.compactness`` and others tried.

Each takes the features of one layer in a few videos, list of [A, C, t, h, w], and the label grid,
and returns one value; none sees a label or a mask.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from torch import Tensor

from vtcd_ops import choose_compactness
from vtcd_ops.discovery.compactness import _VALUES, _trials

Videos = Sequence[Tensor]
Size = tuple[int, int, int]
N_SEGMENTS = 12


def spread(videos: Videos, size: Size) -> float:
    """The ratio of the spreads of features and places in the cells of SLIC's first round.

    Were a cluster a Gaussian whose feature directions vary alike and whose space-time directions
    vary alike, its likelihood would weigh each term by the inverse variance of one direction::

        m^2 = rho(S_f) / rho(S_x)        rho(S) = tr(S^2) / tr(S)

    S_f and S_x are the covariances of features and places within the cells of the seed grid. rho is
    the mean of the eigenvalues, each weighted by the variance it carries, so that the many nearly
    empty directions of a head do not count.
    """

    def value(f: np.ndarray, x: np.ndarray, cells: np.ndarray) -> float:
        spreads = [_typical_variance(_rest(points, cells)) for points in (f, x)]
        return math.sqrt(spreads[0] / spreads[1])

    return float(f"{_median(videos, size, value):.3g}")


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


def maximum(videos: Videos, size: Size) -> float:
    """Maximum of what `choose_compactness` looks at, wherever it lies."""
    trials = [trial for video in videos for trial in _trials(video, size)]

    def explained(value: float) -> float:
        return float(np.mean([trial.explained(value, 12) for trial in trials]))

    return max(_VALUES, key=explained)


RULES: dict[str, Callable[[Videos, Size], float]] = {
    "auto": choose_compactness,
    "maximum": maximum,
    "spread": spread,
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
