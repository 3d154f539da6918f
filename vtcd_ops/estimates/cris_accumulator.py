"""Importance from a stream of masks, holding sums instead of scores."""

from __future__ import annotations

import torch
from torch import Tensor

from vtcd_ops.estimates.mask_means import combine
from vtcd_ops.ops.masks import cris_accumulate

_ESTIMATORS = ("removed", "kept", "difference", "kept_sum")


class CrisAccumulator:
    """Adds up the scores of masks as they come, for the estimators that are means.

    >>> keep = torch.tensor([[True, False], [False, True], [True, False], [False, True]])
    >>> accumulator = CrisAccumulator(num_units=2)
    >>> accumulator.update(keep, torch.tensor([0.2, 0.9, 0.4, 0.7]))
    >>> value, stderr = accumulator.importance("removed", baseline=1.0)
    >>> [round(v, 6) for v in value.tolist()]  # removing unit 1 leaves a score of 0.3 on average
    [0.2, 0.7]

    Its memory is 80 bytes a unit, however many masks. It takes every mask as independent of the
    others: for other designs than "simple", for the spread over videos, and for the regression, see
    `vtcd_ops.estimates.estimators.estimate`, which works on stored scores.

    Args:
        num_units: U.
    """

    def __init__(self, num_units: int) -> None:
        if num_units < 1:
            raise ValueError(f"CrisAccumulator: num_units expected at least 1, got {num_units}")
        self.num_units = num_units
        self._count = torch.zeros(2, num_units, dtype=torch.int64)
        # Sums are of how far scores lie below a level near them, the first score of all: a large
        # offset of the metric would otherwise cost the squares their digits.
        self._total = torch.zeros(2, num_units, dtype=torch.float64)
        self._total_sq = torch.zeros(2, num_units, dtype=torch.float64)
        self._level: float | None = None

    def update(self, keep: Tensor, score: Tensor, present: Tensor | None = None) -> None:
        """Add masks of one video, or of videos in which the same units occur.

        Args:
            keep: bool [M, U], false where a mask removes a unit.
            score: floating [M], the metric under each mask.
            present: bool [U], the units that occur; all by default.

        Raises:
            ValueError: shapes that do not fit, NaN or Inf.
            TypeError: another dtype.
        """
        scores = score.detach().to("cpu", torch.float64)
        level = self._level
        if level is None:
            level = float(scores.flatten()[0]) if scores.numel() else 0.0
        cris_accumulate(
            self._count, self._total, self._total_sq, keep.to("cpu"), level - scores,
            None if present is None else present.to("cpu"),
        )  # fmt: skip
        if scores.numel():
            self._level = level

    def merge(self, other: CrisAccumulator) -> None:
        """Add what another one has seen.

        Raises:
            ValueError: it counts another number of units.
        """
        if other.num_units != self.num_units:
            raise ValueError(
                f"CrisAccumulator: other expected of {self.num_units} units, got {other.num_units}"
            )
        if other._level is None:
            return
        if self._level is None:
            self._level = other._level
        shift = self._level - other._level
        self._count += other._count
        count = other._count.double()  # an integer times a Python number would be float32
        self._total += other._total + count * shift
        self._total_sq += other._total_sq + 2 * shift * other._total + count * shift**2

    def state_dict(self) -> dict[str, Tensor]:
        """Return all it knows, as tensors."""
        level = float("nan") if self._level is None else self._level
        return {
            "count": self._count.clone(),
            "total": self._total.clone(),
            "total_sq": self._total_sq.clone(),
            "level": torch.tensor(level, dtype=torch.float64),
        }

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Go on from what `state_dict` returned.

        Raises:
            ValueError: entries or shapes of another accumulator.
        """
        expected = {name: list(value.shape) for name, value in self.state_dict().items()}
        found = {name: list(value.shape) for name, value in state.items()}
        if found != expected:
            raise ValueError(f"CrisAccumulator: state expected {expected}, got {found}")
        self._count = state["count"].to(torch.int64).clone()
        self._total = state["total"].to(torch.float64).clone()
        self._total_sq = state["total_sq"].to(torch.float64).clone()
        level = float(state["level"])
        self._level = None if level != level else level

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
        """
        if estimator not in _ESTIMATORS:
            raise ValueError(
                f"CrisAccumulator: estimator expected one of {', '.join(_ESTIMATORS)}, "
                f"got {estimator}"
            )
        level = self._level or 0.0
        value = combine(
            estimator,
            (self._total + self._count.double() * (baseline - level)).numpy(),
            self._count.numpy(),
            baseline,
        )
        count = self._count.double()
        spread = self._total_sq - self._total**2 / count
        variance = (spread / (count - 1)).clamp(min=0)  # of one drop, [2, U]
        removed, kept = variance / count
        errors = {
            "removed": removed,
            "kept": kept,
            "difference": removed + kept,
            "kept_sum": variance[1] * count[1],
        }
        return torch.from_numpy(value), errors[estimator].sqrt()
