"""For every concept of each run the concept of any other run that it overlaps most with."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, pairwise

import numpy as np
import torch

from vtcd_ops.ops import rosetta_ratios
from vtcd_ops.rosetta_concepts.compared import Partners
from vtcd_ops.rosetta_concepts.supports import PackedSupports

_BATCH = 65_536  # pairs scored at a time


def find_partners(supports: PackedSupports, sizes: list[np.ndarray]) -> Partners:
    """Return the best partner of every concept, by trying every pair.

    Of equal scores the first run, and its first concept, counts.

    Args:
        supports: of all concepts.
        sizes: for each run the voxels of each concept in each video.
    """
    counts = np.diff(supports.models.numpy()).tolist()
    best = [np.full(count, -1.0) for count in counts]
    members = [np.full((count, 2), -1, dtype=np.int64) for count in counts]
    for one, other in combinations(range(len(counts)), 2):
        for first, scores in _scores(supports, counts, one, other):
            rows = np.arange(first, first + len(scores))
            _keep(best[one], members[one], rows, scores, other, 0)
            _keep(best[other], members[other], np.arange(counts[other]), scores.T, one, first)
    return Partners([np.maximum(each, 0.0) for each in best], members, sizes)


def _keep(
    best: np.ndarray,
    members: np.ndarray,
    rows: np.ndarray,
    scores: np.ndarray,
    run: int,
    first: int,
) -> None:
    """Take the best of scores [rows, partners] where it is better than what there was."""
    chosen = scores.argmax(axis=1)
    found = scores[np.arange(len(rows)), chosen]
    better = found > best[rows]
    best[rows[better]] = found[better]
    members[rows[better], 0] = run
    members[rows[better], 1] = first + chosen[better]


def _scores(
    supports: PackedSupports, counts: list[int], one: int, other: int
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the scores of some concepts of one run with all of another, and which is the first."""
    step = max(_BATCH // max(counts[other], 1), 1)
    for first in range(0, counts[one], step):
        last = min(first + step, counts[one])
        tuples = np.full(((last - first) * counts[other], len(counts)), -1, dtype=np.int32)
        tuples[:, one] = np.repeat(np.arange(first, last), counts[other])
        tuples[:, other] = np.tile(np.arange(counts[other]), last - first)
        chosen = torch.from_numpy(tuples).to(supports.words.device)
        found = rosetta_ratios(supports.words, supports.videos, supports.models, chosen)
        ratios = found.cpu().numpy()
        counted = (~np.isnan(ratios)).sum(axis=1)
        scores = np.nansum(ratios, axis=1) / np.maximum(counted, 1)
        yield first, scores.reshape(last - first, counts[other])


def sizes_of(supports: PackedSupports) -> list[np.ndarray]:
    """Return for each run the voxels of each concept in each video, int64 [C, V]."""
    words, videos = supports.words.numpy(), supports.videos.numpy()
    num_concepts = int(supports.models[-1])
    counted = np.zeros((num_concepts, len(videos) - 1), dtype=np.int64)
    for video, (begin, end) in enumerate(pairwise(videos)):
        rows = words[num_concepts * begin : num_concepts * end].reshape(num_concepts, -1)
        for first in range(0, num_concepts, 256):  # eight times the bytes when unpacked
            octets = np.ascontiguousarray(rows[first : first + 256]).view(np.uint8)
            counted[first : first + 256, video] = np.unpackbits(octets, axis=1).sum(axis=1)
    return np.split(counted, supports.models.numpy()[1:-1])
