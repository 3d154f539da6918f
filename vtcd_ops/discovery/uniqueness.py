"""How different the concepts of a head are from those of the other heads of its layer."""

from __future__ import annotations

import numpy as np

from vtcd_ops.discovery.keeping import TOKENS
from vtcd_ops.discovery.run import Run

__all__ = ["head_uniqueness"]


def head_uniqueness(run: Run, part: str | None = None) -> dict[tuple[int, int], float]:
    """Return, for each (layer, head), how little of it another head of the layer shows as well.

    Two concepts overlap by the tokens of all videos in both, divided by those in either
    (intersection over union). A concept's double is the concept of any *other* head of its layer
    that it overlaps most with; the uniqueness of a head is 1 less the mean overlap of its concepts
    with their doubles. 0: another head divides all videos in the same way; near 1: none is similar.
    (Heads have channels of their own, so vectors of two heads cannot be compared; places can.)

    >>> import tempfile
    >>> import numpy as np
    >>> import vtcd_ops
    >>> from vtcd_ops.adapters import example_adapter
    >>> videos = np.random.default_rng(0).integers(0, 255, (3, 4, 32, 32, 3)).astype(np.uint8)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = vtcd_ops.discover(example_adapter(), videos, out=folder, progress=False)
    ...     unique = vtcd_ops.head_uniqueness(run)
    >>> sorted(unique), all(0 <= value <= 1 for value in unique.values())
    ([(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)], True)

    Args:
        run: the run.
        part: of the run's parts; the first by default.

    Returns:
        A number from 0 to 1 for each (layer, head); 1 where the layer has one head.
    """
    run.expect_kept("head_uniqueness", TOKENS)
    part = run.parts[0] if part is None else part
    unique = {}
    for layer in run.layers:
        tokens = np.concatenate(
            [run.tokens(video, layer, part) for video in range(len(run.videos))], axis=1
        )  # [A, tokens of all videos]
        counts = [run.concepts(layer, head, part).k for head in run.heads]
        there = [row for row, count in enumerate(counts) if count]  # pruned heads have none
        for row in there:
            head, doubles = run.heads[row], np.zeros(counts[row])
            for other in there:
                if other != row:
                    overlap = _overlaps(tokens[row], tokens[other], counts[row], counts[other])
                    doubles = np.maximum(doubles, overlap.max(axis=1))
            unique[layer, head] = float(1 - doubles.mean())
    return unique


def _overlaps(one: np.ndarray, other: np.ndarray, k_one: int, k_other: int) -> np.ndarray:
    """Intersection over union [K, L] of the concepts of two heads, from their tokens [N]."""
    # one row and column more for -1, no concept
    pairs = (one + 1).astype(np.int64) * (k_other + 1) + other + 1
    table = np.bincount(pairs, minlength=(k_one + 1) * (k_other + 1)).reshape(k_one + 1, -1)
    both = table[1:, 1:]
    either = table.sum(axis=1)[1:, None] + table.sum(axis=0)[None, 1:] - both
    overlaps: np.ndarray = both / np.maximum(either, 1)
    return overlaps
