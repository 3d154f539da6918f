"""How much concepts overlap: with those of the randomised copy, and with each other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from vtcd_ops.discovery.run import Run

_MOST_TOKENS = 4096  # of a video; more are sampled evenly, which an overlap can bear

Unit = tuple[int, int, int]  #: layer, head, concept


@dataclass(frozen=True)
class Overlaps:
    """Overlaps of the concepts of two runs of the same videos, on their tokens.

    Args:
        rows: the concepts of one run.
        columns: those of the other.
        ratio: float64 [rows, columns], intersection over union, mean over the videos in which one
            of the two lies (equation 7 of the paper).
        chance: what supports of these sizes have at random places.
    """

    rows: list[Unit]
    columns: list[Unit]
    ratio: npt.NDArray[np.float64]
    chance: npt.NDArray[np.float64]

    @property
    def beyond_chance(self) -> npt.NDArray[np.float64]:
        """Overlaps less what chance gives at these sizes, over the most that it leaves.

        0: as much as by chance, 1: the same. Small concepts overlap little with anything; taking
        chance away makes sizes comparable.
        """
        return (self.ratio - self.chance) / np.maximum(1 - self.chance, 1e-12)


def overlaps(
    one: Run, other: Run, part: str, videos: Sequence[int], *, progress: bool = False
) -> Overlaps:
    """Return how much every concept of a run overlaps with every concept of another.

    Args:
        one: a run.
        other: a run of the same videos and of a model of the same token grid; may be the same.
        part: of both.
        videos: in which.
        progress: show a bar.
    """
    rows, columns = _units(one, part), _units(other, part)
    ratio, chance = (np.zeros((len(rows), len(columns))) for _ in range(2))
    counted = np.zeros((len(rows), len(columns)))
    for video in tqdm(videos, desc="overlaps", unit="video", disable=not progress):
        ours = _members(one, part, video, len(rows))
        theirs = ours if other is one else _members(other, part, video, len(columns))
        both = (ours @ theirs.T).astype(np.float64)  # whole numbers below 2^24: exact
        sizes = ours.sum(axis=1, dtype=np.float64)[:, None]
        others = theirs.sum(axis=1, dtype=np.float64)[None, :]
        union = sizes + others - both
        by_chance = sizes * others / ours.shape[1]
        counted += union > 0
        ratio += both / np.maximum(union, 1)
        chance += by_chance / np.maximum(sizes + others - by_chance, 1)
    return Overlaps(rows, columns, ratio / np.maximum(counted, 1), chance / np.maximum(counted, 1))


def _units(run: Run, part: str) -> list[Unit]:
    return [(int(a), int(b), int(c)) for a, b, c in run.units(part).tolist()]


def _members(run: Run, part: str, video: int, num_units: int) -> npt.NDArray[np.float32]:
    """Which tokens of a video belong to each concept, [U, tokens]."""
    found: npt.NDArray[np.float32] | None = None
    for start, labels in _labels(run, part, video):
        if found is None:
            found = np.zeros((num_units, len(labels)), np.float32)
        inside = np.flatnonzero(labels >= 0)
        found[start + labels[inside], inside] = 1
    assert found is not None  # a run has heads
    return found


def _labels(run: Run, part: str, video: int) -> Iterator[tuple[int, npt.NDArray[np.int32]]]:
    """For every head the row of its first concept, and the concept of each token."""
    start = 0
    for layer in run.layers:
        tokens = run.tokens(video, layer, part)
        step = math.ceil(tokens.shape[1] / _MOST_TOKENS)
        for row, head in enumerate(run.heads):
            yield start, tokens[row, ::step]
            start += run.concepts(layer, head, part).k
