# SPDX-License-Identifier: MIT
"""The model's numbers beside those of its weight-randomised copy."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from vtcd_ops.report.contents import Head, ShownRun


@dataclass(frozen=True)
class Row:
    """One line of the table: a number of the model and of its control."""

    label: str
    style: str  #: as in `Quantity`
    model: float | None
    control: float | None


@dataclass(frozen=True)
class Comparison:
    """The table, and in how many heads the model's concepts are better apart."""

    rows: list[Row]
    heads: int  #: heads in which both silhouettes are defined
    ahead: int  #: of these, heads in which the model's is larger


def compare(model: ShownRun, control: ShownRun, part: str) -> Comparison:
    """Compare a run with its control, head by head, for one part of the heads."""
    ours = {(head.layer, head.head): head for head in model.heads if head.part == part}
    theirs = {(head.layer, head.head): head for head in control.heads if head.part == part}
    pairs = [
        (ours[key].values["silhouette"], theirs[key].values["silhouette"])
        for key in sorted(ours.keys() & theirs.keys())
    ]
    defined = [(a, b) for a, b in pairs if a is not None and b is not None]
    columns = [_summary(list(heads.values())) for heads in (ours, theirs)]
    rows = [
        Row(label, style, columns[0][label], columns[1][label])
        for label, style in (
            ("Concepts in all heads", "count"),
            ("Silhouette of a head (median)", "fraction"),
            ("Size of a tubelet (median of heads)", "percent"),
            ("Videos in which a concept occurs (median)", "count"),
        )
    ]
    return Comparison(rows, len(defined), sum(a > b for a, b in defined))


def _summary(heads: list[Head]) -> dict[str, float | None]:
    concepts = [concept for head in heads for concept in head.concepts]
    return {
        "Concepts in all heads": float(len(concepts)),
        "Silhouette of a head (median)": _median([h.values["silhouette"] for h in heads]),
        "Size of a tubelet (median of heads)": _median([h.values["tubelet_size"] for h in heads]),
        "Videos in which a concept occurs (median)": _median(
            [float(concept.num_videos) for concept in concepts]
        ),
    }


def _median(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.median(defined)) if defined else None
