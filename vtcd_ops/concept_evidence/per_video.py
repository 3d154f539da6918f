"""A number of every concept that is a mean, or a ratio of sums, over videos; and its interval."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtcd_ops.common.equality import same_fields

LEVEL = 0.95
_NUM_RESAMPLES = 1000


@dataclass(frozen=True, eq=False)
class PerVideo:
    """Numerators and denominators of every concept in every video, float64 [U, V].

    A concept's value is the sum of the one over the sum of the other. A mean over videos has
    denominators 1, and 0 in videos that do not count.
    """

    numerator: np.ndarray
    denominator: np.ndarray

    def __eq__(self, other: object) -> bool:
        return same_fields(self, other)

    __hash__ = None  # type: ignore[assignment]  # equal by content

    @classmethod
    def mean_of(cls, values: np.ndarray) -> PerVideo:
        """Return what averages values [U, V] over the videos in which they are not NaN."""
        known = ~np.isnan(values)
        return cls(np.where(known, values, 0.0), known.astype(np.float64))

    def values(self) -> np.ndarray:
        """Return the value of every concept, float64 [U], NaN where no video counts."""
        return _ratio(self.numerator.sum(axis=1), self.denominator.sum(axis=1))

    def median_interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval, over videos, of the median of all concepts.

        Percentiles of the median over videos drawn again with replacement (bootstrap); NaN where
        there is a single video, or no concept has a value.
        """
        if self.numerator.shape[1] < 2:
            return float("nan"), float("nan")
        random = np.random.default_rng(0)
        num_videos = self.numerator.shape[1]
        drawn = random.integers(0, num_videos, (_NUM_RESAMPLES, num_videos))
        weights = np.stack([np.bincount(row, minlength=num_videos) for row in drawn])
        medians = []
        for begin in range(0, _NUM_RESAMPLES, 100):  # so that they fit into the memory
            some = weights[begin : begin + 100].T.astype(np.float64)
            medians.append(_median(_ratio(self.numerator @ some, self.denominator @ some), axis=0))
        every = np.concatenate(medians)
        if np.isnan(every).all():
            return float("nan"), float("nan")
        low, high = np.nanquantile(every, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    known = denominator > 0
    found: np.ndarray = np.where(known, numerator, np.nan) / np.where(known, denominator, 1.0)
    return found


def _median(values: np.ndarray, axis: int) -> np.ndarray:
    """The median of what is known along an axis; NaN, without a warning, where nothing is."""
    known = ~np.isnan(values).all(axis=axis)
    found = np.full(known.shape, np.nan)
    found[known] = np.nanmedian(np.compress(known, values, axis=1 - axis), axis=axis)
    return found


def median(values: np.ndarray) -> float:
    """Return the median of what is known of values [U]; NaN where nothing is."""
    known = values[~np.isnan(values)]
    return float(np.median(known)) if len(known) else float("nan")
