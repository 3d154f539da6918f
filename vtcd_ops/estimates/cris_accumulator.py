"""Importance from a stream of masks, holding sums instead of scores."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.ops import arguments

_NAME = "CrisAccumulator"
_ESTIMATORS = ("removed", "kept", "difference", "kept_sum")


class CrisAccumulator:
    """Averages the scores of masks as they come, for the estimators that are means.

    >>> keep = torch.tensor([[True, False], [False, True], [True, False], [False, True]])
    >>> accumulator = CrisAccumulator(num_units=2)
    >>> accumulator.update(keep, torch.tensor([0.2, 0.9, 0.4, 0.7]))
    >>> value, stderr = accumulator.importance("removed", baseline=1.0)
    >>> [round(v, 6) for v in value.tolist()]  # removing unit 1 leaves a score of 0.3 on average
    [0.2, 0.7]

    Its memory is 48 bytes a unit, however many masks. Masks are taken one by one in their order, so
    results are the same bits however they are divided among calls. Means and squared deviations are
    updated as Welford (1962) has it, so neither a large offset of the metric nor a single huge
    score costs them their digits. It takes every mask as independent of the others: for other
    designs than "simple", for the spread over videos, and for the regression, see
    `vtcd_ops.estimates.estimators.estimate`, which works on stored scores.

    Args:
        num_units: U.
    """

    def __init__(self, num_units: int) -> None:
        arguments.at_least(_NAME, "num_units", num_units, 1)
        self.num_units = int(num_units)
        shape = (2, self.num_units)  # row 0: masks that remove a unit, row 1: that keep it
        self._count = np.zeros(shape, dtype=np.int64)
        self._mean = np.zeros(shape)  # of their scores
        self._spread = np.zeros(shape)  # sum of the squared deviations from the mean

    def update(self, keep: Tensor, score: Tensor, present: Tensor | None = None) -> None:
        """Add masks of one video, or of videos in which the same units occur.

        Args:
            keep: bool [M, U], false where a mask removes a unit.
            score: [M], the metric under each mask.
            present: bool [U], the units that occur; all by default.

        Raises:
            ValueError: shapes that do not fit, NaN or Inf; nothing is added then.
            TypeError: another dtype.
        """
        masks = _booleans("keep", keep, ("M", self.num_units))
        occurs = np.ones(self.num_units, dtype=bool)
        if present is not None:
            occurs = _booleans("present", present, (self.num_units,))
        scores = _finite_scores(score, len(masks))
        count, mean, spread = self._count.copy(), self._mean.copy(), self._spread.copy()
        with np.errstate(over="ignore", invalid="ignore"):  # a spread beyond float64 is infinite
            for value, kept in zip(scores, masks, strict=True):
                rows = np.stack([occurs & ~kept, occurs & kept])
                count += rows
                step = np.where(rows, value - mean, 0.0)
                mean += step / np.maximum(count, 1)
                spread += step * np.where(rows, value - mean, 0.0)
        if not np.isfinite(mean).all():
            raise ValueError(
                f"{_NAME}: score expected numbers whose differences are finite, "
                f"got {scores.min():g} to {scores.max():g}"
            )
        self._count, self._mean, self._spread = count, mean, spread

    def merge(self, other: CrisAccumulator) -> None:
        """Add what another one has seen (Chan, Golub and LeVeque 1979).

        Raises:
            ValueError: it counts another number of units.
            TypeError: it is no accumulator.
        """
        if not isinstance(other, CrisAccumulator):
            raise TypeError(
                f"{_NAME}: other expected a CrisAccumulator, got {type(other).__name__}"
            )
        if other.num_units != self.num_units:
            raise ValueError(
                f"{_NAME}: other expected of {self.num_units} units, got {other.num_units}"
            )
        count = self._count + other._count
        share = other._count / np.maximum(count, 1)
        shift = other._mean - self._mean
        with np.errstate(over="ignore"):
            self._spread = self._spread + other._spread + shift**2 * self._count * share
        self._mean = self._mean + shift * share
        self._count = count

    def state_dict(self) -> dict[str, Tensor]:
        """Return all it knows, as tensors: count, mean and spread, each [2, U]."""
        return {
            "count": torch.from_numpy(self._count.copy()),
            "mean": torch.from_numpy(self._mean.copy()),
            "spread": torch.from_numpy(self._spread.copy()),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: entries, dtypes, shapes or values that no accumulator of so many units has.
        """
        expected = {name: _described(value) for name, value in self.state_dict().items()}
        found = {name: _described(value) for name, value in dict(state).items()}
        if found != expected:
            raise ValueError(f"{_NAME}: state expected {expected}, got {found}")
        count, mean, spread = (
            state[name].detach().cpu().numpy().copy() for name in ("count", "mean", "spread")
        )
        for name, values, right in (
            ("count", count, count >= 0),
            ("mean", mean, np.isfinite(mean) & ((count > 0) | (mean == 0))),
            ("spread", spread, (spread >= 0) & ((count > 1) | (spread == 0))),
        ):
            if not right.all():
                raise ValueError(
                    f"{_NAME}: state expected a {name} that masks could have left, "
                    f"got {values[~right][0]}"
                )
        self._count, self._mean, self._spread = count, mean, spread

    def importance(
        self, estimator: str = "removed", baseline: float = 0.0
    ) -> tuple[Tensor, Tensor]:
        """Estimate the importance of every unit; see `vtcd_ops.estimates.estimators`.

        Args:
            estimator: ``"removed"``, ``"kept"``, ``"difference"`` or ``"kept_sum"``.
            baseline: the metric without a mask, averaged over the videos.

        Returns:
            Value and standard error, float64 [U]; NaN where no mask, or only one, tells.

        Raises:
            ValueError: another estimator.
            TypeError: a baseline that is no number.
        """
        if estimator not in _ESTIMATORS:
            raise ValueError(
                f"{_NAME}: estimator expected one of {', '.join(_ESTIMATORS)}, got {estimator}"
            )
        arguments.number(_NAME, "baseline", baseline)
        count = self._count.astype(np.float64)
        mean = np.where(count > 0, self._mean, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            variance = np.where(count > 1, self._spread / (count - 1), np.nan)  # of one score
            removed, kept = variance / count
        value, squared_error = {
            "removed": (baseline - mean[0], removed),
            "kept": (mean[1] - baseline, kept),
            "difference": (mean[1] - mean[0], removed + kept),
            "kept_sum": (count[1] * self._mean[1], variance[1] * count[1]),
        }[estimator]
        return torch.from_numpy(value), torch.from_numpy(np.sqrt(squared_error))


def _described(value: object) -> str:
    """Return dtype and shape of a tensor: int64 [2, 5]."""
    if not isinstance(value, Tensor):
        return type(value).__name__
    return f"{arguments.dtype_name(value)} {list(value.shape)}"


def _booleans(argument: str, value: Tensor, shape: tuple[int | str, ...]) -> np.ndarray:
    """Return a tensor of bool as an array; any byte but 0 is true."""
    arguments.tensor(_NAME, argument, value)
    if value.dtype != torch.bool:
        raise TypeError(f"{_NAME}: {argument} expected bool, got {arguments.dtype_name(value)}")
    if value.dim() != len(shape) or value.shape[-1] != shape[-1]:
        expected = ", ".join(str(length) for length in shape)
        raise ValueError(f"{_NAME}: {argument} expected [{expected}], got {list(value.shape)}")
    found: np.ndarray = value.cpu().view(torch.uint8).numpy() != 0
    return found


def _finite_scores(score: Tensor, count: int) -> np.ndarray:
    """Return the scores of ``count`` masks as float64."""
    arguments.tensor(_NAME, "score", score)
    if score.dtype.is_complex or score.dtype == torch.bool:
        raise TypeError(f"{_NAME}: score expected real numbers, got {arguments.dtype_name(score)}")
    if score.dim() != 1 or len(score) != count:
        raise ValueError(
            f"{_NAME}: score expected [{count}], one per mask, got {list(score.shape)}"
        )
    scores: np.ndarray = score.detach().to("cpu", torch.float64).numpy()
    if not np.isfinite(scores).all():
        raise ValueError(f"{_NAME}: score expected finite numbers, got NaN or infinity")
    return scores
