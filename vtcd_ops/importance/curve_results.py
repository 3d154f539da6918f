"""Attribution curves as a result: means, areas, confidence bands, files."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import scipy

from vtcd_ops.common.errors import InputError
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.common.untrusted import csv_bytes
from vtcd_ops.storage.files import write_atomic

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["DIRECTIONS", "RANDOM", "Curves"]

RANDOM = "random"
DIRECTIONS = ("positive", "negative")
_NUM_RESAMPLES = 2000


@dataclass(frozen=True, repr=False, eq=False)
class Curves(Tabular):
    """Scores of videos against the fraction of units removed. Iterated over, a row for each point.

    Attributes:
        name: of the curves in their run.
        settings: everything that they depend on.
        fractions: float64 [P], the share of all units that is removed, from 0 to 1.
        scores: for each (ranking, direction) float64 [V, P]. Direction "positive": the most
            important first (the lower the better the ranking); "negative": the least important
            first (the higher the better); ("random", "positive"): mean of random orders.
    """

    name: str
    settings: dict[str, Any]
    fractions: np.ndarray
    scores: dict[tuple[str, str], np.ndarray] = field(repr=False)

    def __repr__(self) -> str:
        areas = ", ".join(f"{r} {d[:3]} {self.area(r, d):.3g}" for r, d in self.scores)
        return f"Curves({self.name!r}, {self.settings['metric']}; areas: {areas})"

    def _rows(self) -> list[Row]:
        return self.rows()

    def _draw(self, ax: Axes) -> None:
        for ranking, direction in self.scores:
            line = "--" if direction == "negative" else "-"
            name = f"{ranking}, {'least' if direction == 'negative' else 'most'} important first"
            label = RANDOM if ranking == RANDOM else name
            [drawn] = ax.plot(
                100 * self.fractions, self.mean(ranking, direction), line, label=label
            )
            low, high = self.band(ranking, direction)
            ax.fill_between(100 * self.fractions, low, high, color=drawn.get_color(), alpha=0.2)
        ax.set(xlabel="removed, % of all units", ylabel=str(self.settings["metric"]))
        ax.set_title("mean over videos, 95 % band")
        ax.legend()

    def mean(self, ranking: str, direction: str = "positive") -> np.ndarray:
        """Return the mean over the videos, [P]."""
        return self.scores[ranking, direction].mean(axis=0)

    def area(self, ranking: str, direction: str = "positive") -> float:
        """Return the area below the mean curve, by the trapezoid rule."""
        return float(scipy.integrate.trapezoid(self.mean(ranking, direction), self.fractions))

    def band(
        self, ranking: str, direction: str = "positive", level: float = 0.95
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return lower and upper ends [P] of the mean's confidence band over videos.

        Percentiles of the mean over videos drawn again with replacement (bootstrap).
        """
        means = _resampled(self.scores[ranking, direction])
        low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2], axis=0)
        return low, high

    def area_interval(
        self, ranking: str, direction: str = "positive", level: float = 0.95
    ) -> tuple[float, float]:
        """Return the confidence interval of the area over videos, as for the band."""
        areas = scipy.integrate.trapezoid(
            _resampled(self.scores[ranking, direction]), self.fractions, axis=1
        )
        low, high = np.quantile(areas, [(1 - level) / 2, (1 + level) / 2])
        return float(low), float(high)

    def summary(self) -> list[str]:
        """Return lines that say the area below each curve, with its confidence interval."""
        lines = [f"{self.name}: areas below {self.settings['metric']}, 95 % intervals over videos"]
        for ranking, direction in self.scores:
            low, high = self.area_interval(ranking, direction)
            area = self.area(ranking, direction)
            lines.append(f"  {ranking} {direction}: {area:.4g} [{low:.4g}, {high:.4g}]")
        return lines

    def rows(self) -> list[dict[str, Any]]:
        """Return a row a point: ranking, direction, fraction removed, mean, band."""
        rows = []
        for ranking, direction in self.scores:
            mean, (low, high) = self.mean(ranking, direction), self.band(ranking, direction)
            for point, fraction in enumerate(self.fractions):
                rows.append(
                    {
                        "ranking": ranking,
                        "direction": direction,
                        "fraction": float(fraction),
                        "score": float(mean[point]),
                        "low": float(low[point]),
                        "high": float(high[point]),
                    }
                )
        return rows

    def write(self, path: str | Path) -> Path:
        """Write the curves to a .json or .csv file."""
        path = Path(path)
        if path.suffix == ".json":
            areas = [
                {
                    "ranking": ranking,
                    "direction": direction,
                    "area": self.area(ranking, direction),
                    "interval": list(self.area_interval(ranking, direction)),
                }
                for ranking, direction in self.scores
            ]
            document = {"metric": self.settings["metric"], "areas": areas, "points": self.rows()}
            write_atomic(path, (json.dumps(document, indent=1) + "\n").encode())
        elif path.suffix == ".csv":
            rows = self.rows()
            write_atomic(path, csv_bytes(rows, list(rows[0])))
        else:
            raise InputError(f"curves: a .json or .csv file expected, got {path}")
        return path


def _resampled(scores: np.ndarray) -> np.ndarray:
    """Means [resamples, P] of the rows of [V, P] drawn again with replacement."""
    rng = np.random.default_rng(0)
    drawn = rng.integers(0, len(scores), (_NUM_RESAMPLES, len(scores)))
    weights = np.stack([np.bincount(row, minlength=len(scores)) for row in drawn]) / len(scores)
    means: np.ndarray = weights @ scores
    return means
