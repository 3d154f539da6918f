"""The additive model of metric drops: importance as what regressions say of each unit."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from vtcd_ops.estimates.mask_regression import Regression, Removals, common_penalty
from vtcd_ops.estimates.mask_scores import MaskScores

__all__ = ["FOLDS", "AdditiveModel", "r2_of"]

FOLDS = 5  # of the held-out R²
_REPLICATES = 20  # of the jackknife
_KEPT_BYTES = 2**27  # of normal matrices


@dataclass(frozen=True, eq=False)
class _Group:
    """Videos that share their masks, and in which the same units occur."""

    seed: int
    videos: np.ndarray  # [v]
    units: np.ndarray  # [u]
    regression: Regression


class AdditiveModel:
    """Regressions of the drops of each video on the units that occur in it.

    One penalty serves all videos: their coefficients are averaged in the end, and one criterion
    summed over the videos is less noisy than one of each.

    With a prior the coefficients are shrunk towards it instead of towards zero: the drops of a
    video are first explained by a number a >= 0 of its own times what the prior foretells for each
    mask, and the regression is fitted to the rest.

    A `name` below is "regression", for the coefficients, or "adjusted", for the mean drop given
    that a unit is removed.

    Args:
        data: the scores.
        prior: float64 [V, U], what something else than the masks says of each unit in each video.
    """

    def __init__(self, data: MaskScores, prior: np.ndarray | None = None) -> None:
        self.data = data
        self._removals = {seed: Removals(data, seed) for seed, _ in data.sharing()}
        self._kept: list[_Group] | None = None
        self._penalty: float | None = None
        self.prior = None if prior is None else np.where(data.present, prior, 0.0)
        self._foretold = np.zeros_like(data.drops)  # [V, M], by the prior
        if self.prior is None:
            return
        for seed, videos in data.sharing():
            for units, block in self._removals[seed].columns(np.arange(data.num_units)):
                of_videos = torch.from_numpy(self.prior[videos, units].T.copy())
                self._foretold[videos] += (block.double() @ of_videos).numpy().T

    def by_video(self, name: str, used: np.ndarray) -> np.ndarray:
        """Estimate from the used masks, bool [M]: float64 [V, U]."""
        result = np.full(self.data.present.shape, np.nan)
        penalty = self.penalty(used)
        for group in self._groups():
            for _, found in self._fits(name, group, used[:, None], penalty):
                result[np.ix_(group.videos, group.units)] = found.T
        return result

    def penalty(self, used: np.ndarray) -> float:
        """Choose the penalty for the used masks; that of all masks is chosen once."""
        if used.all() and self._penalty is not None:
            return self._penalty
        spectra = []
        for group in self._groups():
            scale = self._scale(group.videos, used)
            rest = self.data.drops[group.videos] - scale[:, None] * self._foretold[group.videos]
            spectra.append(group.regression.spectrum(torch.from_numpy(rest.T.copy()), used))
        penalty = common_penalty(spectra)
        if used.all():
            self._penalty = penalty
        return penalty

    def held_out_fits(
        self,
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, Iterator[tuple[int, np.ndarray]]]]:
        """Go over fits that have not seen a fold of the masks; the penalty is that of all masks.

        Yields:
            Videos [v], units [u], removals [M, u], and for each fold its index and the coefficients
            [u, v] that the other folds give.
        """
        used = self.data.groups(FOLDS)[:, None] != np.arange(FOLDS)  # [M, folds]
        penalty = self.penalty(np.ones(self.data.num_masks, dtype=bool))
        for group in self._groups():
            removed = group.regression.table()
            yield (
                group.videos, group.units, removed, self._fits("regression", group, used, penalty)
            )  # fmt: skip

    def held_out_predictions(self) -> np.ndarray:
        """Predict each drop by fits that have not seen its fold of masks: float64 [V, M].

        NaN for a video in which no unit occurs.
        """
        fold = self.data.groups(FOLDS)
        used = fold[:, None] != np.arange(FOLDS)  # [M, folds]
        penalty = self.penalty(np.ones(self.data.num_masks, dtype=bool))
        predicted = np.full_like(self.data.drops, np.nan)
        for group in self._groups():
            drops = self.data.drops[group.videos]
            for i, found in self._fits("regression", group, used, penalty):
                said = group.regression.predict(torch.from_numpy(found)).numpy().T  # [v, M]
                level = (drops - said)[:, used[:, i]].mean(1)
                rows = np.ix_(group.videos, ~used[:, i])
                predicted[rows] = said[:, ~used[:, i]] + level[:, None]
        return predicted

    def foretold_predictions(self) -> np.ndarray:
        """Predict each drop by the prior alone, its scale from the other folds: float64 [V, M].

        NaN for a video in which no unit occurs.
        """
        fold = self.data.groups(FOLDS)
        predicted = np.full_like(self.data.drops, np.nan)
        videos = np.flatnonzero(self.data.present.any(1))
        for i in range(FOLDS):
            used = fold != i
            said = self._scale(videos, used)[:, None] * self._foretold[videos]
            level = (self.data.drops[videos] - said)[:, used].mean(1)
            predicted[np.ix_(videos, ~used)] = said[:, ~used] + level[:, None]
        return predicted

    def held_out_r2(self, predicted: np.ndarray | None = None) -> float:
        """Share of the drops' variance that fits of the other masks predict; NaN if few.

        Args:
            predicted: by what else than the regression.
        """
        if self.data.num_blocks < 2 * FOLDS:
            return float("nan")
        return r2_of(self.data, self.held_out_predictions() if predicted is None else predicted)

    def jackknife(self, name: str) -> np.ndarray:
        """Standard errors [U] from the independent blocks of masks.

        The fit is repeated without each of up to 20 groups of blocks in turn, the penalty held
        (delete-a-group jackknife); videos with masks of their own err independently. For "adjusted"
        they are those of a unit's distance from the mean unit: the mean drop of all masks, which
        all units share, ranks none of them.
        """
        data = self.data
        groups = min(_REPLICATES, data.num_blocks)
        if groups < 2:
            return np.full(data.num_units, np.nan)
        used = data.groups(groups)[:, None] != np.arange(groups)  # [M, groups]
        penalty = self.penalty(np.ones(data.num_masks, dtype=bool))
        count = data.present.sum(0)[:, None]
        sums = {seed: np.zeros((data.num_units, groups)) for seed in self._removals}
        for group in self._groups():
            of_seed = sums[group.seed]
            for i, found in self._fits(name, group, used, penalty):
                of_seed[group.units, i] += found.sum(1)
        variance = np.zeros(data.num_units)
        for replicates in sums.values():
            with np.errstate(invalid="ignore", divide="ignore"):
                replicates /= count
            if name == "adjusted" and count.any():
                replicates -= np.nanmean(replicates, axis=0)
            replicates -= replicates.mean(1, keepdims=True)
            variance += np.einsum("ug,ug->u", replicates, replicates) * ((groups - 1) / groups)
        return np.sqrt(variance)

    def _groups(self) -> Iterator[_Group]:
        """Go over the regressions; kept where they are small."""
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[_Group] = []
        num_bytes = 0
        for seed, videos in self.data.sharing():
            patterns, which = np.unique(self.data.present[videos], axis=0, return_inverse=True)
            for i, pattern in enumerate(patterns):
                if not pattern.any():
                    continue
                units, some = np.flatnonzero(pattern), videos[which.ravel() == i]
                group = _Group(seed, some, units, Regression(self._removals[seed], units))
                num_bytes += group.regression.num_bytes
                kept = [*kept, group] if num_bytes <= _KEPT_BYTES else []
                yield group
        if num_bytes <= _KEPT_BYTES:
            self._kept = kept

    def _scale(self, videos: np.ndarray, used: np.ndarray) -> np.ndarray:
        """By which number >= 0 the prior explains the used drops of each video best: [v]."""
        foretold = self._foretold[videos][:, used]
        foretold = foretold - foretold.mean(1, keepdims=True)
        products = (foretold * self.data.drops[videos][:, used]).sum(1)
        squares = (foretold**2).sum(1)
        scale = products / np.where(squares > 0, squares, 1.0)
        return np.where(squares > 0, np.maximum(scale, 0.0), 0.0)

    def _fits(
        self, name: str, group: _Group, used: np.ndarray, penalty: float
    ) -> Iterator[tuple[int, np.ndarray]]:
        """Fit k times, each time on masks of its own, [M, k]: index of the fit, estimates [u, v].

        A fit is linear in what it is fitted to, so drops and what the prior foretells are fitted
        beside each other, and joined by the scale of each fit.
        """
        videos, count = group.videos, len(group.videos)
        drops = self.data.drops[videos]
        targets = [drops.T] if self.prior is None else [drops.T, self._foretold[videos].T]
        y = torch.from_numpy(np.concatenate(targets, axis=1))
        for i, found in group.regression.coefficients(y, used, penalty):
            values = found.numpy()
            if self.prior is not None:
                scale = self._scale(videos, used[:, i])
                prior = self.prior[np.ix_(videos, group.units)].T
                values = values[:, :count] + scale * (prior - values[:, count:])
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
        units, removed = self.data.num_units, self.data.num_removed
        above = coefficients - coefficients.sum(0) / units
        return mean_drop + (1 - removed / units) * units / (units - 1) * above


def r2_of(data: MaskScores, predicted: np.ndarray) -> float:
    """Share of the variance of drops that predictions [V, M] of held-out masks explain.

    What is predicted is compared to the mean drop of the other folds. The videos' squares are added
    up, as their effects are; videos of NaN do not count.
    """
    fold = data.groups(FOLDS)
    wrong = unexplained = 0.0
    for video in np.flatnonzero(np.isfinite(predicted).all(1)):
        drops = data.drops[video]
        wrong += float(((drops - predicted[video]) ** 2).sum())
        for i in range(FOLDS):
            level = drops[fold != i].mean()
            unexplained += float(((drops[fold == i] - level) ** 2).sum())
    return 1 - wrong / unexplained if unexplained > 0 else 0.0
