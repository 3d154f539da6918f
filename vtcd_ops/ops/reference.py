"""The operators in plain PyTorch and NumPy, short and slow.

These functions are the definition of the operators, the oracle of the tests and the floor of the
benchmarks.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from vtcd_ops.ops.reference_contours import contour_match, contour_of  # noqa: F401
from vtcd_ops.ops.reference_masks import concept_mask, cris_accumulate, cris_sample  # noqa: F401


def interpolate(
    features: np.ndarray, size: Sequence[int], interpolation: str = "trilinear"
) -> np.ndarray:
    """Bring a token grid to a volume, in float64.

    >>> interpolate(np.array([[[[0.0, 1.0]]]]), (1, 1, 3)).tolist()
    [[[[0.0, 0.5, 1.0]]]]

    Args:
        features: [C, t, h, w].
        size: (T, H, W).
        interpolation: ``"trilinear"``, corners aligned; ``"nearest"``, of token floor(x t / T).

    Returns:
        [C, T, H, W].
    """
    volume = features.astype(np.float64)
    for axis, (voxels, tokens) in enumerate(zip(size, features.shape[1:], strict=True), start=1):
        if interpolation == "nearest":
            volume = volume.take(np.arange(voxels) * tokens // voxels, axis)
            continue
        position = np.arange(voxels) * ((tokens - 1) / max(voxels - 1, 1))
        lower = position.astype(int)
        weight = (position - lower).reshape([-1 if i == axis else 1 for i in range(4)])
        upper = np.minimum(lower + 1, tokens - 1)
        volume = (1 - weight) * volume.take(lower, axis) + weight * volume.take(upper, axis)
    return volume


def regular_grid(size: Sequence[int], num_points: int) -> list[tuple[int, int]]:
    """Return start and step along each axis for about num_points points in a box.

    >>> regular_grid((16, 112, 112), 12)
    [(8, 16), (16, 32), (16, 32)]
    """
    if np.prod(size) <= num_points:
        return [(0, 1)] * len(size)
    axes = np.argsort(size, kind="stable")
    lengths = np.array(size, dtype=np.float64)[axes]
    steps = np.full(len(size), (lengths.prod() / num_points) ** (1 / len(size)))
    for i in range(len(size) - 1):
        if (lengths >= steps).all():
            break
        steps[i] = lengths[i]  # too short for a step: the points are spread over the longer axes
        steps[i + 1 :] = (lengths[i + 1 :].prod() / num_points) ** (1 / (len(size) - i - 1))
    grid = {axis: (int(step // 2), round(step)) for axis, step in zip(axes, steps, strict=True)}
    return [grid[axis] for axis in range(len(size))]


def slic3d(
    features: np.ndarray,
    size: Sequence[int],
    n_segments: int = 12,
    compactness: float = 0.1,
    max_num_iter: int = 10,
    spacing: Sequence[float] = (1.0, 1.0, 1.0),
    interpolation: str = "trilinear",
) -> np.ndarray:
    """Label a volume by SLIC (Achanta et al. 2012) as scikit-image does, before connectivity.

    >>> slic3d(np.array([[[[0.0, 0.0, 1.0, 1.0]]]]), (1, 1, 4), n_segments=2).tolist()
    [[[0, 0, 1, 1]]]

    Args:
        features: [C, t, h, w]; the other arguments are those of ``vtcd_ops.slic3d``.

    Returns:
        Labels [T, H, W].
    """
    volume = interpolate(features, size, interpolation)
    low, high = volume.min(), volume.max()
    volume = (volume - low) / (high - low if high > low else 1.0) / compactness
    asked = regular_grid(size, n_segments)
    axes = [np.arange(start, n, step) for n, (start, step) in zip(size, asked, strict=True)]
    positions = np.array(list(itertools.product(*axes)), dtype=np.float64)  # [K, 3]
    centers = np.zeros((len(positions), len(features)))  # so the first round is spatial only
    reach = [2 * step for _, step in regular_grid(size, len(positions))]
    weight = 1 / max(step for _, step in asked) ** 2
    labels = np.full(size, -1)
    for _ in range(max_num_iter):
        nearest = np.full(size, np.inf)
        for k in np.flatnonzero(~np.isnan(positions[:, 0])).tolist():
            first = [int(max(p - r, 0)) for p, r in zip(positions[k], reach, strict=True)]
            last = [
                int(min(p + r + 1, n)) for p, r, n in zip(positions[k], reach, size, strict=True)
            ]
            window = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
            grid = np.ogrid[window]
            offsets = [s * (p - g) for s, p, g in zip(spacing, positions[k], grid, strict=True)]
            distance = sum(offset**2 for offset in offsets) * weight
            distance = distance + (
                (volume[(slice(None), *window)] - centers[k, :, None, None, None]) ** 2
            ).sum(0)
            nearer = distance < nearest[window]
            labels[window][nearer] = k
            nearest[window][nearer] = distance[nearer]
        for k in range(len(positions)):
            voxels = np.argwhere(labels == k)
            if len(voxels) == 0:
                positions[k] = np.nan  # never takes a voxel again
                continue
            positions[k] = voxels.mean(0)
            centers[k] = volume[:, labels == k].mean(1)
    return labels


def tubelet_pool(
    features: np.ndarray,
    labels: np.ndarray,
    num_tubelets: int,
    interpolation: str = "trilinear",
) -> tuple[np.ndarray, np.ndarray]:
    """Average interpolated features over each label.

    >>> tubelet_pool(np.array([[[[0.0, 1.0]]]]), np.array([[[0, 0, -1]]]), 1)[0].tolist()
    [[0.25]]

    Args:
        features: [C, t, h, w].
        labels: [T, H, W], -1 is in no tubelet.
        num_tubelets: S.
        interpolation: as in :func:`interpolate`.

    Returns:
        Means [S, C], 0 for a label that does not occur, and numbers of voxels [S].
    """
    volume = interpolate(features, labels.shape, interpolation)
    counts = np.array([(labels == s).sum() for s in range(num_tubelets)], dtype=np.int64)
    sums = [volume[:, labels == s].sum(1) for s in range(num_tubelets)]
    means = np.array(sums).reshape(num_tubelets, len(features)) / np.maximum(counts, 1)[:, None]
    return means, counts


def cnmf(
    data: np.ndarray, labels: np.ndarray, k: int, num_iter: int
) -> tuple[np.ndarray, np.ndarray, float]:
    """Factorise data by the multiplicative updates of Ding, Li and Jordan (2010).

    >>> weights, encoding, error = cnmf(np.eye(2), np.array([0, 1]), 2, 200)
    >>> bool(error < 1e-2)
    True

    Args:
        data: [N, C].
        labels: int [N], the start.
        k: number of concepts.
        num_iter: number of updates.

    Returns:
        weights [N, K] with columns that sum to 1, encoding [N, K], and the norm of the residual.
    """
    members = labels[:, None] == np.arange(k)
    encoding = members + 0.2  # [N, K]
    weights = encoding / np.maximum(members.sum(0), 1)
    gram = data.astype(np.float64) @ data.T  # [N, N]
    plus, minus = np.maximum(gram, 0), np.maximum(-gram, 0)
    for _ in range(num_iter):
        up = plus @ weights + encoding @ (weights.T @ minus @ weights)
        down = minus @ weights + encoding @ (weights.T @ plus @ weights)
        encoding = encoding * np.sqrt(up / np.maximum(down, 1e-300))
        square = encoding.T @ encoding
        up = plus @ encoding + minus @ weights @ square
        down = minus @ encoding + plus @ weights @ square
        weights = weights * np.sqrt(up / np.maximum(down, 1e-300))
    sums = weights.sum(0)
    weights, encoding = weights / sums, encoding * sums
    error = float(np.linalg.norm(data - encoding @ weights.T @ data))
    return weights, encoding, error


def kmeans(data: np.ndarray, centers: np.ndarray, num_iter: int = 300) -> tuple[np.ndarray, ...]:
    """Cluster data by Lloyd's algorithm from given centers, none of which may lose all its rows.

    >>> kmeans(np.array([[0.0], [1.0], [5.0]]), np.array([[0.0], [4.0]]))[0].tolist()
    [0, 0, 1]

    Args:
        data: [N, C].
        centers: [K, C], the start.
        num_iter: iterations at most.

    Returns:
        labels [N], centers [K, C], and the sum of squared distances to the centers.
    """
    for _ in range(num_iter):
        labels = np.square(data[:, None] - centers).sum(-1).argmin(1)
        moved = np.stack([data[labels == k].mean(0) for k in range(len(centers))])
        if np.array_equal(moved, centers):
            break
        centers = moved
    return labels, centers, np.square(data - centers[labels]).sum()


def silhouette(data: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Tell how well each row lies in its cluster (Rousseeuw 1987).

    >>> data = np.array([[0.0], [1.0], [10.0], [11.0]])
    >>> silhouette(data, np.array([0, 0, 1, 1])).round(3).tolist()
    [0.905, 0.895, 0.895, 0.905]

    Args:
        data: [N, C].
        labels: int [N].

    Returns:
        The coefficients [N]: 0 in a cluster of one, and where there is one cluster only.
    """
    clusters = np.unique(labels)
    coefficients = np.zeros(len(data))
    for n in range(len(data)):
        distances = np.linalg.norm(data - data[n], axis=1)
        own = labels == labels[n]
        if own.sum() == 1 or len(clusters) == 1:
            continue
        within = distances[own].sum() / (own.sum() - 1)
        between = min(distances[labels == c].mean() for c in clusters if c != labels[n])
        coefficients[n] = (between - within) / (max(within, between) or 1)
    return coefficients


