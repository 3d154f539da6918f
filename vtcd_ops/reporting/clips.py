"""Which clips show a concept best."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np

from vtcd_ops.discovery.records import HeadConcepts

_SIZEABLE = 0.5  # of the median size of the concept's tubelets


def rank_videos(concepts: HeadConcepts, concept: int) -> list[int]:
    """Order the videos in which a concept occurs, the one that shows it best first.

    Every tubelet of the concept is rated by its encoding, that is, by how much of the concept
    convex NMF sees in it (eq. 3; the paper assigns tubelets by the same number). A video stands
    where its best rated *sizeable* tubelet stands; sizeable is half the median size of the
    concept's tubelets, because a sliver with a high encoding shows nobody what the concept is.
    Videos with small tubelets only come last. Ties: the larger tubelet, then the earlier video.

    Args:
        concepts: Concept table of one head; per tubelet video, concept, size and encoding [N].
        concept: Index of the concept, 0 to k - 1.

    Returns:
        Video indices, each once.
    """
    members = np.flatnonzero(concepts.concept == concept)
    size = concepts.size[members]
    video = concepts.video[members]
    rating = concepts.encoding[members]
    sliver = size < _SIZEABLE * np.median(size) if members.size else np.zeros(0, bool)
    order = np.lexsort((video, -size, -rating, sliver))  # the last key counts first
    found: list[int] = list(dict.fromkeys(video[order].tolist()))
    return found


def choose_videos(rankings: Iterable[list[int]], max_videos: int, num_clips: int) -> set[int]:
    """Choose the videos that the page carries: those wanted by most concepts.

    >>> sorted(choose_videos([[0, 1], [2, 1], [2, 0]], max_videos=2, num_clips=1))
    [0, 2]

    Args:
        rankings: Videos of every concept, best first (see `rank_videos`).
        max_videos: Most videos to choose.
        num_clips: How many of its best videos each concept asks for.

    Returns:
        At most ``max_videos`` video indices; ties go to the earlier video.
    """
    wanted = Counter(video for ranking in rankings for video in ranking[:num_clips])
    popular = sorted(wanted, key=lambda video: (-wanted[video], video))
    return set(popular[:max_videos])
