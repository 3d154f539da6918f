"""Scores of sequences as a table."""

from __future__ import annotations

from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from vtcd_ops.common.equality import ByContent
from vtcd_ops.common.errors import counted
from vtcd_ops.common.tabular import Row, Tabular
from vtcd_ops.common.untrusted import csv_bytes
from vtcd_ops.storage.files import write_atomic
from vtcd_ops.vos_metrics.measures import statistics

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["Evaluation", "ObjectScores"]


@dataclass(frozen=True, eq=False)
class ObjectScores(ByContent):
    """The scores of one object of one sequence.

    Args:
        sequence: its name.
        label: the object's label; 1 where all labels are one object.
        frames: names of the frames scored.
        region: float64 [T], J.
        contour: float64 [T], F.
    """

    sequence: str
    label: int
    frames: tuple[str, ...]
    region: np.ndarray
    contour: np.ndarray

    @property
    def row(self) -> dict[str, float]:
        """Mean, recall and decay of J and F, and the mean of both means."""
        j, f = statistics(self.region), statistics(self.contour)
        return {
            "J&F": (j.mean + f.mean) / 2,
            "J mean": j.mean, "J recall": j.recall, "J decay": j.decay,
            "F mean": f.mean, "F recall": f.recall, "F decay": f.decay,
        }  # fmt: skip


@dataclass(frozen=True, repr=False, eq=False)
class Evaluation(Tabular):
    """A table of scores; printed, it is one. Iterated over, it is a row for each object.

    Args:
        rule: the rule they were taken by, a name in `RULES`.
        objects: one of each row.
    """

    rule: str
    objects: tuple[ObjectScores, ...]

    def __repr__(self) -> str:
        scores = "" if not self.objects else f", mean J&F {self.mean['J&F']:.3f}"
        return f"Evaluation({counted(len(self.objects), 'object')} by {self.rule}{scores})"

    def _rows(self) -> list[Row]:
        return self.rows

    def _draw(self, ax: Axes) -> None:
        names = [f"{scores.sequence} {scores.label}" for scores in self.objects]
        places = np.arange(len(names))
        for shift, column in ((-0.2, "J mean"), (0.2, "F mean")):
            ax.bar(places + shift, [row[column] for row in self.rows], 0.4, label=column)
        ax.set_xticks(places, names, rotation=60, ha="right")
        ax.set(xlabel="sequence and object", ylabel="score, 0 to 1", ylim=(0, 1))
        ax.legend()

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table, an object a row."""
        return [
            {"sequence": scores.sequence, "object": scores.label, "frames": len(scores.frames)}
            | scores.row
            for scores in self.objects
        ]

    @property
    def mean(self) -> dict[str, float]:
        """The mean of every column over the objects, as DAVIS averages."""
        rows = [scores.row for scores in self.objects]
        return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}

    def write_csv(self, path: str | PathLike[str], *, per_frame: bool = False) -> None:
        """Write the table with its mean, or J and F of every frame, as CSV."""
        if per_frame:
            rows = [
                {"sequence": o.sequence, "object": o.label, "frame": frame, "J": j, "F": f}
                for o in self.objects
                for frame, j, f in zip(o.frames, o.region.tolist(), o.contour.tolist())
            ]
        else:
            rows = [*self.rows, {"sequence": "mean", "object": "", "frames": ""} | self.mean]
        table = ({"rule": self.rule} | row for row in rows)
        write_atomic(Path(path), csv_bytes(table, ["rule", *rows[0]]))

    def __str__(self) -> str:
        names = [f"{scores.sequence} {scores.label}" for scores in self.objects]
        rows = [scores.row for scores in self.objects]
        names, rows = [*names, f"mean ({self.rule})"], [*rows, self.mean]
        width = max(map(len, names))
        lines = [" " * width + "".join(f"{column:>10}" for column in rows[0])]
        for name, row in zip(names, rows):
            lines.append(f"{name:<{width}}" + "".join(f"{value:10.3f}" for value in row.values()))
        return "\n".join(lines)
