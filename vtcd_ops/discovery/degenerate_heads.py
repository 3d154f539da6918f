"""Heads whose concepts are hardly concepts: nearly one a tubelet, or each of a single video."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from vtcd_ops.discovery.records import HeadConcepts

if TYPE_CHECKING:
    from vtcd_ops.discovery.run import Run

MOST_CONCEPTS = 0.5  #: concepts a tubelet; with more, most concepts have one tubelet
MOST_OF_ONE_VIDEO = 0.5  #: share of a head's concepts that occur in one video only


def degenerate_heads(run: Run, part: str) -> np.ndarray:
    """Return which heads are degenerate, in the order of the run's layers and heads, bool [H].

    A head is where it has more than half as many concepts as tubelets, or where more than half of
    its concepts occur in a single one of several videos.
    """
    return np.array(
        [
            is_degenerate(run.concepts(layer, head, part), len(run.videos))
            for layer in run.layers
            for head in run.heads
        ]
    )


def is_degenerate(concepts: HeadConcepts, num_videos: int) -> bool:
    """Return whether a head's concepts are hardly concepts; see :func:`degenerate_heads`."""
    if concepts.k == 0:  # a head that was pruned
        return False
    of_one_video = float((num_videos_of(concepts) <= 1).mean()) if num_videos > 1 else 0.0
    return concepts.k > MOST_CONCEPTS * len(concepts.concept) or of_one_video > MOST_OF_ONE_VIDEO


def num_videos_of(concepts: HeadConcepts) -> np.ndarray:
    """Return in how many videos each concept of a head occurs, int64 [K]."""
    pairs = np.unique(np.stack([concepts.concept, concepts.video]), axis=1)
    return np.bincount(pairs[0], minlength=concepts.k)
