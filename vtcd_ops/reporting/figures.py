"""Axes that start and end on round numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Axis:
    """A linear axis that starts and ends on round numbers."""

    low: float
    high: float
    ticks: list[float]

    def position(self, value: float) -> float:
        """Place a value between 0 and 1 along the axis."""
        return (value - self.low) / (self.high - self.low)


def round_axis(values: Sequence[float], num_ticks: int = 5) -> Axis:
    """Find an axis over all values with ticks at 1, 2 or 5 times a power of ten.

    >>> round_axis([0.07, 0.44]).ticks
    [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]

    Args:
        values: At least one finite value.
        num_ticks: About how many steps the axis should have.

    Returns:
        The axis; it has a positive length even where all values are equal.
    """
    low, high = min(values), max(values)
    rough = max(high - low, 1e-3) / num_ticks
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    ticks = [round(index * step, 10) for index in range(first, last + 1)]
    return Axis(ticks[0], ticks[-1], ticks)
