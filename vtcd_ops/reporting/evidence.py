"""What `vtcd evidence` measured of a run, as the page shows it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from vtcd_ops.common.errors import InputError, warn
from vtcd_ops.concept_evidence.explained import explained_by_colour
from vtcd_ops.concept_evidence.measures import MEASURES, Measure
from vtcd_ops.concept_evidence.objects import object_overlap, stored_masks
from vtcd_ops.concept_evidence.result import Evidence, ObjectRow
from vtcd_ops.discovery.run import Run
from vtcd_ops.reporting.charts import Figure, Series, layer_figure
from vtcd_ops.reporting.quantities import Quantity
from vtcd_ops.reporting.shown import ShownRun
from vtcd_ops.reporting.tags import measured_tag

#: Measures that are numbers of single concepts on the page; the others are in the table.
_OF_CONCEPTS = ("halves", "place", "colour", "object")
_PREFIX = "evidence-"


def add_evidence(view: ShownRun, videos: Sequence[int]) -> list[Quantity]:
    """Give every concept what was measured of it and its tags; return the quantities.

    Args:
        view: the run.
        videos: of the page; where `vtcd evidence` did not run, colour is measured in these.
    """
    quantities: dict[str, Quantity] = {}
    for part in view.run.parts:
        for measure, values, chance in _measured(view.run, part, videos):
            key = _PREFIX + measure.key
            quantities[key] = Quantity(key, measure.label, measure.explanation, "fraction")
            units = view.run.units(part).tolist()
            for (layer, head, concept), value, by_chance in zip(units, values, chance, strict=True):
                own = view.head(part, layer, head)
                known = bool(np.isfinite(value))
                own.concepts[concept][key] = float(value) if known else None
                tag = measured_tag(measure.key, value, by_chance) if known else {}
                own.details[concept].tags = tag | own.details[concept].tags
    return list(quantities.values())


def _measured(
    run: Run, part: str, videos: Sequence[int]
) -> Iterator[tuple[Measure, np.ndarray, np.ndarray]]:
    """What `vtcd evidence` measured, or, of it, the two measures that need no copies."""
    found = run.evidence(part)
    if found is not None:
        for measure in found.measures():
            if measure.key in _OF_CONCEPTS:
                yield measure, found.values(measure.key), found.chance[measure.key]
        return
    by_key = {measure.key: measure for measure in MEASURES}
    if len(videos) > 1:
        values = explained_by_colour(run, part, videos)
        yield by_key["colour"], values, np.zeros(len(values))
    try:
        objects = object_overlap(run, part, stored_masks(run))
    except InputError as error:
        warn(f"report: no overlap with true objects: {error}")
        return
    if objects is not None:
        yield by_key["object"], objects.per_video.values(), objects.expected


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
    fits = f"IoU {row.value:.2f} with its true mask, on videos that it was not chosen on"
    if row.copies is None:
        return (
            f"A concept of layer {row.layer} covers the object: {fits}. Without copies with random "
            "weights nobody can say whether that was learnt."
        )
    least = row.value if row.low is None else row.low
    if row.copies >= least:
        return (
            f"Copies with random weights cover the object as well: IoU {row.copies:.2f} with its "
            f"true mask, the best concept of layer {row.layer} {row.value:.2f}. By this measure "
            "nothing here is a discovery."
        )
    return (
        f"A concept of layer {row.layer} covers the object: {fits}. Copies with random weights: "
        f"{row.copies:.2f}."
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
