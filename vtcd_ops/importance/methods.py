"""How a video is measured: under masks, or by gradients with respect to how much is kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from vtcd_ops.importance.masking import MaskedVideo

__all__ = ["Gradients", "Masks", "Method"]

_TASK_MASKS = 128  # masks of one stored part, about
_TASK_FORWARDS = 4  # of one at least: while it is stored a device has nothing to do


class Method(Protocol):
    """How a video is measured, part by part.

    Attributes:
        measures: "scores" under masks, or "effects" of units.
        total: columns of what is measured, [V, total].
        step: columns of one part.
    """

    measures: str
    total: int
    step: int

    def part(self, index: int, video: MaskedVideo, start: int) -> np.ndarray:
        """Return columns start to start + step - 1 of video number index (fewer at the end)."""
        ...


class Masks:
    """Scores under rows of a table of masks, the same number in every forward.

    Args:
        rows: gives masks start to stop - 1 of video number index, bool [stop - start, U].
        total: how many masks there are.
        batch: masks of one forward. The last forward has as many too, so that more masks later, or
            other parts, cannot change what the model computes.
        only_present: mask i removes unit i alone; where it does not lie, nothing is computed.
    """

    measures = "scores"

    def __init__(
        self,
        rows: Callable[[int, int, int], Tensor],
        total: int,
        batch: int,
        *,
        only_present: bool = False,
    ) -> None:
        self.total = total
        self.batch = batch
        self.step = max(_TASK_FORWARDS, _TASK_MASKS // batch) * batch
        self._rows = rows
        self._only_present = only_present

    def part(self, index: int, video: MaskedVideo, start: int) -> np.ndarray:
        """Return the scores under a part of the masks, float64."""
        stop = min(start + self.step, self.total)
        wanted = np.arange(start, stop) if video.present.any() else np.arange(0)
        if self._only_present:
            wanted = wanted[video.present[wanted]]
        scores = np.full(stop - start, video.baseline)
        pieces = [wanted[i : i + self.batch] for i in range(0, len(wanted), self.batch)]
        # all are asked for before one is read, so that a device has something to do all the time
        asked = [(some, video.ask(self._padded(index, some))) for some in pieces]
        for some, answer in asked:
            scores[some - start] = video.read(answer)[: len(some)].numpy()
        return scores

    def _padded(self, index: int, wanted: np.ndarray) -> Tensor:
        """The masks wanted, and as many more as fill a forward."""
        first = int(wanted[0])
        if not self._only_present:
            return self._rows(index, first, first + self.batch)
        rows = torch.cat([self._rows(index, int(row), int(row) + 1) for row in wanted])
        missing = self.batch - len(rows)
        return torch.cat([rows, torch.ones(missing, rows.shape[1], dtype=torch.bool)])


class Gradients:
    """Effects of all units at once from gradients with respect to how much of them is kept.

    The effect of a unit is the mean of its gradient at some strengths a, with all units kept by a.
    At a = 1 alone it is gradient x concept; at the middles of n equal parts of [0, 1], integrated
    gradients (Sundararajan et al. 2017) by the midpoint rule, whose effects sum to the score of the
    model less the score without any unit.

    Args:
        num_units: how many units there are.
        strengths: the values of a.
        batch: strengths of one forward.
    """

    measures = "effects"

    def __init__(self, num_units: int, strengths: Sequence[float], batch: int) -> None:
        self.total = self.step = num_units
        self._strengths = list(strengths)
        self._batch = batch

    def part(self, index: int, video: MaskedVideo, start: int) -> np.ndarray:
        """Return the effects of all units, float64 [U]."""
        total = np.zeros(self.total)
        for first in range(0, len(self._strengths), self._batch):
            strengths = torch.tensor(self._strengths[first : first + self._batch])
            keep = strengths.unsqueeze(1).expand(-1, self.total).contiguous()
            total += video.gradients(keep).sum(dim=0).numpy()
        return np.where(video.present, total / len(self._strengths), 0.0)
