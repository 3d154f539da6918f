# SPDX-License-Identifier: MIT
"""What an experiment leaves on disk: a table with intervals, beside what the paper says.

One JSON file an experiment::

    {"format": 1, "name": "table4", "title": ..., "paper": "Table 4", "unit": "mIoU, %",
     "columns": {"target": "Target", ...},
     "rows": [{"label": "VTCD", "cells": {"target": {"value": 31.0, "low": 28.9, "high": 33.1,
               "samples": 3, "published": 19.2}}}],
     "claims": [{"text": ..., "holds": true (agrees), false, or null (undecided), "evidence": ...}],
     "figure": "table4.svg" or null, "notes": [...], "setting": {...}, "digits": 1,
     "seconds": 81.2}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

FORMAT = 1
CONFIDENCE = 0.95


@dataclass(frozen=True)
class Cell:
    """One measured number.

    Args:
        value: the mean over the samples.
        low, high: its 95 % interval (Student's t over the samples); None for a single sample.
        samples: how many values were averaged (one a seed of discovery and masks, mostly).
        published: the paper's number for the full-size model, where it gives one.
    """

    value: float
    low: float | None = None
    high: float | None = None
    samples: int = 1
    published: float | None = None

    @classmethod
    def of(cls, values: Sequence[float], published: float | None = None) -> Cell:
        """Average independent values.

        >>> cell = Cell.of([1.0, 2.0, 3.0])
        >>> cell.value, round(cell.low, 2), round(cell.high, 2)
        (2.0, -0.48, 4.48)
        """
        array = np.asarray(values, dtype=float)
        mean = float(array.mean())
        if len(array) < 2:
            return cls(mean, published=published)
        half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(array) - 1) * stats.sem(array))
        return cls(mean, mean - half, mean + half, len(array), published)

    def text(self, digits: int) -> str:
        """Return the number with its interval.

        >>> Cell(0.31, 0.289, 0.331, 3).text(3)
        '0.310 [0.289, 0.331]'
        """
        if self.low is None or self.high is None:
            return f"{self.value:.{digits}f}"
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


@dataclass(frozen=True)
class Row:
    """One line of a table: a method, a model, a layer."""

    label: str
    cells: dict[str, Cell]


@dataclass(frozen=True)
class Claim:
    """Something the paper says, and whether it was seen here: None where chance may explain it."""

    text: str
    holds: bool | None
    evidence: str

    @property
    def verdict(self) -> str:
        """In words."""
        if self.holds is None:
            return "Undecided"
        return "Agrees" if self.holds else "Does not agree"


def compare(
    text: str,
    first: Sequence[float],
    second: Sequence[float],
    digits: int = 2,
    *,
    lower: bool = False,
    more: str = "",
) -> Claim:
    """Return the claim that the first values are higher than the second, pair by pair.

    It is undecided where the 95 % interval of the mean difference holds 0.

    >>> compare("A exceeds B.", [1.0, 2.0, 3.0], [0.5, 1.4, 2.6], digits=1)
    Claim(text='A exceeds B.', holds=True, evidence='2.0 against 1.5, difference 0.5 [0.3, 0.7]')

    Args:
        text: the claim.
        first, second: values that belong together in pairs: of the same seeds.
        digits: of the evidence.
        lower: the claim is that the first are lower.
        more: what the evidence ends with.
    """
    difference = Cell.of([one - other for one, other in zip(first, second, strict=True)])
    holds: bool | None = difference.value < 0 if lower else difference.value > 0
    if difference.low is not None and difference.high is not None:
        holds = None if difference.low <= 0 <= difference.high else holds
    means = [f"{np.mean(values):.{digits}f}" for values in (first, second)]
    evidence = f"{' against '.join(means)}, difference {difference.text(digits)}{more}"
    return Claim(text, holds, evidence)


@dataclass(frozen=True)
class Result:
    """What one experiment found; `digits` are those of its numbers on a page."""

    name: str
    title: str
    paper: str
    unit: str
    columns: dict[str, str]
    rows: list[Row]
    claims: list[Claim] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    figure: str | None = None
    setting: dict[str, Any] = field(default_factory=dict)
    digits: int = 2
    seconds: float = 0.0

    def __post_init__(self) -> None:
        for row in self.rows:
            unknown = sorted(set(row.cells) - set(self.columns))
            if unknown:
                raise ValueError(
                    f"{self.name}: row {row.label!r} has cells of no column: {unknown}"
                )

    def as_json(self) -> str:
        """Return the result as text that ends in a newline."""
        document = {"format": FORMAT, **asdict(self)}
        return json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Result:
        """Return the result that :meth:`as_json` gave."""
        document = json.loads(text)
        if document.pop("format", None) != FORMAT:
            raise ValueError(f"expected a result of format {FORMAT}")
        rows = [
            Row(row["label"], {name: Cell(**cell) for name, cell in row["cells"].items()})
            for row in document.pop("rows")
        ]
        claims = [Claim(**claim) for claim in document.pop("claims")]
        return cls(**document, rows=rows, claims=claims)


def write(result: Result, folder: Path) -> None:
    """Write a result so that a reader never sees half of it."""
    path = folder / f"{result.name}.json"
    partial = path.with_suffix(".partial")
    partial.write_text(result.as_json(), encoding="utf-8")
    partial.replace(path)


def read(folder: Path, name: str) -> Result | None:
    """Return the result of an experiment, None where there is none yet."""
    path = folder / f"{name}.json"
    return Result.from_json(path.read_text(encoding="utf-8")) if path.is_file() else None
