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
from vtcd_ops.reporting.charts import Curve, Figure, Interval, curve_chart, interval_figure
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
class Area:
    """The area below a curve, which sums it up."""

    name: str
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class ImportanceContent:
    """What the section shows."""

    importance: Importance
    facts: list[tuple[str, str, str]]  #: name, value, what it means
    figures: list[Figure]
    areas: list[Area]


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
    figures = [_most_important(importance)]
    if (found := read_curves(run)) is not None:
        figures.append(curve_figure(found, importance.settings["units"]))
    figures.append(_layers(importance))
    areas = [] if found is None else _areas(found)
    return ImportanceContent(importance, _facts(importance), figures, areas)


_OTHERWISE = "How units are removed and their loss is measured."
_METHODS = {
    "cris": ("CRIS", "Concept Randomised Importance Sampling: random sets of units are removed."),
    "occlusion": ("occlusion", "Each unit alone is removed."),
    "gradient": ("gradient", "Gradient times concept: no unit is removed."),
}


def _facts(importance: Importance) -> list[tuple[str, str, str]]:
    """What was measured, as (name, value, what it means)."""
    settings = importance.settings
    videos = counted(len(settings["videos"]), "video")
    facts = [
        ("Answer", f"{settings['metric']}, {videos}", "The number whose loss is importance."),
        ("Method", *_METHODS.get(settings["method"], (settings["method"], _OTHERWISE))),
    ]
    if importance.num_masks:
        removed = f"{importance.num_masks:,}, each removes {settings['ratio']:.0%} of all"
        facts += [
            ("Masks", removed, "Random sets of units that were removed together."),
            ("Estimator", importance.estimator,
             "How the loss of one unit follows from the losses of sets."),
            ("Reliability of the order", f"{importance.reliability:.2f}",
             "Rank correlation to expect with the order that as many other masks would give: "
             "1 = the same."),
            ("Explained by adding up", f"{importance.r2:.2f}",
             "R²: share of the variance of the answers under masks that was held out which the sum "
             "of the units' importances explains; 1 = units do not interact."),
        ]  # fmt: skip
    if settings["classes"] is not None:
        classes = ", ".join(settings["classes"])
        facts.append(("Averaged over classes", classes, "Each class counts the same."))
    return facts


def unit_label(importance: Importance, unit: int) -> str:
    """Return what a unit is called on the page: its place, from the layer down."""
    group = importance.settings.get("neurons_per_group", 0)
    label = describe_unit(importance.units[unit].tolist(), group)
    for word in (" head", " concept", " neurons"):
        label = label.replace(word, f" ·{word}")
    return label


def _most_important(importance: Importance) -> Figure:
    """The most important units with two standard errors to both sides."""
    settings = importance.settings
    shown = [unit for unit in importance.order[:MOST_SHOWN] if np.isfinite(importance.value[unit])]
    bars = []
    for unit in shown:
        layer, head, concept = importance.units[unit].tolist()
        value, error = float(importance.value[unit]), float(np.nan_to_num(importance.stderr[unit]))
        label = unit_label(importance, unit).replace("· concept ", "· C")
        link = f"#{settings['part']}-L{layer}-H{head}" + (f"-C{concept}" if concept >= 0 else "")
        link = link if head >= 0 else ""
        bars.append(Interval(label, link, value, value - 2 * error, value + 2 * error))
    source = "masks" if importance.num_masks else "videos"
    return interval_figure(
        "most-important",
        f"The most important {settings['units']}",
        f"Loss of the answer ({settings['metric']}) without it",
        bars,
        f"Lines: two standard errors to both sides, from the {source}.",
    )


def _layers(importance: Importance) -> Figure:
    """The mean place of each layer's units."""
    bars = [
        Interval(f"layer {layer}", "#heads", 100 * share, 100 * share, 100 * share)
        for layer, share in importance.per_layer().items()
    ]
    return interval_figure(
        "layer-importance",
        "Importance of a layer",
        "Importance (% of all that matter no more), mean",
        bars,
        f"Mean over the layer's {importance.settings['units']} of the same importance that colours "
        "the head map; 50 % is average.",
    )


def curve_figure(curves: Curves, units: str = "concepts") -> Figure:
    """Draw what is left of the answer as units are removed, with 95 % bands over videos."""
    rankings = list(dict.fromkeys(ranking for ranking, _ in curves.scores))
    lines = []
    for key in curves.scores:
        ranking, direction = key
        colour = (
            "--muted" if ranking == "random" else _COLOURS[rankings.index(ranking) % len(_COLOURS)]
        )
        low, high = curves.band(*key)
        name = curve_name(ranking, direction)
        dashed = direction == "negative"
        lines.append(Curve(name, colour, dashed, curves.fractions, curves.mean(*key), low, high))
    return curve_chart(
        "curves",
        f"What is left of the answer without {units}",
        f"Share of the {units} removed (%)",
        f"Answer ({curves.settings['metric']})",
        lines,
        "The most important first: lower is better. The least important first: higher is better. "
        "Bands: 95 % over videos.",
    )


def curve_name(ranking: str, direction: str) -> str:
    """Say in words in which order a curve removes.

    >>> curve_name("cris-accuracy", "positive"), curve_name("integrated_gradients", "negative")
    ('CRIS (accuracy), most important first', 'integrated gradients, least important first')
    """
    if ranking == "random":
        return "in random order"
    method, _, metric = ranking.partition("-")
    words = {"cris": "CRIS"}.get(method, method.replace("_", " ")) + (
        f" ({metric})" if metric else ""
    )
    return f"{words}, {'most' if direction == 'positive' else 'least'} important first"


def _areas(curves: Curves) -> list[Area]:
    return [
        Area(curve_name(*key), curves.area(*key), curves.area_interval(*key))
        for key in curves.scores
    ]


def significant(value: float) -> str:
    """Write a number with two digits that say something.

    >>> significant(0.012345), significant(-2.0), significant(1234.5)
    ('0.012', '−2', '1,234')
    """
    if abs(value) >= 100:
        return f"{value:,.0f}".replace("-", "−")
    return f"{value:.2g}".replace("-", "−")
