"""The mean score of all tuples, found or not: what the tuples that were found are compared with."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import combinations

import numpy as np
import torch

from vtcd_ops.ops import rosetta_ratios
from vtcd_ops.rosetta_concepts.compared import Baseline
from vtcd_ops.rosetta_concepts.supports import PackedSupports

_EXACT_WORDS = 4e9  # words of supports that scoring all tuples may read: seconds on two cores
_NUM_DRAWN = 100_000  # tuples drawn at random where all would be more
_BATCH = 65_536  # tuples scored at a time

Models = tuple[int, ...]


def mean_of_all(
    supports: PackedSupports,
    order: int,
    *,
    seed: int = 0,
    exact_words: float = _EXACT_WORDS,
    num_drawn: int = _NUM_DRAWN,
) -> Baseline:
    """Return the mean score of all tuples of ``order`` models, each counted once.

    Exact where scoring them all is a matter of seconds; otherwise the mean over tuples drawn at
    random, uniformly and with replacement, with its standard error.

    Args:
        supports: of all concepts.
        order: models in a tuple.
        seed: of the drawing.
        exact_words: words of supports up to which all tuples are scored.
        num_drawn: tuples drawn otherwise.
    """
    sizes = np.diff(supports.models.numpy())
    groups = {
        models: math.prod(int(sizes[m]) for m in models)
        for models in combinations(range(len(sizes)), order)
    }
    num_tuples = sum(groups.values())
    if num_tuples == 0:
        return Baseline(order, 0.0, 0.0, 0, 0)
    exact = num_tuples * order * int(supports.videos[-1]) <= exact_words
    batches = _all(groups, sizes) if exact else _drawn(groups, sizes, num_drawn, seed)
    scores = np.concatenate([_scores(supports, tuples) for tuples in batches])
    stderr = 0.0 if exact else float(scores.std(ddof=1) / math.sqrt(len(scores)))
    return Baseline(order, float(scores.mean()), stderr, num_tuples, len(scores))


def _all(groups: dict[Models, int], sizes: np.ndarray) -> Iterator[np.ndarray]:
    for models, count in groups.items():
        for begin in range(0, count, _BATCH):
            numbers = np.arange(begin, min(begin + _BATCH, count))
            tuples = np.full((len(numbers), len(sizes)), -1, dtype=np.int32)
            concepts = np.unravel_index(numbers, [int(sizes[m]) for m in models])
            tuples[:, models] = np.stack(concepts, axis=1)
            yield tuples


def _drawn(
    groups: dict[Models, int], sizes: np.ndarray, num_drawn: int, seed: int
) -> Iterator[np.ndarray]:
    random = np.random.default_rng(seed)
    shares = np.array(list(groups.values()), dtype=np.float64)
    counts = random.multinomial(num_drawn, shares / shares.sum())
    for models, count in zip(groups, counts.tolist(), strict=True):
        for begin in range(0, count, _BATCH):
            length = min(_BATCH, count - begin)
            tuples = np.full((length, len(sizes)), -1, dtype=np.int32)
            tuples[:, models] = random.integers(sizes[list(models)], size=(length, len(models)))
            yield tuples


def _scores(supports: PackedSupports, tuples: np.ndarray) -> np.ndarray:
    """The scores [Q] of tuples [Q, D] (equation 7)."""
    chosen = torch.from_numpy(tuples).to(supports.words.device)
    ratios = rosetta_ratios(supports.words, supports.videos, supports.models, chosen).cpu().numpy()
    counted = (~np.isnan(ratios)).sum(axis=1)
    scores: np.ndarray = np.nansum(ratios, axis=1) / np.maximum(counted, 1)
    return scores
