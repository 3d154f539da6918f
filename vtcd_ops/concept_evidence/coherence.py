"""How contiguous the supports of concepts are, in space and in time: Moran's I.

Moran, "Notes on continuous stochastic phenomena" (Biometrika 37, 1950). Of a support with the share
m of n tokens, and E pairs of neighbours of which B lie in it with both and S counts ends of pairs
that do (so that Σ over pairs (xᵢ − m)(xⱼ − m) = B − mS + m²E):

    I = (B − mS + m²E) / (E · m(1 − m)),        −1/(n − 1) on average where tokens are shuffled
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtcd_ops.concept_evidence.per_video import PerVideo
from vtcd_ops.concept_evidence.tokens import TokenConcepts

SPACE, TIME = "space", "time"
_AXES = {SPACE: (2, 3), TIME: (1,)}  # of [H, t, h, w]


@dataclass(frozen=True, eq=False)
class Coherence:
    """Moran's I of every concept along one kind of axes.

    Args:
        per_video: of each video in which a concept is, but not everywhere.
        expected: its mean where tokens are shuffled, in closed form, float64 [U].
        p_value: share of the shuffles that reach it, itself among them, float64 [U]; NaN where
            nothing was shuffled or the concept has no value.
    """

    per_video: PerVideo
    expected: np.ndarray
    p_value: np.ndarray


def coherence(
    concepts: TokenConcepts, num_shuffles: int = 0, seed: int = 0
) -> dict[str, Coherence]:
    """Return how coherent every concept is in space and in time.

    Args:
        concepts: of a run.
        num_shuffles: of the tokens of each video, all heads alike, for the p-values.
        seed: of the shuffles.
    """
    measured = _morans(concepts)
    values = {kind: each.values() for kind, each in measured.items()}
    random = np.random.default_rng(seed)
    reached = {kind: np.ones(len(concepts)) for kind in measured}
    for _ in range(num_shuffles):
        for kind, each in _morans(_shuffled(concepts, random)).items():
            reached[kind] += each.values() >= values[kind] - 1e-12  # beyond the rounding
    found = {}
    for kind, each in measured.items():
        p_value = np.full(len(concepts), np.nan)
        if num_shuffles:
            p_value = np.where(np.isnan(values[kind]), np.nan, reached[kind] / (num_shuffles + 1))
        by_chance = np.broadcast_to(-1 / (concepts.num_tokens() - 1.0), each.numerator.shape)
        expected = PerVideo(by_chance * each.denominator, each.denominator).values()
        found[kind] = Coherence(each, expected, p_value)
    return found


def _shuffled(concepts: TokenConcepts, random: np.random.Generator) -> TokenConcepts:
    maps = []
    for units in concepts.maps:
        order = random.permutation(units[0].size)
        maps.append(units.reshape(len(units), -1)[:, order].reshape(units.shape))
    return TokenConcepts(concepts.units, concepts.heads, maps)


def _morans(concepts: TokenConcepts) -> dict[str, PerVideo]:
    found = {
        kind: np.stack([_moran(units, axes, len(concepts)) for units in concepts.maps], axis=1)
        for kind, axes in _AXES.items()
    }
    return {kind: PerVideo.mean_of(values) for kind, values in found.items()}


def _moran(units: np.ndarray, axes: tuple[int, ...], num_units: int) -> np.ndarray:
    """Moran's I [U] in one video; NaN where it is not defined."""
    share = _count(units, num_units) / units[0].size
    both, ends, num_pairs = np.zeros(num_units), np.zeros(num_units), 0
    for axis in axes:
        before = np.take(units, range(units.shape[axis] - 1), axis=axis)
        after = np.take(units, range(1, units.shape[axis]), axis=axis)
        both += _count(before[before == after], num_units)
        ends += _count(before, num_units) + _count(after, num_units)
        num_pairs += before[0].size
    spread = num_pairs * share * (1 - share)
    known = spread > 0
    together = both - share * ends + share**2 * num_pairs
    found: np.ndarray = np.where(known, together, np.nan) / np.where(known, spread, 1.0)
    return found


def _count(units: np.ndarray, num_units: int) -> np.ndarray:
    return np.bincount(units[units >= 0], minlength=num_units)
