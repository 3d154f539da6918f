"""The operators in plain PyTorch and NumPy, short and slow.

These functions are the definition of the operators, the oracle of the tests and the floor of the
benchmarks.
"""

from __future__ import annotations

import numpy as np


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
