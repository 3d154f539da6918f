"""What the tests of the operators on ragged batches share."""

from __future__ import annotations

import numpy as np
import torch


def planted(
    num_rows: int, num_channels: int, k: int, seed: int, noise: float = 0.3, offset: float = 0.5
) -> np.ndarray:
    """Sparse non-negative mixtures of k directions with a common offset, plus noise: [N, C]."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(k, num_channels)) + offset
    shares = random.gamma(0.3, size=(num_rows, k))
    return shares @ directions + noise * random.normal(size=(num_rows, num_channels))


def blobs(num_rows: int, num_channels: int, k: int, seed: int, noise: float = 0.3) -> np.ndarray:
    """Gaussian clusters, [N, C]."""
    random = np.random.default_rng(seed)
    centers = random.normal(size=(k, num_channels)) * 2
    rows = centers[random.integers(k, size=num_rows)]
    return rows + noise * random.normal(size=rows.shape)


def batch(*matrices: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
    """Pack matrices into the data and offsets of an operator."""
    offsets = np.concatenate([[0], np.cumsum([len(matrix) for matrix in matrices])])
    return torch.from_numpy(np.concatenate(matrices)), torch.from_numpy(offsets)
