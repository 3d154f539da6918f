"""How much concepts matter: colours for the head map, an order, error bars, curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from vtcd_ops.common.errors import counted
from vtcd_ops.discovery.run import Run
from vtcd_ops.discovery.uniqueness import head_uniqueness
from vtcd_ops.importance.curves import Curves, read_curves
from vtcd_ops.importance.importance import Importance
from vtcd_ops.importance.units import describe_unit
from vtcd_ops.reporting.figures import Axis, round_axis
from vtcd_ops.reporting.quantities import Quantity
from vtcd_ops.reporting.shown import ShownRun

MOST_SHOWN = 24  # concepts with error bars

IMPORTANCE = Quantity(
    "importance",
    "Importance",
    "Share of all concepts that matter no more than it, by how much the model's answer suffers "
    "without them: 100 % is the most important of all. Of a head or layer the mean over its "
    "concepts.",
    "percent",
)
UNIQUENESS = Quantity(
    "uniqueness",
    "Uniqueness",
    "How little another head of the layer shows the same: 1 less the mean overlap of the head's "
    "concepts with the most similar concept of any other head of the layer.",
    "fraction",
)

_COLOURS = ("--accent", "--negative", "--teal", "--violet", "--olive", "--rose")


@dataclass(frozen=True)
class Bar:
    """A unit or a layer with its importance along an axis, 0 to 1."""

    label: str
    link: str
    value: float
    error: float
    position: float
    low: float
    high: float


@dataclass(frozen=True)
class Line:
    """One attribution curve as points of an SVG."""

    ranking: str
    direction: str
    colour: str
    points: str
    band: str
    area: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class CurveFigure:
    """Attribution curves of one metric."""

    metric: str
    axis: Axis
    lines: list[Line]


@dataclass(frozen=True)
class ImportanceContent:
    """What the section shows."""

    importance: Importance
    facts: list[tuple[str, str]]
    layers: list[Bar]
    axis: Axis
    units: list[Bar]
    curves: CurveFigure | None


def add_importance(view: ShownRun) -> None:
    """Give every concept and head of a shown run its `IMPORTANCE` and every head `UNIQUENESS`.

    A run without a ranking is left as it is.
    """
    importance = view.run.importance()
    if importance is None:
        return
    part = importance.settings["part"]
    of_unit = {
        tuple(unit): float(share)
        for unit, share in zip(importance.units.tolist(), importance.share, strict=True)
    }
    unique = {p: head_uniqueness(view.run, p) for p in view.run.parts}
    for head in view.heads:
        found = []
        for index, values in enumerate(head.concepts):
            own = of_unit.get((head.layer, head.head, index)) if head.part == part else None
            values[IMPORTANCE.key] = own
            found += [own] if own is not None else []
        whole = of_unit.get((head.layer, head.head, -1)) if head.part == part else None
        head.values[IMPORTANCE.key] = float(np.mean(found)) if found else whole
        head.values[UNIQUENESS.key] = unique[head.part][head.layer, head.head]


def importance_content(run: Run) -> ImportanceContent | None:
    """Gather the section's figures; None where the run has no ranking."""
    importance = run.importance()
    if importance is None:
        return None
    layers = [
        Bar(f"layer {layer}", "", share, 0.0, share, share, share)
        for layer, share in importance.per_layer().items()
    ]
    axis, units = _units(importance)
    found = read_curves(run)
    figure = None if found is None else curve_figure(found)
    return ImportanceContent(importance, _facts(importance), layers, axis, units, figure)


def _facts(importance: Importance) -> list[tuple[str, str]]:
    """What was measured, as (name, value)."""
    settings = importance.settings
    facts = [
        ("Measured on", f"{settings['metric']}, {counted(len(settings['videos']), 'video')}"),
        ("Method", settings["method"]),
    ]
    if importance.num_masks:
        facts += [
            ("Masks", f"{importance.num_masks:,}, each removes {settings['ratio']:.0%} of all"),
            ("Estimator", importance.estimator),
            ("Reliability of the order", f"{importance.reliability:.2f}"),
            ("R² of an additive model on held-out masks", f"{importance.r2:.2f}"),
        ]
    if settings["classes"] is not None:
        facts.append(("Averaged over classes", ", ".join(settings["classes"])))
    return facts


def _units(importance: Importance) -> tuple[Axis, list[Bar]]:
    """The most important units with two standard errors to both sides."""
    shown = [unit for unit in importance.order[:MOST_SHOWN] if np.isfinite(importance.value[unit])]
    value = importance.value[shown]
    error = 2 * np.nan_to_num(importance.stderr[shown])
    axis = round_axis([0.0, *(value - error).tolist(), *(value + error).tolist()])
    part, group = importance.settings["part"], importance.settings.get("neurons_per_group", 0)
    bars = []
    for unit, middle, half in zip(shown, value.tolist(), error.tolist(), strict=True):
        layer, head, concept = importance.units[unit].tolist()
        label = describe_unit((layer, head, concept), group)
        for word in (" head", " concept", " neurons"):
            label = label.replace(word, f" ·{word}")
        link = f"#{part}-L{layer}-H{head}" + (f"-C{concept}" if concept >= 0 else "")
        link = link if head >= 0 else ""
        ends = (axis.position(middle - half), axis.position(middle + half))
        bars.append(Bar(label, link, middle, half / 2, axis.position(middle), *ends))
    return axis, bars


def curve_figure(curves: Curves) -> CurveFigure:
    """Place curves and their bands in a box of 100 by 60."""
    spans = {key: curves.band(*key) for key in curves.scores}
    ends = [float(x) for low, high in spans.values() for x in (low.min(), high.max())]
    axis = round_axis(ends)
    rankings = list(dict.fromkeys(ranking for ranking, _ in curves.scores))
    lines = []
    for key in curves.scores:
        ranking, direction = key
        colour = (
            "--muted" if ranking == "random" else _COLOURS[rankings.index(ranking) % len(_COLOURS)]
        )
        low, high = spans[key]
        band = _points(curves.fractions, low, axis) + _points(curves.fractions, high, axis)[::-1]
        lines.append(
            Line(
                ranking,
                direction,
                colour,
                " ".join(_points(curves.fractions, curves.mean(*key), axis)),
                " ".join(band),
                curves.area(*key),
                curves.area_interval(*key),
            )
        )
    return CurveFigure(curves.settings["metric"], axis, lines)


def _points(fractions: np.ndarray, scores: np.ndarray, axis: Axis) -> list[str]:
    return [
        f"{100 * x:.2f},{60 * (1 - axis.position(float(y))):.2f}"
        for x, y in zip(fractions, scores, strict=True)
    ]


def significant(value: float) -> str:
    """Write a number with three digits that say something.

    >>> significant(0.012345), significant(-2.0)
    ('0.0123', '−2')
    """
    return f"{value:.3g}".replace("-", "−")
