"""The model's numbers beside those of its weight-randomised copy."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtcd_ops.reporting.quantities import Quantity
from vtcd_ops.reporting.shown import Head, ShownRun

MARGIN = Quantity(
    "margin",
    "Silhouette above copy",
    "The head's silhouette less that of the same head in the randomised copy: at or below 0, its "
    "concepts are no better apart than those of a network that has learnt nothing.",
    "fraction",
    diverging=True,
)


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


def add_margins(model: ShownRun, control: ShownRun) -> None:
    """Give every head of the model its `MARGIN` over the same head of the control."""
    theirs = {head.key: head.values["silhouette"] for head in control.heads}
    for head in model.heads:
        pair = (head.values["silhouette"], theirs.get(head.key))
        head.values[MARGIN.key] = None if None in pair else pair[0] - pair[1]  # type: ignore[operator]


def compare(model: ShownRun, control: ShownRun, part: str) -> Comparison:
    """Compare a run with its control for one part of the heads.

    Args:
        model: The shown run, after `add_margins`.
        control: Its control.
        part: Which part.

    Returns:
        Medians over heads and concepts, and the number of heads ahead of the control.
    """
    ours, theirs = ([h for h in view.heads if h.part == part] for view in (model, control))
    margins = [m for head in ours if (m := head.values[MARGIN.key]) is not None]
    rows = [
        Row("Concepts, all heads", "count", _num_concepts(ours), _num_concepts(theirs)),
        Row("Silhouette of a head", "fraction", *_medians(ours, theirs, "silhouette")),
        Row("Size of a tubelet", "percent", *_medians(ours, theirs, "tubelet_size")),
        Row("Videos per concept", "count", *_medians(ours, theirs, "videos")),
    ]
    return Comparison(rows, len(margins), sum(margin > 0 for margin in margins))


def _num_concepts(heads: list[Head]) -> int:
    return sum(len(head.concepts) for head in heads)


def _medians(ours: list[Head], theirs: list[Head], key: str) -> tuple[float | None, float | None]:
    return _median([h.values[key] for h in ours]), _median([h.values[key] for h in theirs])


def _median(values: list[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return float(np.median(defined)) if defined else None
