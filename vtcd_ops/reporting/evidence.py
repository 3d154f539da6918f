"""What `vtcd evidence` measured of a run, as the page shows it."""

from __future__ import annotations

import numpy as np

from vtcd_ops.concept_evidence.result import Evidence, ObjectRow
from vtcd_ops.reporting.charts import Figure, Series, layer_figure
from vtcd_ops.reporting.quantities import Quantity
from vtcd_ops.reporting.shown import ShownRun

#: Measures that are numbers of single concepts on the page; the others are in the table.
_OF_CONCEPTS = ("halves", "place", "colour", "object")
_PREFIX = "evidence-"
_MUCH = 0.5  # explained by place or colour, or overlap with the object: a tag


def add_evidence(view: ShownRun) -> list[Quantity]:
    """Give every concept what was measured of it and its tags; return the quantities."""
    quantities: dict[str, Quantity] = {}
    for part in view.run.parts:
        found = view.run.evidence(part)
        if found is None:
            continue
        for measure in found.measures():
            if measure.key not in _OF_CONCEPTS:
                continue
            key = _PREFIX + measure.key
            quantities[key] = Quantity(key, measure.label, measure.explanation, "fraction")
            values = found.values(measure.key)
            for (layer, head, concept), value in zip(found.units.tolist(), values, strict=True):
                own = view.head(part, layer, head)
                own.concepts[concept][key] = float(value) if np.isfinite(value) else None
                if np.isfinite(value) and value > _MUCH and measure.key != "halves":
                    tags = own.details[concept].tags
                    own.details[concept].tags = sorted({*tags, measure.key})
    return list(quantities.values())


def best_object(found: Evidence) -> ObjectRow | None:
    """Return the layer whose best concept fits the object best, chosen on other videos."""
    rows = [row for row in found.objects if row.layer is not None]
    return max(rows, key=lambda row: row.value, default=None)


def object_sentence(found: Evidence) -> str | None:
    """Say how well concepts fit the true object; None where there are no true masks.

    The copies are as good where theirs is at least the lower end of the model's 95 % interval.
    """
    row = best_object(found)
    if row is None:
        return None
    fits = f"{row.value:.2f} (intersection over union, chosen on the other videos)"
    if row.copies is None:
        return (
            f"The best concept of layer {row.layer} fits the true object to {fits}. Without copies "
            "with random weights nobody can say whether that was learnt."
        )
    least = row.value if row.low is None else row.low
    if row.copies >= least:
        return (
            f"Copies with random weights fit the true object as well: {row.copies:.2f}, the best "
            f"concept of layer {row.layer} {fits}. By this measure nothing here is a discovery."
        )
    return (
        f"Layer {row.layer} has a concept that fits the true object to {fits}; its copies with "
        f"random weights: {row.copies:.2f}."
    )


def object_figure(found: Evidence) -> Figure | None:
    """Draw how well the best concept of each layer fits the object."""
    rows = [row for row in found.objects if row.layer is not None]
    model = {row.layer: [row.value] for row in rows if row.layer is not None}
    copies = {
        row.layer: [row.copies] for row in rows if row.layer is not None and row.copies is not None
    }
    return layer_figure(
        "where",
        "Where is the object found?",
        "Best overlap with the object (IoU)",
        [
            Series("Model", "--accent", False, model),
            Series("Copies with random weights", "--muted", True, copies),
        ],
        "The best concept of a layer, chosen on all videos but one and judged on that one; mean "
        "over videos.",
    )
