"""The additive model of metric drops: importance as what a regression says of each unit."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch

from vtcd_ops.estimates.mask_regression import Regression, Removals
from vtcd_ops.estimates.mask_scores import MaskScores

_FOLDS = 5  # of the held-out R²
_REPLICATES = 20  # of the jackknife


class AdditiveModel:
    """Regressions of the drops of each video on the units that occur in it.

    The penalty is that of one regression of the mean drop of all videos on all units, because the
    coefficients are averaged over videos in the end. A `name` below is "regression", for the
    coefficients, or "adjusted", for the mean drop given that a unit is removed.
    """

    def __init__(self, data: MaskScores) -> None:
        self._data = data
        self._removals = Removals(data)
        self._mean_drop = torch.from_numpy(data.drops.mean(0))

    @cached_property
    def _whole(self) -> Regression:
        return Regression(self._removals, np.flatnonzero(self._data.present.any(0)))

    @cached_property
    def _penalty(self) -> float:
        """The penalty where all masks are used."""
        return self._whole.penalty(self._mean_drop, np.ones(self._data.num_masks, dtype=bool))

    def by_video(self, name: str, used: np.ndarray) -> np.ndarray:
        """Estimate from the used masks, bool [M]: float64 [V, U]."""
        penalty = self._penalty if used.all() else self._whole.penalty(self._mean_drop, used)
        result = np.full((self._data.num_videos, self._data.num_units), np.nan)
        for pattern, videos in self._patterns():
            drops = self._data.drops[videos]
            for _, found in self._fits(name, pattern, drops, used[:, None], penalty):
                result[np.ix_(videos, pattern)] = found.T
        return result

    def held_out_r2(self) -> float:
        """Share of the mean drop's variance that fits of the other masks predict; NaN if few."""
        data = self._data
        if data.num_blocks < 2 * _FOLDS:
            return float("nan")
        drop, fold = self._mean_drop.numpy(), data.groups(_FOLDS)
        used = fold[:, None] != np.arange(_FOLDS)  # [M, folds]
        fits = self._whole.coefficients(self._mean_drop[:, None], used, self._penalty)
        predicted = self._whole.predict(torch.cat([found for _, found in fits], dim=1)).numpy()
        wrong = unexplained = 0.0
        for i in range(_FOLDS):
            fitted, held_out = used[:, i], ~used[:, i]
            level = drop[fitted].mean() - predicted[fitted, i].mean()
            wrong += float(((drop - level - predicted[:, i])[held_out] ** 2).sum())
            unexplained += float(((drop - drop[fitted].mean())[held_out] ** 2).sum())
        return 1 - wrong / unexplained if unexplained > 0 else 0.0

    def jackknife(self, name: str) -> np.ndarray:
        """Standard errors [U] from the independent blocks of masks.

        The fit is repeated without each of up to 20 groups of blocks in turn, the penalty held
        (delete-a-group jackknife). For "adjusted" they are those of a unit's distance from the mean
        unit: the mean drop of all masks, which all units share, ranks none of them.
        """
        data = self._data
        groups = min(_REPLICATES, data.num_blocks)
        if groups < 2:
            return np.full(data.num_units, np.nan)
        used = data.groups(groups)[:, None] != np.arange(groups)  # [M, groups]
        sums, count = np.zeros((data.num_units, groups)), data.present.sum(0)[:, None]
        for pattern, videos in self._patterns():
            mean = data.drops[videos].mean(0, keepdims=True)  # fits are linear in the drops
            for i, found in self._fits(name, pattern, mean, used, self._penalty):
                sums[pattern, i] += len(videos) * found[:, 0]
        with np.errstate(invalid="ignore", divide="ignore"):
            sums /= count  # now the replicates, [U, groups]
        if name == "adjusted" and count.any():
            sums -= np.nanmean(sums, axis=0)
        sums -= sums.mean(1, keepdims=True)
        return np.sqrt(np.einsum("ug,ug->u", sums, sums) * ((groups - 1) / groups))

    def _patterns(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Group the videos in which the same units occur: indices of units and of videos."""
        patterns, which = np.unique(self._data.present, axis=0, return_inverse=True)
        for i, pattern in enumerate(patterns):
            if pattern.any():
                yield np.flatnonzero(pattern), np.flatnonzero(which.ravel() == i)

    def _fits(
        self,
        name: str,
        units: np.ndarray,  # [u]
        drops: np.ndarray,  # [v, M]
        used: np.ndarray,  # [M, k]
        penalty: float,
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Fit drops k times, each time on masks of its own: index of the fit, estimates [u, v]."""
        same = np.array_equal(units, self._whole.units)
        regression = self._whole if same else Regression(self._removals, units)
        for i, found in regression.coefficients(torch.from_numpy(drops.T.copy()), used, penalty):
            values = found.numpy()
            if name == "adjusted":
                values = self._as_mean_drop(values, drops[:, used[:, i]].mean(1))
            yield i, values

    def _as_mean_drop(
        self,
        coefficients: np.ndarray,  # [u, v]
        mean_drop: np.ndarray,  # [v]
    ) -> np.ndarray:
        """Predict the mean drop given that a unit is removed: what `removed` estimates, [u, v].

        Of U units n are removed, p = n / U. Given that unit i is one of them, the others are
        removed with probability (n - 1) / (U - 1), so the additive model's mean is above the mean
        of all masks by (1 - p) U / (U - 1) times (its coefficient minus the sum of all over U).
        """
        units, removed = self._data.num_units, self._data.num_removed
        above = coefficients - coefficients.sum(0) / units
        return mean_drop + (1 - removed / units) * units / (units - 1) * above
