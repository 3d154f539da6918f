"""The matrices that the benchmarks of the concept operators work on."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

NUM_HEADS = 72
REAL = "keys of real clips in a real image transformer (DINOv2-S), averaged over SLIC supervoxels"
PLANTED = "planted mixtures of 8 directions (set VTCD_TUBELETS for real ones)"


@dataclass(frozen=True)
class Tubelets:
    """Tubelets of every head, and single tokens of one.

    Args:
        heads: float32 [N, 64] each.
        tokens: float32 [12,000 or more, 64].
        source: what they are, for the note under a table.
    """

    heads: list[np.ndarray]
    tokens: np.ndarray
    source: str


def load() -> Tubelets:
    """Load what ``real_tubelets.py`` wrote to ``$VTCD_TUBELETS``; planted data without it."""
    path = os.environ.get("VTCD_TUBELETS")
    if path is None:
        heads = [planted(1100, seed) for seed in range(NUM_HEADS)]
        return Tubelets(heads, planted(12_000, NUM_HEADS), PLANTED)
    with np.load(path) as stored:
        heads = [stored[name] for name in stored.files if name != "tokens"]
        return Tubelets(heads, stored["tokens"], REAL)


def planted(num_rows: int, seed: int) -> np.ndarray:
    """Return noisy sparse mixtures of 8 directions with a common offset, float32 [N, 64]."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(8, 64)) + 1
    shares = random.gamma(0.3, size=(num_rows, 8))
    return (shares @ directions + 0.3 * random.normal(size=(num_rows, 64))).astype(np.float32)