def elbow(objective: list[float], threshold: float, *, released: bool = False) -> int:
    """Return the number of clusters at which the objective stops to fall (elbow rule).

    >>> elbow([10.0, 4.0, 1.0, 0.95], 0.9), elbow([10.0, 4.0, 1.0, 0.95], 0.9, released=True)
    (3, 4)

    Args:
        objective: J(1), J(2), ... up to the largest number allowed.
        threshold: θ; a number fails where J(k) > θ J(k − 1).
        released: return the number that fails, as the authors' code does, not the last before it.

    Returns:
        The number; the largest where none fails, k − 1 where J(k − 1) = 0.
    """
    for k in range(2, len(objective) + 1):
        if objective[k - 2] == 0:
            return k - 1
        if objective[k - 1] > threshold * objective[k - 2]:
            return k if released else k - 1
    return len(objective)


def rosetta_ratios(masks: Sequence[np.ndarray], concepts: Sequence[int]) -> list[float]:
    """Return |intersection| / |union| of the supports of some concepts in each video.

    >>> rosetta_ratios([np.array([[True, True, False], [False, True, True]])], [0, 1])
    [0.3333333333333333]

    Args:
        masks: for each video the supports of all concepts, bool [C, voxels].
        concepts: which.

    Returns:
        One number a video, NaN where the union is empty.
    """
    ratios = []
    for video in masks:
        supports = video[list(concepts)]
        union = int(supports.any(axis=0).sum())
        ratios.append(int(supports.all(axis=0).sum()) / union if union else float("nan"))
    return ratios


