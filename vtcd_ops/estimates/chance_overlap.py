"""What supports of given sizes overlap by chance."""

from __future__ import annotations

import numpy as np


def expected_overlap(sizes: np.ndarray, num_places: np.ndarray | float) -> np.ndarray:
    """Return what supports at random places overlap: expected intersection over expected union.

    Of n places a support of size a holds each with probability a/n. So of d independent supports
    the expected intersection is n·Π(aᵢ/n) and the expected union n·(1 − Π(1 − aᵢ/n)). Their ratio
    is the expected intersection over union but for terms of the order of 1/n.

    >>> expected_overlap(np.array([50, 50]), 100).item()  # 25 of 75
    0.3333333333333333

    Args:
        sizes: of the supports [..., d].
        num_places: n, one number or [...].

    Returns:
        float64 [...]; NaN where all supports are empty.
    """
    shares = (
        np.asarray(sizes, dtype=np.float64) / np.asarray(num_places, dtype=np.float64)[..., None]
    )
    both = shares.prod(axis=-1)
    either = 1.0 - (1.0 - shares).prod(axis=-1)
    known = (shares > 0).any(axis=-1)
    found: np.ndarray = np.where(known, both, np.nan) / np.where(known, either, 1.0)
    return found
