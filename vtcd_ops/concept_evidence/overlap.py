"""How much the concepts of one run overlap with the best concepts of another, beside chance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.concept_evidence.tokens import TokenConcepts
from vtcd_ops.estimates.chance_overlap import expected_overlap
from vtcd_ops.ops import pack_supports, rosetta_ratios

_RATIOS = 1 << 22  # of pairs in videos, at a time
_NUM_MOVES = 4  # placements of the other run's supports at random


@dataclass(frozen=True, eq=False)
class BestOverlap:
    """For every concept of a run the concept of another run that it overlaps most with.

    Args:
        score: mean over videos of the intersection over the union (equation 7), float64 [U].
        unit: which concept of the other run it is, (layer, head, concept), int64 [U, 3].
        per_video: the intersection over the union in every video.
        expected: what two supports of these sizes at random places would score, float64 [U].
        moved: the score of the best concept where the other run's supports are moved to random
            places; mean of several placements, float64 [U].
    """

    score: np.ndarray
    unit: np.ndarray
    per_video: PerVideo
    expected: np.ndarray
    moved: np.ndarray


def best_overlaps(one: TokenConcepts, other: TokenConcepts, seed: int = 0) -> BestOverlap:
    """Return for every concept of a run the concept of another run that it overlaps most with.

    Args:
        one: concepts of a run.
        other: of another run, on the same token grids of the same videos.
        seed: of the random places.
    """
    score, index, ratios = _best(one, other)
    sizes = np.stack([one.counts(), other.counts()[index]], axis=-1)  # [U, V, 2]
    expected = PerVideo.mean_of(expected_overlap(sizes, one.num_tokens())).values()
    random = np.random.default_rng(seed)
    moved = [_best(one, other.moved(random))[0] for _ in range(_NUM_MOVES)]
    return BestOverlap(
        score, other.units[index], PerVideo.mean_of(ratios), expected, np.mean(moved, axis=0)
    )


def best_scores(one: TokenConcepts, other: TokenConcepts) -> np.ndarray:
    """Return the score alone of every concept of a run, float64 [U]; see :func:`best_overlaps`."""
    return _best(one, other)[0]


def _best(one: TokenConcepts, other: TokenConcepts) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Best scores [U], whose they are [U], and their ratio in every video [U, V]."""
    words, videos = _packed(one, other)
    models = torch.tensor([0, len(one), len(one) + len(other)])
    every = torch.arange(len(other), dtype=torch.int32)
    scores, chosen, ratios = [], [], []
    step = max(_RATIOS // (len(other) * len(one.maps)), 1)
    for begin in range(0, len(one), step):
        mine = torch.arange(begin, min(begin + step, len(one)), dtype=torch.int32)
        pairs = torch.cartesian_prod(mine, every)
        found = rosetta_ratios(words, videos, models, pairs).numpy()
        found = found.reshape(len(mine), len(other), -1)
        counted = (~np.isnan(found)).sum(axis=2)
        score = np.nansum(found, axis=2) / np.maximum(counted, 1)
        best = score.argmax(axis=1)
        scores.append(np.take_along_axis(score, best[:, None], axis=1)[:, 0])
        ratios.append(np.take_along_axis(found, best[:, None, None], axis=1)[:, 0])
        chosen.append(best)
    return np.concatenate(scores), np.concatenate(chosen), np.concatenate(ratios)


def _packed(one: TokenConcepts, other: TokenConcepts) -> tuple[torch.Tensor, torch.Tensor]:
    """The supports of both, as `rosetta_ratios` takes them; a video at a time, for the memory."""
    words, ends = [], [0]
    for pair in zip(one.maps, other.maps, strict=True):
        masks = [_supports(units, len(of)) for units, of in zip(pair, (one, other), strict=True)]
        packed, offsets = pack_supports([torch.cat(masks)])
        words.append(packed)
        ends.append(ends[-1] + int(offsets[-1]))
    return torch.cat(words), torch.tensor(ends)


def _supports(units: np.ndarray, num_units: int) -> torch.Tensor:
    """The support of every concept in one video, bool [U, tokens], from the units [H, t, h, w]."""
    rows = units.reshape(len(units), -1)
    supports = np.zeros((num_units, rows.shape[1]), dtype=bool)
    head, token = np.nonzero(rows >= 0)
    supports[rows[head, token], token] = True
    return torch.from_numpy(supports)