def rosetta_score(ratios: Sequence[float]) -> float:
    """Average the ratios of the videos that count (equation 7); 0 where none counts.

    >>> rosetta_score([0.5, float("nan"), 0.25])
    0.375
    """
    counted = [ratio for ratio in ratios if ratio == ratio]
    return sum(counted) / len(counted) if counted else 0.0


def rosetta_search(
    masks: Sequence[np.ndarray], models: Sequence[int], delta: float, max_order: int = 8
) -> list[tuple[tuple[int, ...], float]]:
    """Score every tuple of concepts of 2 to max_order models; return those of at least delta.

    >>> masks = [np.array([[1, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=bool)]
    >>> rosetta_search(masks, [0, 2, 3], 0.5)  # concepts 0 and 1 of one model, 2 of another
    [((0, 2), 0.6666666666666666)]

    Args:
        masks: for each video the supports of all concepts, bool [C, voxels].
        models: model m has the concepts from models[m] up to models[m + 1].
        delta: lowest score, above 0.
        max_order: models in a tuple, at most.

    Returns:
        Concepts and score: pairs first, then triples, ...; of each the best first, then in the
        order of the concepts.
    """
    found = []
    num_models = len(models) - 1
    for order in range(2, min(max_order, num_models) + 1):
        tuples = []
        for which in itertools.combinations(range(num_models), order):
            for concepts in itertools.product(*(range(models[m], models[m + 1]) for m in which)):
                score = rosetta_score(rosetta_ratios(masks, concepts))
                if score >= delta:
                    tuples.append((concepts, score))
        found += sorted(tuples, key=lambda entry: (-entry[1], entry[0]))
    return found
